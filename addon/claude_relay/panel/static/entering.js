// The forms of sign-in, sent without leaving the page: what was typed stays while the server asks for a code, too.
import { $, $$ } from "./api.js";

const fields = (part) => $$("input:not([type=hidden], [hidden])", part);

export function begin(part) {
  part.onsubmit = async (event) => {
    event.preventDefault();
    const form = event.target, typed = new FormData(form), before = fields(form).length;
    $("button", form).ariaBusy = "true";
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(typed), headers: { Accept: "text/html" }, redirect: "manual" }).catch(() => null);
    if (!answer) return form.submit();
    if (answer.type === "opaqueredirect") return location.assign(part.dataset.next || "/");
    const came = new DOMParser().parseFromString(await answer.text(), "text/html"), fresh = $("[data-module=entering]", came);
    if (!fresh) return $("#main").replaceWith($("#main", came) ?? came.body);
    part.replaceChildren(...fresh.childNodes);
    const all = fields(part), asksMore = all.length > before;
    for (const field of all) if (asksMore && typed.has(field.name)) field.value = typed.get(field.name);
    (asksMore ? all.at(-1) : all.find((field) => !field.value) || all[0])?.focus();
  };
}
