// A tooltip that goes along with the pointer, and with the arrow keys, through the steps of a chart. Its text is the <title> of a step.
import { $, $$, make } from "./api.js";

const tip = make("div", { className: "tip", role: "status", hidden: true });

function show(chart, step) {
  $(".step.here", chart)?.classList.remove("here");
  const title = step && $("title", step);
  if (title) { step.dataset.text = title.textContent; title.remove(); } // the browser would show its own
  tip.hidden = !step?.dataset.text;
  if (tip.hidden) return;
  step.classList.add("here");
  const [head, ...lines] = step.dataset.text.split("\n");
  tip.replaceChildren(make("strong", {}, head), ...lines.map((line) => make("div", {}, line)));
  const at = step.getBoundingClientRect(), top = at.top - tip.offsetHeight - 8;
  tip.style.left = `${Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${top > 64 ? top : at.bottom + 8}px`;
}

export function begin(chart) {
  document.body.append(tip);
  tip.hidden = true;
  chart.addEventListener("pointermove", (event) => show(chart, event.target.closest(".step")));
  for (const away of ["pointerleave", "blur"]) chart.addEventListener(away, () => show(chart));
  chart.addEventListener("keydown", (event) => {
    const steps = $$(".step", chart), end = steps.length - 1;
    const here = steps.findIndex((one) => one.classList.contains("here")), before = here < 0 ? end : here - 1, after = Math.min(here + 1, end);
    const next = { ArrowRight: after, ArrowDown: after, ArrowLeft: before, ArrowUp: before, Home: 0, End: end, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(chart, steps[next]);
  });
}
