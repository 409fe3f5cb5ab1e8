// Requests to /api, with the CSRF token; problems are errors; the password is asked for once more where that is wanted.

// The first element of a selector, and all.
export const $ = (what, within = document) => within.querySelector(what);
export const $$ = (what, within = document) => [...within.querySelectorAll(what)];

export const texts = $("#texts").dataset;
export const csrf = () => $('meta[name="csrf"]')?.content ?? "";
export const pause = (milliseconds) => new Promise((over) => setTimeout(over, milliseconds));

// An element with properties, and what is in it.
export function make(tag, properties, ...inside) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
}

export class Problem extends Error {
  constructor(status, { detail = texts.failed, type = "", errors = [] }) {
    super(detail);
    Object.assign(this, { status, errors, code: type.split(":").pop() });
  }
}

// "/clients/{name}" filled from `values`, which lose what is taken.
export const filled = (path, values) => path.replace(/\{(\w+)\}/g, (_, name) => {
  const value = values?.[name] ?? "";
  delete values?.[name];
  return encodeURIComponent(value);
});

// `what`: "POST /api/keys", {fields} filled from the body; `etag`: of the version that was seen.
export async function api(what, body, { etag, signal, raw } = {}) {
  const sent = body && { ...body };
  const [method, path] = filled(what, sent).split(" ");
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
  if (body) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  const answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(sent) }).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(0, { detail: texts.offline });
  });
  if (answer.ok) return raw ? answer : answer.status === 204 ? undefined : answer.json();
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (problem.code === "confirm_password" && (await confirmPassword())) return api(what, body, { etag, signal, raw });
  if (problem.code === "sign_in") location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  throw problem;
}

// Work whose problem is shown.
export const attempt = (work) => work().catch((problem) => toast(problem.message, { bad: true }));

// Resolves to a job when it is over; `told` of it each time.
export async function job(id, told) {
  for (;;) {
    const found = await api(`GET /api/jobs/${id}`);
    told?.(found);
    if (found.state === "failed") toast(found.detail, { bad: true });
    if (found.state !== "running") return found;
    await pause(400);
  }
}

// A short message; `action`: [text, function] for a button in it.
export function toast(text, { bad = false, action } = {}) {
  const box = make("div", { className: bad ? "toast bad" : "toast" }, text);
  if (action) box.append(make("button", { type: "button", textContent: action[0], onclick: () => { box.remove(); action[1](); } }));
  setTimeout(() => box.remove(), bad || action ? 9000 : 4000);
  $("#toasts").append(box);
}

// Resolves to whether a dialog was closed by its button "yes".
export const agreed = (dialog) => new Promise((resolve) => {
  dialog.returnValue = "";
  dialog.onclose = () => resolve(dialog.returnValue === "yes");
  dialog.showModal();
});

// Resolves to whether somebody agrees; with `password`: to what was typed.
export async function ask(text, { password = false, danger = false, yes = texts.confirm } = {}) {
  const box = $("#ask").content.firstElementChild.cloneNode(true);
  const input = $("input", box), button = $("[value=yes]", box);
  $("p", box).textContent = box.ariaLabel = text;
  Object.assign(button, { textContent: yes, className: danger ? "danger" : "primary", autofocus: !password });
  if (!password) input.parentElement.remove();
  document.body.append(box);
  const agrees = await agreed(box);
  box.remove();
  return agrees && (password ? input.value : true);
}

async function confirmPassword() {
  const password = await ask(texts.again, { password: true });
  return password && api("POST /api/me/confirm", { password }).then(() => true, (problem) => {
    toast(problem.message, { bad: true });
    return confirmPassword();
  });
}
