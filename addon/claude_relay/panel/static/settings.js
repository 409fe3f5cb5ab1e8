// relay.yaml: checked before it is saved; each mistake leads to its line.
import { $, api, attempt, make } from "./api.js";
import { drawn } from "./config.js";

export function begin(form) {
  const area = form.elements.text;
  if (!$("[data-check]", form)) return; // it may only be read

  function go(line) {
    const lines = area.value.split("\n"), before = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(before, before + lines[line - 1].length);
    area.scrollTop = (line - 5) * parseFloat(getComputedStyle(area).lineHeight);
  }

  function show({ problems, diff }) {
    const { bad, good, same, line: word } = form.dataset;
    const list = problems.map(({ line, path, detail }) => make("li", {}, make("button", { type: "button", className: "plain", textContent: line ? `${word} ${line}` : "–", onclick: () => go(line || 1) }), path && make("code", {}, path), ` ${detail}`));
    $("#found").replaceChildren(
      make("p", { className: list.length ? "state bad" : "state good" }, make("i"), list.length ? bad : diff.length ? good : same),
      list.length ? make("ul", { className: "problems" }, ...list) : "",
      diff.length ? drawn(diff) : "",
    );
    $("#found").scrollIntoView({ block: "nearest" });
    return !list.length;
  }

  const check = () => attempt(async () => show(await api("POST /api/settings/check", { text: area.value })));
  let checked = false;

  addEventListener("beforeunload", (event) => { if (area.isConnected && area.value !== area.defaultValue) event.preventDefault(); });
  $("[data-check]", form).onclick = check;
  // Before forms.js sends it.
  form.addEventListener("submit", async (event) => {
    if (checked) return;
    event.preventDefault();
    event.stopPropagation();
    checked = await check();
    if (checked) form.requestSubmit();
    checked = false;
  });
  area.onkeydown = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); form.requestSubmit(); }
  };
}
