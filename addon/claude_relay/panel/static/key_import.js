// Import of keys: nothing is added before it was looked at.
import { api } from "./api.js";
import { collected } from "./forms.js";
import { attempt, follow } from "./keys.js";

export function begin(form, words) {
  const part = (name) => form.querySelector(name);
  const box = part("[data-preview]"), take = part("[data-take]"), area = part("textarea");
  const send = (dry_run) => {
    const { check, ...said } = collected(form);
    return api(`POST /api/providers/${encodeURIComponent(part("[data-provider]").value)}/keys/batch`, { ...said, dry_run, check: check && !dry_run });
  };
  const show = (came) => {
    const others = came.rows.filter((row) => row.status !== "new"), list = document.createElement("ul"), sum = document.createElement("p");
    const lines = others.slice(0, 12).map((row) => [`${row.where}:`, row.mask, row.detail || words[row.removed ? "gone" : row.status], row.name].filter(Boolean).join(" "));
    for (const text of [...came.notes, ...lines, ...(others.length > 12 ? [`… ${others.length - 12}`] : [])]) list.appendChild(document.createElement("li")).textContent = text;
    sum.className = "preview-sum";
    sum.textContent = ["new", "known", "twice", "invalid"].filter((name) => came[name]).map((name) => `${came[name]} ${words[name]}`).join(" · ");
    box.replaceChildren(sum, list);
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
