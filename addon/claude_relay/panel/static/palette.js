// The command palette: pages, and what /api/search finds. Arrows choose, Enter goes there.
import { $, $$, api, make, texts } from "./api.js";

const box = $("#palette"), input = $("input", box), list = $("ul", box);
const pages = $$(".rail li a, .menu-box a[href^='/']:not([href^='/preferences'])").map((link) => ({ name: link.textContent.trim(), path: link.getAttribute("href") }));
let chosen = 0, timer;

function draw(found) {
  list.replaceChildren(...found.map(({ name, path, kind, note }, at) => {
    const item = make("li", { id: `palette-${at}`, role: "option" }, make("span", {}, name), make("span", { className: "muted small" }, [kind && texts[`kind${kind}`], note].filter(Boolean).join(" · ")));
    item.dataset.path = path;
    return item;
  }));
  choose(0);
}

function choose(at) {
  chosen = (at + list.children.length) % list.children.length || 0;
  [...list.children].forEach((item, at) => item.setAttribute("aria-selected", at === chosen));
  const item = list.children[chosen];
  input.setAttribute("aria-activedescendant", item?.id ?? "");
  item?.scrollIntoView({ block: "nearest" });
}

function typed() {
  const word = input.value.trim().toLowerCase();
  const own = pages.filter((page) => page.name.toLowerCase().includes(word));
  draw(own);
  clearTimeout(timer);
  if (!word) return;
  const mine = timer = setTimeout(async () => {
    const { data } = await api(`GET /api/search?q=${encodeURIComponent(word)}`).catch(() => ({ data: [] }));
    if (mine === timer) draw([...own, ...data]);
  }, 120);
}

const go = (item) => item && location.assign(item.dataset.path);
input.oninput = typed;
box.onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1, Enter: 0 }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  if (step) choose(chosen + step);
  else go(list.children[chosen]);
};
box.onclick = ({ target }) => (target === box ? box.close() : go(target.closest("li")));

export function open() {
  if (box.open) return;
  input.value = "";
  box.showModal();
  typed();
}
