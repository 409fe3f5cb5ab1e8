// Requests to /api: JSON both ways, the CSRF token with changes, problems as errors, the password once more where it is asked for.

export const texts = document.getElementById("texts").dataset;
const csrf = () => document.querySelector('meta[name="csrf"]')?.content ?? "";

export class Problem extends Error {
  constructor(status, details) {
    super(details.detail || texts.failed);
    this.status = status;
    this.code = String(details.type || "").split(":").pop();
    this.errors = details.errors || [];
  }
}

// `what`: "POST /api/keys"; `etag`: of the version that was seen. Resolves to what came, undefined for nothing.
export async function api(what, body, { etag, signal, raw } = {}) {
  const [method, path] = what.split(" ");
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: texts.offline });
  }
  if (answer.ok) {
    if (raw) return answer;
    return answer.status === 204 ? undefined : answer.json();
  }
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (problem.code === "confirm_password" && (await confirmPassword())) return api(what, body, { etag, signal, raw });
  if (problem.status === 401 && problem.code === "sign_in") location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  throw problem;
}

// A short message at the corner; `action`: [text, function] for a button in it.
export function toast(text, { bad = false, action } = {}) {
  const box = document.createElement("div");
  box.className = bad ? "toast bad" : "toast";
  box.append(text);
  const away = setTimeout(() => box.remove(), bad || action ? 9000 : 4000);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action[0];
    button.onclick = () => { clearTimeout(away); box.remove(); action[1](); };
    box.append(button);
  }
  document.getElementById("toasts").append(box);
}

// A dialog made here: its text, perhaps one field. Resolves to true or the field's value; null when it was closed.
export function ask(text, { field, type = "text", danger = false, yes = texts.confirm } = {}) {
  return new Promise((resolve) => {
    const box = document.createElement("dialog");
    const form = document.createElement("form");
    form.method = "dialog";
    form.className = "form";
    const line = document.createElement("p");
    line.textContent = text;
    form.append(line);
    let input;
    if (field) {
      const label = document.createElement("label");
      label.className = "field";
      input = document.createElement("input");
      Object.assign(input, { type, required: true, autocomplete: type === "password" ? "current-password" : "off" });
      const name = document.createElement("span");
      name.textContent = field;
      label.append(name, input);
      form.append(label);
    }
    const end = document.createElement("div");
    end.className = "form-end";
    for (const [value, label, kind] of [["", texts.cancel, ""], ["yes", yes, danger ? "danger" : "primary"]]) {
      const button = document.createElement("button");
      Object.assign(button, { value, textContent: label, className: kind });
      if (!value) Object.assign(button, { formNoValidate: true, type: "submit" });
      end.append(button);
    }
    form.append(end);
    box.append(form);
    box.setAttribute("aria-label", text);
    box.onclose = () => { box.remove(); resolve(box.returnValue === "yes" ? (input ? input.value : true) : null); };
    document.body.append(box);
    box.showModal();
    (input || end.lastChild).focus();
  });
}

async function confirmPassword() {
  const password = await ask(texts.again, { field: texts.password, type: "password" });
  if (password === null) return false;
  try {
    await api("POST /api/me/confirm", { password });
    return true;
  } catch (problem) {
    toast(problem.message, { bad: true });
    return confirmPassword();
  }
}
