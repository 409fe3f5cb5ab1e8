// A tooltip that goes along with the pointer, and with the arrow keys, through the steps of a chart. Its text is the <title> of a step.
let tip;

function box() {
  if (!tip) {
    tip = document.createElement("div");
    tip.className = "tip";
    tip.setAttribute("role", "status");
    document.body.append(tip);
  }
  return tip;
}

function show(chart, step) {
  for (const one of chart.querySelectorAll(".step.here")) one.classList.remove("here");
  const title = step?.querySelector("title");
  if (!title && !step?.dataset.text) { box().hidden = true; return; }
  if (title) { step.dataset.text = title.textContent; title.remove(); } // the browser would show its own
  step.classList.add("here");
  const [head, ...lines] = step.dataset.text.split("\n");
  const strong = document.createElement("strong");
  strong.textContent = head;
  box().replaceChildren(strong, ...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
  tip.hidden = false;
  const at = step.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left + at.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const top = at.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${top > 64 ? top : at.bottom + 8}px`;
}

export function begin(chart) {
  if (tip) tip.hidden = true;
  const steps = () => [...chart.querySelectorAll(".step")];
  chart.addEventListener("pointermove", (event) => show(chart, event.target.closest(".step")));
  chart.addEventListener("pointerleave", () => show(chart, null));
  chart.addEventListener("blur", () => show(chart, null));
  chart.addEventListener("keydown", (event) => {
    const all = steps();
    const here = all.findIndex((one) => one.classList.contains("here"));
    const next = { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here < 0 ? all.length - 1 : here - 1, ArrowUp: here < 0 ? all.length - 1 : here - 1, Home: 0, End: all.length - 1, Escape: -1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show(chart, next < 0 ? null : all[Math.min(next, all.length - 1)]);
  });
}
