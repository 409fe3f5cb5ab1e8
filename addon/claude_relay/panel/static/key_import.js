// Import of keys: nothing is added before it was looked at.
import { $, api, attempt, make } from "./api.js";
import { collected } from "./forms.js";
import { follow } from "./keys.js";

export function begin(form, words) {
  const part = (name) => $(name, form);
  const box = part("[data-preview]"), take = part("[data-take]"), area = part("textarea");
  const send = (dry_run) => {
    const said = collected(form);
    return api("POST /api/providers/{provider}/keys/batch", { ...said, dry_run, check: said.check && !dry_run });
  };
  const show = (came) => {
    const others = came.rows.filter(({ status }) => status !== "new");
    const lines = others.slice(0, 12).map((row) => [`${row.where}:`, row.mask, row.detail || words[row.removed ? "gone" : row.status], row.name].filter(Boolean).join(" "));
    if (others.length > 12) lines.push(`… ${others.length - 12}`);
    const sum = ["new", "known", "twice", "invalid"].filter((name) => came[name]).map((name) => `${came[name]} ${words[name]}`).join(" · ");
    box.replaceChildren(make("p", { className: "preview-sum" }, sum), make("ul", {}, ...[...came.notes, ...lines].map((text) => make("li", {}, text))));
    box.hidden = false;
    take.disabled = !came.new;
    take.textContent = `${words.add} ${came.new || ""}`.trim();
  };
  form.onsubmit = (event) => { event.preventDefault(); attempt(async () => show(await send(true))); };
  area.oninput = () => { take.disabled = box.hidden = true; };
  part("[data-file]").onchange = async ({ target }) => { area.value = await target.files[0].text(); area.oninput(); };
  take.onclick = () => attempt(async () => {
    take.disabled = true;
    const came = await send(false);
    area.value = "";
    if (came.job) await follow(came.job);
    location.assign("/keys");
  });
}
