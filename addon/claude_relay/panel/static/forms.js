// Forms and buttons that change something: they say so in attributes, and this sends it.
// <form method="dialog" data-api="POST /api/clients" data-then="/clients/{name}">; all attributes: templates/parts/ui.html.
import { $, $$, api, ask, attempt, filled, job as over, texts, toast } from "./api.js";
import { refresh } from "./live.js";

const lines = (text, by = "\n") => text.split(by).map((part) => part.trim()).filter(Boolean);
const kinds = {
  number: Number,
  integer: (text) => Number.parseInt(text, 10),
  list: (text) => lines(text, /[\n,]/),
  lines: (text) => lines(text),
  json: JSON.parse,
  map: (text) => Object.fromEntries(lines(text).map((line) => line.match(/^(.*?)\s*:\s+(.*)$|^(.*)$/).slice(1, 3).map((part) => part ?? ""))),
  mixed: (text) => (text.startsWith("{") ? JSON.parse(text) : text),
  optional: (text) => text || null,
};
const EVEN_EMPTY = ["optional", "list", "lines"];

export function collected(form) {
  const found = {};
  for (const { name, type, value, checked, disabled, dataset } of form.elements) {
    if (!name || disabled || type === "submit" || type === "button" || (type === "radio" && !checked)) continue;
    if (!value && !("keep" in dataset || EVEN_EMPTY.includes(dataset.type))) continue;
    const parts = name.split("."), last = parts.pop();
    let target = found;
    for (const part of parts) target = target[part] ??= {};
    target[last] = type === "checkbox" ? checked : (kinds[dataset.type] || String)(value);
  }
  return found;
}

// `said`: as the attributes of the element say it.
async function send(element, body, said = element.dataset) {
  if (element.ariaBusy) return; // a second click
  const { api: what, confirm, then = "reload", done, undo, undoBody, etag, job, review, once } = said;
  if (confirm && !(await ask(confirm, { danger: element.classList.contains("danger"), yes: said.yes || element.textContent.trim() || undefined }))) return;
  element.ariaBusy = "true";
  try {
    const came = await (review === undefined ? api(what, body, { etag }) : (await import("./config.js")).reviewed(what, body, etag));
    if (came === null) return;
    if (job !== undefined) await over(came.id);
    const back = review === undefined ? undo && { api: undo } : { api: "POST /api/settings/undo", etag: came.etag };
    const { pathname, search, hash } = new URL(filled(then, came), location);
    if (!hash) element.closest("dialog")?.close();
    if (hash) await refresh({ part: hash.slice(1), from: pathname + (search || location.search) });
    else if (once) (await import("./once.js")).show($(`#${once}`), came);
    else if (then === "reload") await refresh({ all: true });
    else if (then !== "none") location.assign(pathname + search);
    if (done || back) toast(done || texts.saved, back && { action: [texts.undo, () => send(element, undoBody && JSON.parse(undoBody), { ...back, done: texts.undone })] });
  } catch (problem) {
    failed(element, problem);
  } finally {
    element.ariaBusy = null;
  }
}

function failed(element, { message, status, errors = [] }) {
  const shown = errors.filter(({ field, detail }) => {
    const note = $(`[data-error="${CSS.escape(field)}"]`, element);
    if (!note) return false;
    Object.assign(note, { hidden: false, textContent: detail });
    $(`[name="${CSS.escape(field)}"]`, element)?.setAttribute("aria-invalid", "true");
    return true;
  });
  $("[aria-invalid]", element)?.focus();
  if (!shown.length || shown.length < errors.length) toast(message, { bad: true, action: status === 412 && [texts.load, () => refresh({ all: true })] });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  for (const note of $$("[data-error]", form)) note.hidden = true;
  for (const field of $$("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
  attempt(async () => send(form, collected(form)));
});

document.addEventListener("click", async ({ target }) => {
  const element = target.closest("button[data-api], [data-dialog], [data-close], [data-copy]");
  if (!element) return;
  const { api: what, body, dialog, fresh, copy, from } = element.dataset;
  if (what) send(element, body && JSON.parse(body));
  else if (dialog) {
    if (fresh) await refresh({ part: dialog, from: fresh });
    $(`#${dialog}`)?.showModal();
  } else if (copy !== undefined) {
    // Over plain HTTP from another machine there is no clipboard.
    attempt(async () => toast((await navigator.clipboard.writeText(copy || $(`#${from}`)?.textContent || ""), texts.copied)));
  } else element.closest("dialog")?.close();
});

// A choice that sends its form, and one that gives another field its value until somebody types there.
document.addEventListener("change", ({ target: { dataset, form, value } }) => {
  if ("submit" in dataset) form.requestSubmit();
  const name = dataset.names && form.elements[dataset.names];
  if (name && (!name.value || name.dataset.given)) Object.assign(name, { value }).dataset.given = "1";
});
