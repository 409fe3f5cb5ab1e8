// Keys: rows that are picked and what is done with them, the menu of a row, checks as they go on, import with a look before.
import { api, texts, toast } from "./api.js";
import { collected } from "./forms.js";
import { refresh } from "./live.js";

const picked = new Set();
const $ = (what, from = document) => from.querySelector(what);
const $$ = (what, from = document) => [...from.querySelectorAll(what)];
const ALL = "/api/providers/*/keys/batch-operation";
let root, words, last, timer;

const boxes = () => $$("[data-pick]");
function draw() {
  for (const box of boxes()) box.checked = picked.has(box.dataset.pick);
  const all = $("[data-pick-all]"), on = boxes().filter((box) => box.checked).length;
  if (all) Object.assign(all, { checked: on > 0 && on === boxes().length, indeterminate: on > 0 && on < boxes().length });
  const bar = $("[data-bulk]");
  if (bar) { bar.hidden = !picked.size; $("[data-bulk-count]").textContent = `${root.dataset.selected} ${picked.size}`; }
}

function pick(box, on, range) {
  const all = boxes(), here = all.indexOf(box), from = range && last ? all.findIndex((one) => one.dataset.pick === last) : here;
  for (const one of all.slice(Math.min(from < 0 ? here : from, here), Math.max(from, here) + 1)) on ? picked.add(one.dataset.pick) : picked.delete(one.dataset.pick);
  last = box.dataset.pick;
  draw();
}

// Ends of cooldowns that are on the page: it is drawn anew then, whether or not a relay says so.
function ends() {
  clearTimeout(timer);
  const next = Math.min(...$$("#key-rows time[data-countdown]").map((time) => Date.parse(time.dateTime)).filter((at) => at > Date.now() - 2000));
  if (next < Infinity) timer = setTimeout(() => refresh({ topics: new Set(["keys"]) }), Math.min(Math.max(300, next - Date.now() + 400), 2 ** 30));
}

const counts = (results, of = "status") => {
  const found = {};
  for (const one of results) if (one[of]) found[one[of]] = (found[one[of]] || 0) + 1;
  return Object.entries(found).map(([name, count]) => `${count} ${words[name] || name}`).join(", ");
};

async function follow(id) {
  const box = $("[data-job]"), bar = $("progress", box);
  box.hidden = false;
  for (;;) {
    const job = await api(`GET /api/jobs/${id}`);
    const text = `${job.done} / ${job.total}${job.results.length ? ` · ${counts(job.results)}` : ""}`;
    Object.assign(bar, { max: job.total || 1, value: job.done });
    $("[data-job-text]", box).textContent = `${job.state === "running" ? root.dataset.checking : root.dataset.checked} ${text}`;
    if (job.state === "failed") toast(job.detail, { bad: true });
    if (job.state !== "running") return text;
    await new Promise((later) => setTimeout(later, 400));
  }
}

async function operate(operation, which) {
  try {
    const came = await api(`POST ${which.provider ? `/api/providers/${encodeURIComponent(which.provider)}/keys/batch-operation` : ALL}`, { operation, ...(which.ids ? { ids: which.ids } : { filter: {} }) });
    const left = came.left_out.length ? ` ${root.dataset.leftout} ${came.left_out.map((one) => `${one.name}: ${one.detail}`).slice(0, 3).join(" ")}` : "";
    if (came.job) {
      const said = await follow(came.job);
      await refresh({ all: true });
      toast(`${root.dataset.checked} ${said}${left}`);
      return;
    }
    const undo = { delete: "restore", disable: "enable", enable: "disable", restore: "delete" }[operation];
    const text = came.changed.length ? `${operation === "delete" ? root.dataset.removed : root.dataset.changed} ${came.changed.length}` : left ? "" : root.dataset.unchanged;
    toast(`${text}${left}`.trim(), undo && came.changed.length ? { action: [texts.undo, () => operate(undo, { ids: came.changed })] } : {});
    picked.clear();
    await refresh({ all: true });
  } catch (problem) {
    toast(problem.message, { bad: true });
  }
}

async function choose(provider, id) {
  try {
    await api(`PUT /api/providers/${encodeURIComponent(provider)}/keys/chosen`, { id });
    await refresh({ all: true });
  } catch (problem) {
    toast(problem.message, { bad: true });
  }
}

function menu(button) {
  const box = $("#row-menu"), flags = button.dataset.flags.split(" "), { rowMenu: id, provider } = button.dataset;
  for (const one of box.children) {
    one.hidden = one.dataset.when !== "" && !flags.includes(one.dataset.when);
    if (one.dataset.href) one.href = one.dataset.href.replace("{id}", encodeURIComponent(id));
    else one.onclick = () => {
      box.hidePopover();
      const { act } = one.dataset;
      if (act.endsWith("choose")) choose(provider, act === "choose" ? id : null);
      else operate(act, { ids: [id] });
    };
  }
  box.showPopover();
  const at = button.getBoundingClientRect();
  box.style.left = `${Math.max(8, at.right - box.offsetWidth)}px`;
  box.style.top = `${Math.min(at.bottom + 4, innerHeight - box.offsetHeight - 8)}px`;
  $("a, button", box).focus();
}

function importing(form) {
  const box = $("[data-preview]", form), take = $("[data-take]", form), area = $("textarea", form);
  const send = async (dry_run) => {
    const said = collected(form);
    const body = { text: said.text, dry_run, check: !dry_run && said.check, fields: said.fields, ...(said.gateway ? { gateway: said.gateway } : {}) };
    return api(`POST /api/providers/${encodeURIComponent($("[data-provider]", form).value)}/keys/batch`, body);
  };
  const show = (came) => {
    box.hidden = false;
    const line = document.createElement("p"), list = document.createElement("ul"), others = came.rows.filter((row) => row.status !== "new");
    line.textContent = ["new", "known", "twice", "invalid"].filter((name) => came[name]).map((name) => `${came[name]} ${words[name]}`).join(" · ");
    line.className = "preview-sum";
    for (const text of [...came.notes, ...others.slice(0, 12).map((row) => [`${row.where}:`, row.mask, row.detail || (row.removed ? words.gone : words[row.status]), row.name].filter(Boolean).join(" ")), ...(others.length > 12 ? [`… ${others.length - 12}`] : [])]) {
      const item = document.createElement("li");
      item.textContent = text;
      list.append(item);
    }
    box.replaceChildren(line, list);
    take.disabled = !came.new;
    take.textContent = `${words.add} ${came.new || ""}`.trim();
  };
  const attempt = async (work) => {
    try { await work(); } catch (problem) { toast(problem.message, { bad: true }); }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); attempt(async () => show(await send(true))); });
  area.addEventListener("input", () => { take.disabled = true; box.hidden = true; });
  $("[data-file]", form).addEventListener("change", async (event) => { area.value = await event.target.files[0].text(); area.dispatchEvent(new Event("input")); });
  take.addEventListener("click", () => attempt(async () => {
    const came = await send(false);
    show({ ...came, rows: [] });
    take.disabled = true;
    area.value = "";
    if (came.job) await follow(came.job);
    location.assign("/keys");
  }));
}

export function begin(element) {
  root = element;
  words = JSON.parse(root.dataset.words);
  const form = $("[data-import]", root);
  if (form) importing(form);
  root.addEventListener("click", (event) => {
    const target = event.target;
    const box = target.closest("[data-pick]"), operation = target.closest("[data-operation]"), button = target.closest("[data-row-menu]");
    if (box) pick(box, box.checked, event.shiftKey);
    else if (target.matches("[data-pick-all]")) { for (const one of boxes()) target.checked ? picked.add(one.dataset.pick) : picked.delete(one.dataset.pick); draw(); }
    else if (target.closest("[data-bulk-none]")) { picked.clear(); draw(); }
    else if (operation) operate(operation.dataset.operation, "every" in operation.dataset ? { provider: operation.dataset.every } : { ids: [...picked] });
    else if (button) menu(button);
  });
  root.addEventListener("keydown", (event) => {
    const box = event.target.closest("[data-pick]"), items = event.target.closest("#row-menu") && $$("#row-menu > :not([hidden])");
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (box && event.key === " " && event.shiftKey) { event.preventDefault(); pick(box, !box.checked, true); }
    else if (step && (box || items)) { event.preventDefault(); const all = items || boxes(); all[(all.indexOf(event.target) + step + all.length) % all.length].focus(); }
  });
  root.addEventListener("change", (event) => {
    const { submit, into } = event.target.dataset;
    if (submit !== undefined) event.target.form.requestSubmit();
    if (into) event.target.form.dataset.api = `POST ${into.replace("{}", encodeURIComponent(event.target.value))}`;
  });
  drawn();
}

function drawn() { if (root?.isConnected) { draw(); ends(); } }
document.addEventListener("drawn", drawn);
