// A duel of one request: begins the job, waits for it, and shows target beside target, each answer with a link to its request.
import { api, toast } from "./api.js";

const cell = (row, text, kind) => {
  const made = document.createElement(kind || "td");
  if (text instanceof Node) made.append(text);
  else made.textContent = text ?? "–";
  if (kind) made.scope = "row";
  row.append(made);
};

export function begin(form) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    event.stopPropagation();
    const button = form.querySelector("button.primary"), body = form.querySelector("tbody"), table = form.querySelector(".table");
    button.setAttribute("aria-busy", "true");
    try {
      const targets = form.elements.targets.value.split(/[\s,]+/).filter(Boolean);
      const { id } = await api("POST /api/duels", { requests: [form.dataset.request], targets });
      let job;
      do {
        await new Promise((resolve) => setTimeout(resolve, 700));
        job = await api(`GET /api/jobs/${id}`);
      } while (job.state === "running" && form.isConnected);
      if (job.state === "failed") throw new Error(job.detail);
      const [{ alike, requests: [{ answers }] }] = job.results;
      table.hidden = false;
      form.querySelector("[data-alike]").hidden = !alike;
      form.querySelector("[data-differ]").hidden = alike;
      body.replaceChildren(...Object.entries(answers).map(([target, [answer]]) => {
        const row = document.createElement("tr");
        cell(row, Object.assign(document.createElement("a"), { href: `/requests/${answer.request}`, textContent: target }), "th");
        cell(row, answer.status);
        cell(row, answer.output_tokens);
        cell(row, answer.cost_usd == null ? null : `$${answer.cost_usd.toFixed(4)}`);
        cell(row, answer.duration_ms == null ? null : `${(answer.duration_ms / 1000).toFixed(1)} s`);
        return row;
      }));
    } catch (problem) {
      toast(problem.message, { bad: true });
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
}
