// Another order of routes: by dragging, and by buttons.
import { $ } from "./api.js";

export function begin(form) {
  const list = $("ol", form), { routes, "route-said": said } = form.elements;
  let held = null;

  // Its field holds the routes as they are shown.
  function moved(item) {
    const all = [...list.children];
    routes.value = JSON.stringify(all.map((one) => JSON.parse(one.dataset.route)));
    $("[data-order]", form).hidden = all.every((one, n) => +one.dataset.number === n + 1);
    said.value = form.dataset.moved.replace("{}", all.indexOf(item) + 1);
  }

  list.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-act]"), item = target.closest("li");
    const other = button && (button.dataset.act === "up" ? item.previousElementSibling : item.nextElementSibling);
    if (!other) return;
    other[button.dataset.act === "up" ? "before" : "after"](item);
    button.focus();
    moved(item);
  });
  list.addEventListener("dragstart", (event) => { held = event.target.closest("li"); event.dataTransfer.effectAllowed = "move"; });
  list.addEventListener("dragover", (event) => {
    const over = event.target.closest("li");
    if (!held || !over) return;
    event.preventDefault();
    const { top, height } = over.getBoundingClientRect();
    if (over !== held) over[event.clientY < top + height / 2 ? "before" : "after"](held);
  });
  list.addEventListener("dragend", () => { if (held) moved(held); held = null; });
}
