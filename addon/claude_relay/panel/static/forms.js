// Forms and buttons that change something: they say so in attributes, and this sends it.
//
//   <form data-api="POST /api/clients" data-then="/clients/{name}">     fields by name, dotted names nest
//   <button data-api="POST /api/keys/x/disable" data-body='{"…"}' data-confirm="Sure?" data-done="Disabled" data-undo="POST /api/keys/x/enable">
//   fields: data-type="number|integer|list|lines|json|map|mixed|optional"; an empty field is left out ("optional": sent as null)
//   data-then: "reload" (the usual), "show" (what came, in the <output> of the form), "none", or a path with {fields} of what came
//   data-undo-body: what is sent to undo it
//   data-etag: what was seen; data-event: a CustomEvent of this name is sent from the element, with what came
import { api, ask, texts, toast } from "./api.js";
import { refresh } from "./live.js";

const kinds = {
  number: Number,
  integer: (text) => Number.parseInt(text, 10),
  list: (text) => text.split(/[\n,]/).map((part) => part.trim()).filter(Boolean),
  lines: (text) => text.split("\n").map((part) => part.trim()).filter(Boolean),
  json: JSON.parse,
  map: (text) => Object.fromEntries(kinds.lines(text).map((line) => line.match(/^(.*?)\s*:\s+(.*)$|^(.*)$/).slice(1, 3).map((part) => part ?? ""))),
  mixed: (text) => (text.startsWith("{") ? JSON.parse(text) : text),
  optional: (text) => text || null,
};

export function collected(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "submit" || field.type === "button") continue;
    if (field.type === "radio" && !field.checked) continue;
    let value;
    if (field.type === "checkbox") {
      if (field.dataset.many !== undefined) {
        const list = read(found, field.name) || [];
        if (field.checked) list.push(field.value);
        value = list;
      } else value = field.checked;
    } else if (field.value === "" && field.dataset.type !== "optional" && field.dataset.type !== "list" && field.dataset.type !== "lines" && !("keep" in field.dataset)) continue;
    else value = (kinds[field.dataset.type] || String)(field.value);
    write(found, field.name, value);
  }
  return found;
}

const read = (target, path) => path.split(".").reduce((one, part) => one?.[part], target);
function write(target, path, value) {
  const parts = path.split(".");
  const last = parts.pop();
  for (const part of parts) target = target[part] ??= {};
  target[last] = value;
}

async function send(element, body) {
  if (element.ariaBusy) return; // a second click
  const { api: what, confirm, then = "reload", done, undo, undoBody, etag, event } = element.dataset;
  if (confirm && !(await ask(confirm, { danger: element.classList.contains("danger"), yes: element.dataset.yes || element.textContent.trim() || undefined }))) return;
  element.setAttribute("aria-busy", "true");
  try {
    const came = await api(what, body, { etag });
    if (event) element.dispatchEvent(new CustomEvent(event, { bubbles: true, detail: came }));
    if (done || undo) toast(done || texts.saved, undo ? { action: [texts.undo, () => send(undoing(undo), undoBody && JSON.parse(undoBody))] } : {});
    element.closest("dialog")?.close();
    if (then === "show") show(element, came);
    else if (then === "reload") await refresh({ all: true });
    else if (then !== "none") location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(came?.[name] ?? "")));
  } catch (problem) {
    failed(element, problem);
  } finally {
    element.removeAttribute("aria-busy");
  }
}

function undoing(what) {
  const button = document.createElement("button");
  button.dataset.api = what;
  return button;
}

function show(element, came) {
  const output = element.querySelector("output") || document.getElementById(element.dataset.output);
  if (output) {
    output.hidden = false;
    output.textContent = typeof came === "string" ? came : JSON.stringify(came, null, 2);
  }
}

export function failed(element, problem) {
  let shown = 0;
  for (const { field, detail } of problem.errors || []) {
    const note = element.querySelector?.(`[data-error="${CSS.escape(field)}"]`);
    if (!note) continue;
    shown += 1;
    note.hidden = false;
    note.textContent = detail;
    const input = element.querySelector(`[name="${CSS.escape(field)}"]`);
    input?.setAttribute("aria-invalid", "true");
    if (shown === 1) input?.focus();
  }
  if (!shown || shown < (problem.errors || []).length) toast(problem.message, { bad: true });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.api) return;
  event.preventDefault();
  for (const note of form.querySelectorAll("[data-error]")) note.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  let body;
  try {
    body = collected(form);
  } catch (error) {
    toast(error.message, { bad: true });
    return;
  }
  const extra = event.submitter?.dataset.body;
  send(form, extra ? { ...body, ...JSON.parse(extra) } : body);
});

// Over plain HTTP from another machine there is no navigator.clipboard.
async function copied(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  (document.querySelector("dialog[open]") || document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

document.addEventListener("click", async (event) => {
  const element = event.target.closest?.("[data-api], [data-dialog], [data-close], [data-copy]");
  if (!element || element.matches("form")) return;
  if (element.dataset.api) send(element, element.dataset.body ? JSON.parse(element.dataset.body) : undefined);
  else if (element.dataset.dialog) document.getElementById(element.dataset.dialog)?.showModal();
  else if (element.dataset.copy !== undefined) {
    const text = element.dataset.copy || document.getElementById(element.dataset.from)?.textContent || "";
    if (await copied(text)) toast(texts.copied);
    else toast(texts.failed, { bad: true });
  } else element.closest("dialog")?.close();
});
