// What changes relay.yaml: shown as a diff first, then saved; and there is a way back.
//
//   <form data-config="PUT /api/providers/glm" data-etag='"5f0c…"'>      <button data-config="DELETE /api/providers/glm" data-etag=…>
//   <button data-test="/api/providers/glm/test" data-output="id">        one request; its result into an <output>
import { api, texts, toast } from "./api.js";
import { collected, failed } from "./forms.js";
import { refresh } from "./live.js";

const SIGNS = { added: "+ ", removed: "- ", same: "  ", place: "" };
const words = () => document.getElementById("review").dataset;

export function drawn(diff) {
  const box = document.createElement("pre");
  box.className = "diff";
  box.tabIndex = 0;
  for (const { kind, text } of diff) {
    const line = document.createElement("span");
    line.className = kind;
    line.textContent = SIGNS[kind] + (kind === "place" ? "⋯" : text);
    box.append(line);
  }
  return box;
}

function reviewed(found) {
  const dialog = document.getElementById("review");
  const notes = [...found.notes];
  if (found.restart.length) notes.push(`${words().restart} ${found.restart.join(", ")}`);
  dialog.querySelector("[data-diff]").replaceChildren(drawn(found.diff));
  dialog.querySelector("[data-notes]").textContent = notes.join(" ");
  dialog.querySelector("[data-notes]").hidden = !notes.length;
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.showModal();
  });
}

export async function propose(element, what, body, etag) {
  element.setAttribute("aria-busy", "true");
  try {
    const found = await api(`${what}?dry_run=true`, body, { etag });
    if (!found.diff.length) toast(words().same);
    else if (await reviewed(found)) {
      const came = await api(what, body, { etag });
      element.closest("dialog")?.close();
      await refresh({ all: true });
      toast(texts.saved, { action: [texts.undo, () => undo(came.etag)] });
      return true;
    }
  } catch (problem) {
    if (problem.status === 412) toast(problem.message, { bad: true, action: [words().again, () => refresh({ all: true })] });
    else failed(element, problem);
  } finally {
    element.removeAttribute("aria-busy");
  }
  return false;
}

async function undo(etag) {
  try {
    await api("POST /api/settings/undo", undefined, { etag });
    await refresh({ all: true });
    toast(words().undone);
  } catch (problem) {
    toast(problem.message, { bad: true });
  }
}

async function test(button) {
  const output = document.getElementById(button.dataset.output);
  button.setAttribute("aria-busy", "true");
  output.className = "small muted";
  output.textContent = words().testing;
  try {
    const came = await api(`POST ${button.dataset.test}`);
    output.className = came.ok ? "small state good" : "small state bad";
    const what = [came.status, `${came.latency_ms} ms`, came.key, came.ok ? `${came.models.length} ${words().models}` : came.detail];
    output.replaceChildren(document.createElement("i"), what.filter(Boolean).join(" · "));
    output.title = came.models.join("\n");
  } catch (problem) {
    output.className = "small state bad";
    output.replaceChildren(document.createElement("i"), problem.message);
  }
  button.removeAttribute("aria-busy");
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.config) return;
  event.preventDefault();
  for (const note of form.querySelectorAll("[data-error]")) note.hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  try {
    propose(form, form.dataset.config, collected(form), form.dataset.etag);
  } catch (error) {
    toast(error.message, { bad: true });
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-config], button[data-test]");
  if (button?.dataset.test) test(button);
  else if (button) propose(button, button.dataset.config, undefined, button.dataset.etag);
});

document.addEventListener("change", (event) => {
  const name = event.target.dataset?.names && event.target.form.elements[event.target.dataset.names];
  if (name && (!name.value || name.dataset.given)) Object.assign(name, { value: event.target.value }).dataset.given = "1";
});
