// A new client key, shown this once: the dialog #made is filled with what the API answered, and emptied when it is closed.
import { refresh } from "./live.js";

let lines = {};
const at = (id) => document.getElementById(id);

function choose(shell) {
  at("made-lines").textContent = lines[shell] ?? "";
  for (const button of document.querySelectorAll("#made [data-shell]")) button.setAttribute("aria-pressed", button.dataset.shell === shell);
}

document.addEventListener("made", ({ detail }) => {
  const { key, setup } = detail;
  lines = setup?.lines ?? {};
  at("made-key").textContent = key;
  at("made-setup").hidden = !setup;
  at("made-hints").replaceChildren(...(setup?.hints ?? []).map((hint) => Object.assign(document.createElement("li"), { textContent: hint })));
  choose("sh");
  at("made").onclose = () => {
    lines = {};
    at("made-key").textContent = at("made-lines").textContent = "";
    refresh({ all: true });
  };
  at("made").showModal();
});
document.addEventListener("click", (event) => {
  const shell = event.target.closest?.("#made [data-shell]");
  if (shell) choose(shell.dataset.shell);
});
