// The order of routes: by dragging, and by buttons; adding, changing and taking away.
import { collected } from "./forms.js";
import { propose } from "./config.js";

export function begin(list) {
  const say = (text) => { document.getElementById("route-said").textContent = text; };
  const bar = document.getElementById("route-order");
  const dialog = document.getElementById("route");
  const items = () => [...list.querySelectorAll("li")];
  const routes = () => items().map((item) => JSON.parse(item.dataset.route));
  const put = (element, all) => propose(element, "PUT /api/routes", { routes: all }, list.dataset.etag);
  let at = null, held = null;

  function moved(item, silent) {
    bar.hidden = items().every((one, n) => +one.dataset.number === n + 1);
    if (!silent) say(list.dataset.moved.replace("{}", items().indexOf(item) + 1));
  }

  function edit(index) {
    at = index;
    const { match = {}, to = [] } = index === null ? {} : routes()[index];
    const form = dialog.querySelector("form");
    form.reset();
    for (const field of form.elements) {
      const value = field.name === "to" ? to.join(", ") : match[field.name.replace("match.", "")];
      if (!field.name || value === undefined) continue;
      field.value = typeof value === "object" ? Object.entries(value).map((pair) => pair.join(": ")).join("\n") : String(value);
    }
    dialog.showModal();
  }

  list.addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    const item = event.target.closest("li");
    if (!act) return;
    const index = items().indexOf(item);
    if (act === "edit") edit(index);
    else if (act === "remove") put(item, routes().filter((_, n) => n !== index));
    else {
      const other = act === "up" ? item.previousElementSibling : item.nextElementSibling;
      if (!other) return;
      if (act === "up") other.before(item); else other.after(item);
      event.target.closest("button").focus();
      moved(item);
    }
  });
  list.addEventListener("dragstart", (event) => { held = event.target.closest("li"); event.dataTransfer.effectAllowed = "move"; });
  list.addEventListener("dragover", (event) => {
    const over = event.target.closest("li");
    if (!held || !over) return;
    event.preventDefault();
    if (over === held) return;
    const { top, height } = over.getBoundingClientRect();
    if (event.clientY < top + height / 2) over.before(held); else over.after(held);
  });
  list.addEventListener("dragend", () => { if (held) moved(held); held = null; });
  bar.querySelector("[data-save]").onclick = (event) => put(event.target, routes());
  bar.querySelector("[data-discard]").onclick = () => {
    list.append(...items().sort((one, other) => one.dataset.number - other.dataset.number));
    moved(null, true);
  };
  document.querySelector("[data-add-route]").onclick = () => edit(null);
  dialog.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    const route = collected(event.target), all = routes();
    for (const name of ["stream", "tools", "thinking", "background", "subagent"]) {
      if (route.match?.[name]) route.match[name] = route.match[name] === "true";
    }
    if (at !== null) all[at] = route;
    else all.splice(all.length && !Object.keys(all.at(-1).match).length && route.match ? all.length - 1 : all.length, 0, route);
    put(event.target, all);
  };
}
