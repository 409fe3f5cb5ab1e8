// A conversation through the pool, in one column or two, which lives here only.
import { api } from "./api.js";

const make = (tag, className = "", textContent = "", more = {}) => Object.assign(document.createElement(tag), { className, textContent, ...more });
const image = (src, alt) => Object.assign(new Image(), { src, alt });

// Events of a stream of server-sent events, as they come.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split(/\r?\n\r?\n/);
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (data.trim()) yield JSON.parse(data);
    }
  }
}

class Column {
  constructor(element, texts) {
    Object.assign(this, { element, texts, messages: [], said: element.querySelector(".talk-said") });
  }

  field(name) { return this.element.querySelector(`[name="${name}"]`).value.trim(); }

  add(who, className) {
    const box = make("article", `said ${className}`);
    box.append(make("p", "said-who", who));
    this.said.append(box);
    this.said.scrollTop = this.said.scrollHeight;
    return box;
  }

  clear() { this.messages = []; this.said.replaceChildren(); }

  // Resolves to whether there is a whole answer.
  async send(content, request, signal) {
    const turn = { role: "user", content }, target = this.field("target"), model = this.field("model");
    const mine = this.add(this.texts.you, "mine"), box = this.add(target || model, "theirs");
    for (const { text, source } of content) mine.append(source ? image(`data:${source.media_type};base64,${source.data}`, "") : make("div", "said-text", text));
    const blocks = [], { said } = this;
    let answer, failure = "", reason = "";
    box.ariaBusy = "true";
    try {
      answer = await api("POST /api/playground", { target: target || null, request: { ...request, model, messages: [...this.messages, turn] } }, { raw: true, signal });
      for await (const event of events(answer.body)) {
        const follow = said.scrollHeight - said.scrollTop - said.clientHeight < 80;
        if (event.type === "content_block_start") blocks[event.index] = this.begun(box, event.content_block);
        else if (event.type === "content_block_delta") this.grow(blocks[event.index], event.delta);
        else if (event.type === "message_delta") reason = event.delta.stop_reason;
        else if (event.type === "error") failure = event.error.message;
        if (follow) said.scrollTop = said.scrollHeight;
      }
    } catch (problem) {
      failure = problem.name === "AbortError" ? this.texts.stopped : problem.message;
    }
    box.ariaBusy = null;
    const kept = blocks.map(({ block }) => block).filter(({ type, text, signature }) => type === "text" ? text : type === "thinking" && signature);
    if (kept.some(({ type }) => type === "text")) this.messages.push(turn, { role: "assistant", content: kept });
    if (failure) box.append(make("p", "alert", failure, { role: "alert" }));
    else if (reason && reason !== "end_turn") box.append(make("p", "small muted", `${this.texts.ended} ${reason}`));
    if (answer) this.facts(box, answer.headers);
    said.scrollTop = said.scrollHeight;
    return !failure;
  }

  begun(box, start) {
    const place = make("div", "said-text", start.type === "tool_use" ? `${this.texts.tool} ${start.name} ` : "");
    if (start.type === "thinking") {
      const folded = make("details", "thoughts");
      folded.append(make("summary", "", this.texts.thinking), place);
      box.append(folded);
    } else box.append(place);
    return { block: { ...start }, place };
  }

  grow({ block, place }, { type, text, thinking, signature, partial_json }) {
    if (type === "signature_delta") block.signature = (block.signature || "") + signature;
    if (text) block.text += text;
    if (thinking) block.thinking += thinking;
    place.append(text || thinking || partial_json || "");
  }

  async facts(box, headers) {
    const said = (name) => headers.get(`x-relay-${name}`), id = said("request"), line = make("p", "facts-line small muted");
    const link = make("a", "", this.texts.request, { href: `/requests/${encodeURIComponent(id)}` });
    const show = (...more) => line.replaceChildren([`${said("provider")}/${said("key")}`, said("model"), `${this.texts.tries} ${said("attempts")}`, ...more, ""].filter((part) => part !== null).join(" · "), link);
    box.append(line);
    show();
    for (let wait = 100; wait < 3000; wait *= 2) {
      await new Promise((done) => setTimeout(done, wait));
      const found = (await api(`GET /api/requests/${encodeURIComponent(id)}`).catch(() => null))?.request;
      if (!found) continue;
      const cost = found.cost_usd;
      show(`${(found.input_tokens ?? 0) + (found.cache_read_tokens ?? 0)} → ${found.output_tokens ?? "–"} ${this.texts.tokens}`, cost == null ? `${this.texts.cost} –` : `$${cost.toFixed(cost < 0.01 ? 5 : 3)}`, `${((found.duration_ms ?? 0) / 1000).toFixed(1)} s`);
      return;
    }
  }
}

export function begin(form) {
  const at = (selector) => document.querySelector(selector), { elements } = form, { prompt } = elements;
  const columns = [...form.querySelectorAll("[data-column]")].map((element) => new Column(element, form.dataset));
  let images = [], running;

  function draw() {
    at("[data-images]").replaceChildren(...images.map((one) => {
      const item = make("li"), button = make("button", "plain", "×", { type: "button", ariaLabel: form.dataset.remove.replace("{}", one.name) });
      button.onclick = () => { images = images.filter((other) => other !== one); draw(); };
      item.append(image(one.url, one.name), button);
      return item;
    }));
  }

  function take(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      const reader = new FileReader();
      reader.onload = () => { images.push({ name: file.name, url: reader.result }); draw(); };
      reader.readAsDataURL(file);
    }
  }

  function busy(on) {
    at("[data-stop]").hidden = !on;
    at("[data-send]").disabled = on;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = prompt.value.trim(), system = elements.system.value.trim(), budget = Number(elements.budget.value), thinking = elements.thinking.checked;
    const content = images.map(({ url }) => ({ type: "image", source: { type: "base64", media_type: url.slice(5, url.indexOf(";")), data: url.slice(url.indexOf(",") + 1) } }));
    if (text) content.push({ type: "text", text });
    if (running || !content.length) return;
    const request = { stream: true, max_tokens: Math.max(Number(elements.max_tokens.value), thinking ? budget + 1024 : 1) };
    if (system) request.system = system;
    if (thinking) request.thinking = { type: "enabled", budget_tokens: budget };
    running = new AbortController();
    busy(true);
    const sent = images;
    [prompt.value, images] = ["", []];
    draw();
    const done = await Promise.all(columns.filter(({ element }) => !element.hidden).map((column) => column.send(content, request, running.signal)));
    if (!done.includes(true)) {
      prompt.value ||= text;
      if (!images.length) images = sent;
      draw();
    }
    running = undefined;
    busy(false);
    prompt.focus();
  });
  at("[data-stop]").onclick = () => running?.abort();
  at("[data-files]").onchange = ({ target }) => { take(target.files); target.value = ""; };
  prompt.addEventListener("paste", (event) => take(event.clipboardData.files));
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  at("[data-two]").onclick = ({ currentTarget }) => {
    const { element } = columns[1];
    element.hidden = !element.hidden;
    currentTarget.ariaPressed = !element.hidden;
  };
  at("[data-clear]").onclick = () => { running?.abort(); for (const column of columns) column.clear(); prompt.focus(); };
}
