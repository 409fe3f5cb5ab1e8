// Keys: rows that are picked and what is done with them, the menu of a row, checks as they go on.
import { api, texts, toast } from "./api.js";
import { refresh } from "./live.js";

const picked = new Set();
const $ = (what) => document.querySelector(what);
const BOXES = "[data-pick]:not([data-pick=\"\"])";
const $$ = (what) => [...document.querySelectorAll(what)];
let root, words, last, timer;

export const attempt = (work) => work().catch((problem) => toast(problem.message, { bad: true }));

// Also: when the next cooldown ends the table is drawn anew, whether or not a relay says so.
function draw() {
  if (!root?.isConnected) return;
  const boxes = $$(BOXES), all = $("[data-pick-all]"), bar = $("[data-bulk]");
  for (const box of boxes) box.checked = picked.has(box.dataset.pick);
  if (all) all.checked = boxes.every((box) => box.checked);
  if (bar) { bar.hidden = !picked.size; bar.firstElementChild.textContent = `${root.dataset.selected} ${picked.size}`; }
  clearTimeout(timer);
  const left = Math.min(...$$("#key-rows time[data-countdown]").map((time) => Date.parse(time.dateTime) - Date.now()).filter((left) => left > -2000));
  if (left < 2 ** 30) timer = setTimeout(refresh, Math.max(300, left + 400), { topics: new Set(["keys"]) });
}

// `range`: from the one that was picked last.
function pick(boxes, box, on, range) {
  const here = boxes.indexOf(box), found = boxes.findIndex((one) => one.dataset.pick === last), from = range && found >= 0 ? found : here;
  last = box.dataset.pick;
  for (const one of box.dataset.pick ? boxes.slice(Math.min(from, here), Math.max(from, here) + 1) : boxes) picked[on ? "add" : "delete"](one.dataset.pick);
  draw();
}

export async function follow(id) {
  const box = $("[data-job]");
  box.hidden = false;
  for (;;) {
    const job = await api(`GET /api/jobs/${id}`), found = {};
    for (const { status } of job.results) if (status) found[status] = (found[status] || 0) + 1;
    const text = [`${job.done} / ${job.total}`, ...Object.entries(found).map(([name, count]) => `${count} ${words[name]}`)].join(" · ");
    Object.assign(box.lastElementChild, { max: job.total || 1, value: job.done });
    box.firstElementChild.textContent = `${words[job.state]} ${text}`;
    if (job.state === "failed") toast(job.detail, { bad: true });
    if (job.state !== "running") return text;
    await new Promise((later) => setTimeout(later, 400));
  }
}

const BACK = { delete: "restore", restore: "delete", disable: "enable", enable: "disable" };
const operate = (operation, which, provider = "*") => attempt(async () => {
  const came = await api(`POST /api/providers/${encodeURIComponent(provider)}/keys/batch-operation`, { operation, ...which });
  const said = came.left_out.slice(0, 3).map((one) => `${one.name}: ${one.detail}`), count = came.changed.length;
  if (came.job) said.unshift(`${words.done} ${await follow(came.job)}`);
  else if (count || !said.length) said.unshift(`${words.changed} ${count}`);
  toast(said.join(" "), BACK[operation] && count ? { action: [texts.undo, () => operate(BACK[operation], { ids: came.changed })] } : {});
  picked.clear();
  await refresh({ all: true });
});

function fill({ rowMenu: id, provider, flags }) {
  const box = $("#row-menu");
  box.dataset.id = id;
  for (const one of box.children) {
    const { when, chosen } = one.dataset;
    one.hidden = when && !flags.split(" ").includes(when);
    if (one.matches("a")) one.href = `/keys/${encodeURIComponent(id)}`;
    if (chosen) Object.assign(one.dataset, { api: `PUT /api/providers/${encodeURIComponent(provider)}/keys/chosen`, body: JSON.stringify({ id: chosen === "yes" ? id : null }) });
  }
}

export function begin(element) {
  root = element;
  words = JSON.parse(root.dataset.words);
  const form = $("[data-import]");
  if (form) import("./key_import.js").then((module) => module.begin(form, words));
  root.addEventListener("click", ({ target, shiftKey }) => {
    const at = target.closest("[data-pick], [data-operation], [data-row-menu]"), menu = target.closest("#row-menu");
    if (menu) menu.hidePopover();
    if (!at) return;
    const { operation, every } = at.dataset;
    if (at.dataset.rowMenu) fill(at.dataset);
    else if (!operation) pick($$(BOXES), at, at.checked, shiftKey);
    else if (operation === "none") { picked.clear(); draw(); }
    else operate(operation, every === undefined ? { ids: menu ? [menu.dataset.id] : [...picked] } : { filter: {} }, every || "*");
  });
  root.addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-pick]");
    if (!box || event.key !== " " || !event.shiftKey) return;
    event.preventDefault();
    pick($$(BOXES), box, !box.checked, true);
  });
  root.addEventListener("change", ({ target }) => {
    if ("submit" in target.dataset) target.form.requestSubmit();
    if (target.dataset.into) target.form.dataset.api = `POST ${target.dataset.into.replace("{}", encodeURIComponent(target.value))}`;
  });
  draw();
}
document.addEventListener("drawn", draw);
