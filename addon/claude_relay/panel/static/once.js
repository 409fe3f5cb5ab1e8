// What the server says once: an event of forms.js (data-event="link") fills the parts of the dialog "link-dialog" and opens it.
//
//   <code data-value="token"></code>, <img data-value="qr">, <ul data-value="recovery_codes">      by the names of what came
//
// When it is closed, the rest of the page shows what has changed, and what was told is gone.
import { refresh } from "./live.js";

export function begin(part) {
  for (const dialog of part.querySelectorAll('dialog[id$="-dialog"]')) {
    part.addEventListener(dialog.id.slice(0, -7), (event) => {
      for (const place of dialog.querySelectorAll("[data-value]")) put(place, event.detail[place.dataset.value]);
      dialog.showModal();
    });
    if (!dialog.querySelector("form")) dialog.addEventListener("close", () => refresh({ all: true }));
  }
}

function put(place, value) {
  if (place.matches("img")) place.src = `data:image/svg+xml,${encodeURIComponent(value)}`;
  else if (Array.isArray(value)) place.replaceChildren(...value.flatMap((text) => [Object.assign(document.createElement("li"), { textContent: text }), "\n"]));
  else place.textContent = value;
}
