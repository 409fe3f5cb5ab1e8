// <div id="newest" data-live="requests keys">: fetched anew when something of these TOPICS changed (none: of any), once in GAP, not while
// nobody looks. A part in which somebody types or opens something stays.
import { $, $$, csrf, make, texts } from "./api.js";

const GAP = 5000;
const TOPICS = ["requests", "keys", "relays", "notices", "clients"];
// Milliseconds: until a break is said; between tries where the browser makes none.
const BREAK = 3000, AGAIN = 5000;
let source, timer, waiting = new Set(), last = 0, missed = false, broken, note;

const live = () => $$("[data-live]");
const busy = (part) => part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea") || $("details[open], dialog[open], :popover-open", part);
const rows = (part) => $$("tr[id], li[id]", part);

// A page of the panel's as a document; undefined where it does not come.
export async function page(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok && new URL(answer.url).pathname === new URL(address, location).pathname) return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// `all`: also what is not live, after a change of one's own; `part`: the one of that id only, whatever it is, as the page `from` has it.
export async function refresh({ all = false, part, from = location.href, topics } = {}) {
  const fresh = await page(from);
  if (!fresh && all) location.reload();
  if (!fresh) return;
  if (all) $("#main").replaceChildren(...$("#main", fresh).childNodes);
  else for (const old of part ? [document.getElementById(part)] : live()) {
    const next = old.id && fresh.getElementById(old.id), wanted = topics && old.dataset.live?.split(" ");
    if (!next || (!part && (busy(old) || next.isEqualNode(old) || (wanted && !wanted.some((topic) => topics.has(topic)))))) continue;
    const known = new Set(rows(old).map((row) => row.id));
    old.replaceWith(next);
    if (known.size) for (const row of rows(next)) if (!known.has(row.id)) row.classList.add("changed");
  }
  document.dispatchEvent(new CustomEvent("drawn"));
}

function soon(topic) {
  waiting.add(topic);
  if (timer || document.hidden) return;
  timer = setTimeout(async () => {
    timer = undefined;
    last = Date.now();
    const topics = waiting;
    waiting = new Set();
    await refresh({ topics });
  }, Math.max(200, last + GAP - Date.now()));
}

// What stands here is old: the panel is away, or the session is over. Said until it is not so any more.
function say(text, ...more) {
  note?.remove();
  note = text && make("div", { className: "toast bad" }, text, ...more);
  if (note) $("#toasts").append(note);
}

function open() {
  source = new EventSource("/api/events?brief=true");
  for (const topic of TOPICS) source.addEventListener(topic, () => soon(topic));
  source.onopen = () => {
    clearTimeout(broken);
    say();
    if (missed) TOPICS.forEach(soon);
    missed = broken = undefined;
  };
  source.onerror = async () => {
    missed = true;
    broken ??= setTimeout(say, BREAK, texts.offline);
    if (source.readyState !== EventSource.CLOSED) return;
    const answer = await fetch("/api/me").catch(() => null);
    if (answer?.status !== 401) { setTimeout(open, AGAIN); return; }
    clearTimeout(broken);
    say(texts.signedout, make("a", { className: "button", href: `/login?next=${encodeURIComponent(location.pathname + location.search)}` }, texts.signin));
  };
}

export function listen() {
  if (source || !live().length || !csrf()) return;
  open();
  document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting.size) soon([...waiting][0]); });
  addEventListener("pagehide", () => { source.onerror = null; source.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { missed = true; open(); } });
}
