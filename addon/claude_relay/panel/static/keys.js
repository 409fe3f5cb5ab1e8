// Keys: rows that are picked and what is done with them, the menu of a row, checks as they go on.
import { $, $$, api, attempt, job, texts, toast } from "./api.js";
import { refresh } from "./live.js";

const picked = new Set();
const boxes = () => $$("[data-pick]:not([data-pick=''])");
let root, words, last;

function draw() {
  if (!root?.isConnected) return;
  const all = $("[data-pick-all]"), bar = $("[data-bulk]");
  for (const box of boxes()) box.checked = picked.has(box.dataset.pick);
  if (all) all.checked = boxes().every((box) => box.checked);
  if (bar) { bar.hidden = !picked.size; bar.firstElementChild.textContent = `${root.dataset.selected} ${picked.size}`; }
}

// `range`: from the one that was picked last.
function pick(box, on, range) {
  const all = boxes(), here = all.indexOf(box), found = all.findIndex((one) => one.dataset.pick === last), from = range && found >= 0 ? found : here;
  last = box.dataset.pick;
  for (const one of last ? all.slice(Math.min(from, here), Math.max(from, here) + 1) : all) picked[on ? "add" : "delete"](one.dataset.pick);
  draw();
}

// Shows how far a check is; resolves to that.
export async function follow(id) {
  const box = $("[data-job]"), [line, bar, stop] = box.children;
  stop.dataset.api = `DELETE /api/jobs/${id}`;
  box.hidden = false;
  await job(id, ({ state, done, total, results }) => {
    const found = {};
    for (const { status } of results) if (status) found[status] = (found[status] || 0) + 1;
    line.textContent = [`${words[state]} ${done} / ${total}`, ...Object.entries(found).map(([name, count]) => `${count} ${words[name]}`)].join(" · ");
    Object.assign(bar, { max: total || 1, value: done });
  });
  return line.textContent;
}

const BACK = { delete: "restore", restore: "delete", disable: "enable", enable: "disable" };
const operate = (operation, which, provider = "*") => attempt(async () => {
  const { changed, left_out, job } = await api("POST /api/providers/{provider}/keys/batch-operation", { provider, operation, ...which });
  const said = left_out.slice(0, 3).map((one) => `${one.name}: ${one.detail}`), count = changed.length;
  if (job) said.unshift(await follow(job));
  else if (count || !said.length) said.unshift(`${words[operation]} ${count}`);
  toast(said.join(" "), BACK[operation] && count ? { action: [texts.undo, () => operate(BACK[operation], { ids: changed })] } : {});
  picked.clear();
  await refresh({ all: true });
});

// The one menu, for a row.
function fill({ rowMenu: id, provider, flags }) {
  const box = $("#row-menu");
  box.dataset.id = id;
  box.firstElementChild.href = `/keys/${encodeURIComponent(id)}`;
  for (const { dataset } of $$("[data-chosen]", box)) dataset.body = JSON.stringify({ provider, id: dataset.chosen ? id : null });
  for (const one of $$("[data-when]", box)) one.hidden = !flags.split(" ").includes(one.dataset.when);
}

export function begin(element) {
  root = element;
  words = JSON.parse(root.dataset.words);
  const form = $("[data-import]");
  if (form) import("./key_import.js").then((module) => module.begin(form, words));
  root.addEventListener("click", ({ target, shiftKey }) => {
    const at = target.closest("[data-pick], [data-operation], [data-row-menu]"), menu = target.closest("#row-menu");
    menu?.hidePopover();
    if (!at) return;
    const { operation, every } = at.dataset;
    if (at.dataset.rowMenu) fill(at.dataset);
    else if (!operation) pick(at, at.checked, shiftKey);
    else if (operation === "none") { picked.clear(); draw(); }
    else operate(operation, every === undefined ? { ids: menu ? [menu.dataset.id] : [...picked] } : { filter: {} }, every || "*");
  });
  root.addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-pick]");
    if (!box || event.key !== " " || !event.shiftKey) return;
    event.preventDefault();
    pick(box, !box.checked, true);
  });
  // Before this was loaded:
  for (const box of boxes()) if (box.checked) picked.add(last = box.dataset.pick);
  const at = document.activeElement.dataset;
  if (at.rowMenu) fill(at);
  else $("#row-menu")?.hidePopover();
  draw();
}
document.addEventListener("drawn", draw);
