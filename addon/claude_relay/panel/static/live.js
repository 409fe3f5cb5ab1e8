// What is live: parts of the page that are fetched anew when the relay says that something changed. The server draws; here it is only put in.
//
//   <div id="newest" data-live="requests">        anew when requests settled;  topics: requests, keys, relays, notices, clients (or none: all)
//
// Several changes within GAP are one fetch, and nothing is fetched while nobody looks. A part in which somebody types or opens something stays.
import { texts } from "./api.js";

const GAP = 4000;
const TOPICS = ["requests", "keys", "relays", "notices", "clients"];
// Milliseconds: until a break is said, and from one try to the next where the browser makes none.
const BREAK = 3000, AGAIN = 5000;
let source, timer, waiting = new Set(), last = 0, missed = false, broken, note;

const live = () => [...document.querySelectorAll("[data-live]")];
const busy = (part) => part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea") || part.querySelector("details[open], dialog[open], :popover-open");

// `all`: also what is not live, after a change of one's own.
export async function refresh({ all = false, topics } = {}) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || !answer.ok || new URL(answer.url).pathname !== location.pathname) {
    if (all) location.reload();
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (all) {
    document.getElementById("main").replaceChildren(...fresh.getElementById("main").childNodes);
    document.dispatchEvent(new CustomEvent("drawn"));
    return;
  }
  for (const part of live()) {
    const wanted = part.dataset.live ? part.dataset.live.split(" ") : null;
    if (topics && wanted && !wanted.some((topic) => topics.has(topic))) continue;
    const next = part.id && fresh.getElementById(part.id);
    if (!next || busy(part) || next.isEqualNode(part)) continue;
    const known = new Set([...part.querySelectorAll("tr[id], li[id]")].map((row) => row.id));
    part.replaceWith(next);
    if (known.size) for (const row of next.querySelectorAll("tr[id], li[id]")) if (!known.has(row.id)) row.classList.add("changed");
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
  note = text && Object.assign(document.createElement("div"), { className: "toast bad" });
  if (text) { note.append(text, ...more); document.getElementById("toasts").append(note); }
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
    say(texts.signedout, Object.assign(document.createElement("a"), { className: "button", textContent: texts.signin, href: `/login?next=${encodeURIComponent(location.pathname + location.search)}` }));
  };
}

export function listen() {
  if (source || !live().length || !document.querySelector('meta[name="csrf"]')) return;
  open();
  document.addEventListener("visibilitychange", () => { if (!document.hidden && waiting.size) soon([...waiting][0]); });
  addEventListener("pagehide", () => { source.onerror = null; source.close(); });
  addEventListener("pageshow", (event) => { if (event.persisted) { missed = true; open(); } });
}
