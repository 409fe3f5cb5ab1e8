// The text of relay.yaml: checked before it is saved; each mistake leads to its line.
import { api, toast } from "./api.js";
import { drawn, propose } from "./config.js";

export function begin(form) {
  const area = form.elements.text;
  const found = document.getElementById("found");
  if (!form.querySelector("[data-check]")) return; // it may only be read

  function go(line) {
    const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(before, before + area.value.split("\n")[line - 1].length);
    area.scrollTop = (line - 5) * parseFloat(getComputedStyle(area).lineHeight);
  }

  function show({ problems, diff }) {
    const list = document.createElement("ul");
    list.className = "problems";
    for (const { line, path, detail } of problems) {
      const item = document.createElement("li");
      const button = document.createElement("button");
      Object.assign(button, { type: "button", className: "plain", textContent: line ? `${form.dataset.line} ${line}` : "–", onclick: () => go(line || 1) });
      const code = document.createElement("code");
      code.textContent = path;
      item.append(button, path ? code : "", ` ${detail}`);
      list.append(item);
    }
    const state = document.createElement("p");
    state.className = problems.length ? "state bad" : "state good";
    state.append(document.createElement("i"), problems.length ? form.dataset.bad : diff.length ? form.dataset.good : form.dataset.same);
    found.replaceChildren(state, ...(problems.length ? [list] : []), ...(diff.length ? [drawn(diff)] : []));
    found.scrollIntoView({ block: "nearest" });
  }

  async function check() {
    try {
      const came = await api("POST /api/settings/check", { text: area.value });
      show(came);
      return came;
    } catch (problem) {
      toast(problem.message, { bad: true });
      return null;
    }
  }

  addEventListener("beforeunload", (event) => { if (area.isConnected && area.value !== area.defaultValue) event.preventDefault(); });
  form.querySelector("[data-check]").onclick = check;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const came = await check();
    if (came && !came.problems.length) propose(form, "PUT /api/settings", { text: area.value }, form.dataset.etag);
  };
  area.addEventListener("keydown", (event) => { if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); form.requestSubmit(); } });
}
