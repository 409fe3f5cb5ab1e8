// The forms of sign-in, sent without leaving the page: what was typed stays while the server asks for a code, too.
export function begin(part) {
  part.addEventListener("submit", async (event) => {
    event.preventDefault();
    const form = event.target, typed = new FormData(form);
    const button = form.querySelector("button");
    button.setAttribute("aria-busy", "true");
    const sent = { method: "POST", body: new URLSearchParams(typed), headers: { Accept: "text/html" }, redirect: "manual" };
    const answer = await fetch(form.action, sent).catch(() => null);
    if (!answer) return form.submit();
    if (answer.type === "opaqueredirect") return location.assign(part.dataset.next || "/");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-module=entering]");
    if (!fresh) return location.reload();
    part.replaceChildren(...fresh.childNodes);
    const fields = [...part.querySelectorAll("input:not([type=hidden], [hidden])")];
    const asksMore = fields.length > form.querySelectorAll("input:not([type=hidden], [hidden])").length;
    for (const field of fields) if (asksMore && typed.has(field.name)) field.value = typed.get(field.name);
    (asksMore ? fields.at(-1) : fields.find((field) => !field.value) || fields[0])?.focus();
  });
}
