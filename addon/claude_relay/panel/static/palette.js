// The command palette: pages at once, and what /api/search finds of what is typed. Arrows choose, Enter goes there.
import { api, texts } from "./api.js";

let box, input, list, chosen = 0, timer, asked = 0;

const pages = () => [...document.querySelectorAll(".rail li a, .menu-box a[href^='/']:not([data-theme-choice])")].map((link) => ({ name: link.textContent.trim(), path: link.getAttribute("href"), note: "" })).filter((page) => !page.path.startsWith("/preferences"));

function draw(found) {
  chosen = 0;
  list.replaceChildren(...found.map((one, at) => {
    const item = document.createElement("li");
    item.id = `palette-${at}`;
    item.role = "option";
    item.dataset.path = one.path;
    const name = document.createElement("span");
    name.textContent = one.name;
    const note = document.createElement("span");
    note.className = "muted small";
    note.textContent = [one.kind && texts[`kind${one.kind}`], one.note].filter(Boolean).join(" · ");
    item.append(name, note);
    return item;
  }));
  mark();
}

function mark() {
  [...list.children].forEach((item, at) => item.setAttribute("aria-selected", at === chosen));
  const item = list.children[chosen];
  input.setAttribute("aria-activedescendant", item?.id ?? "");
  item?.scrollIntoView({ block: "nearest" });
}

function typed() {
  const word = input.value.trim().toLowerCase();
  const own = pages().filter((page) => page.name.toLowerCase().includes(word));
  draw(own);
  clearTimeout(timer);
  if (!word) return;
  const mine = ++asked;
  timer = setTimeout(async () => {
    const { data } = await api(`GET /api/search?q=${encodeURIComponent(word)}`).catch(() => ({ data: [] }));
    if (mine === asked) draw([...own, ...data]);
  }, 120);
}

export function open() {
  if (!box) {
    box = document.getElementById("palette");
    [input, list] = [box.querySelector("input"), box.querySelector("ul")];
    input.addEventListener("input", typed);
    box.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step && list.children.length) {
        event.preventDefault();
        chosen = (chosen + step + list.children.length) % list.children.length;
        mark();
      } else if (event.key === "Enter" && list.children[chosen]) {
        event.preventDefault();
        location.assign(list.children[chosen].dataset.path);
      }
    });
    list.addEventListener("click", (event) => {
      const item = event.target.closest("li");
      if (item) location.assign(item.dataset.path);
    });
    box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  }
  if (box.open) return;
  input.value = "";
  box.showModal();
  typed();
}
