// What the server says once, in a dialog: in elements with data-value="setup.lines.sh", by the names of what came. Closed, it is gone.
import { $, $$, make } from "./api.js";
import { refresh } from "./live.js";

export function show(dialog, told) {
  for (const place of $$("[data-value]", dialog)) put(place, place.dataset.value.split(".").reduce((one, part) => one?.[part], told));
  dialog.showModal();
  if (!$("form", dialog)) dialog.onclose = () => refresh({ all: true });
}

function put(place, value) {
  if (place.matches("img")) place.src = `data:image/svg+xml,${encodeURIComponent(value)}`;
  else if (Array.isArray(value)) place.replaceChildren(...value.flatMap((text) => [make("li", {}, text), "\n"]));
  else if (typeof value === "string") place.textContent = value;
  place.hidden = value == null;
}
