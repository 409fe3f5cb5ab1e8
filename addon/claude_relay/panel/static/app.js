// What every page needs; what only some need is fetched when it is there: <… data-module="charts">.
import { $, $$ } from "./api.js";
import "./forms.js";
import { listen, refresh } from "./live.js";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`relay-zone=${zone}`)) document.cookie = `relay-zone=${zone}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;

// Times: "2 min ago" goes on, and "0:41" counts down; at its end what is live is drawn anew, whether or not a relay says so.
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "auto", style: "narrow" });
const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
function ago(seconds) {
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) || units[3];
  return relative.format(Math.trunc(seconds / size), unit);
}
function clock(seconds) {
  const left = Math.max(0, Math.round(seconds));
  const parts = [left / 3600, (left / 60) % 60, left % 60].map(Math.floor).slice(left < 3600 ? 1 : 0);
  return parts.map((part, at) => String(part).padStart(at ? 2 : 1, "0")).join(":");
}
function tick() {
  for (const time of $$("time[data-relative], time[data-countdown]")) {
    const seconds = (Date.parse(time.dateTime) - Date.now()) / 1000;
    const text = "countdown" in time.dataset ? clock(seconds) : ago(seconds);
    if (time.textContent === text) continue;
    time.textContent = text;
    if (text === "0:00" && seconds > -99) setTimeout(refresh, 900);
  }
}

async function modules() {
  for (const part of $$("[data-module]")) {
    const module = await import(`./${part.dataset.module}.js`);
    if (!part.dataset.begun) { part.dataset.begun = "1"; module.begin(part); }
  }
}

const palette = () => import("./palette.js").then(({ open }) => open());
const menus = () => $$("details.menu[open]");

document.addEventListener("click", ({ target }) => {
  for (const menu of menus()) if (!menu.contains(target)) menu.open = false;
  if (target.closest("[data-palette]")) palette();
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && $("[data-palette]")) {
    event.preventDefault();
    palette();
  }
  if (event.key === "Escape") for (const menu of menus()) { menu.open = false; $("summary", menu).focus(); }
});

function begin() {
  tick();
  modules();
  listen();
}
document.addEventListener("drawn", begin);
setInterval(tick, 1000);
begin();
