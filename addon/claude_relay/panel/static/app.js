// What every page needs; what only some need is fetched when it is there: <… data-module="charts">.
import "./forms.js";
import { listen } from "./live.js";

const root = document.documentElement;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const cookie = (name, value) => { document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`; };

if (zone && !document.cookie.includes(`relay-zone=${zone}`)) cookie("relay-zone", zone);

// Times: "2 min ago" goes on, and "0:41" counts down.
const relative = new Intl.RelativeTimeFormat(root.lang, { numeric: "auto", style: "narrow" });
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
function tick() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
    const text = relative.format(Math.trunc(seconds / size), unit);
    if (time.textContent !== text) time.textContent = text;
  }
  for (const time of document.querySelectorAll("time[data-countdown]")) {
    const left = Math.max(0, Math.round((Date.parse(time.dateTime) - Date.now()) / 1000));
    const hours = Math.floor(left / 3600), minutes = Math.floor(left / 60) % 60;
    const text = (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : `${minutes}`) + `:${String(left % 60).padStart(2, "0")}`;
    if (time.textContent !== text) time.textContent = text;
  }
}

async function modules() {
  for (const part of document.querySelectorAll("[data-module]")) {
    const module = await import(`./${part.dataset.module}.js`);
    if (!part.dataset.begun) { part.dataset.begun = "1"; module.begin?.(part); }
  }
}

// Theme at once, without a page.
document.addEventListener("click", (event) => {
  const choice = event.target.closest?.("[data-theme-choice]");
  if (choice) {
    event.preventDefault();
    root.dataset.theme = choice.dataset.themeChoice;
    cookie("relay-theme", choice.dataset.themeChoice);
    for (const one of document.querySelectorAll("[data-theme-choice]")) one.toggleAttribute("aria-current", one === choice);
  }
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  if (event.target.closest?.("[data-palette]")) import("./palette.js").then((palette) => palette.open());
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && document.querySelector("[data-palette]")) {
    event.preventDefault();
    import("./palette.js").then((palette) => palette.open());
  }
  if (event.key === "Escape") for (const menu of document.querySelectorAll("details.menu[open]")) { menu.open = false; menu.querySelector("summary").focus(); }
});

document.addEventListener("drawn", () => { tick(); modules(); listen(); });
tick();
setInterval(tick, 1000);
modules();
listen();
