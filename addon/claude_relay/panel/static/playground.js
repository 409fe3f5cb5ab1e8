// A conversation through the pool, in one column or two. It lives here only: what is sent goes to /api/playground, and streams back.
import { api } from "./api.js";

const make = (tag, className = "", text = "") => Object.assign(document.createElement(tag), { className, textContent: text });

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
  constructor(element, form) {
    Object.assign(this, { element, form, messages: [] });
    this.said = element.querySelector(".talk-said");
  }

  field(name) { return this.element.querySelector(`[name="${name}"]`).value.trim(); }

  get end() { return this.said.scrollHeight - this.said.scrollTop - this.said.clientHeight < 80; }

  add(who, className) {
    const box = make("article", `said ${className}`);
    box.append(make("p", "said-who", who));
    this.said.append(box);
    this.said.scrollTop = this.said.scrollHeight;
    return box;
  }

  clear() { this.messages = []; this.said.replaceChildren(); }

  async send(content, request, signal) {
    const turn = { role: "user", content };
    const mine = this.add(this.form.dataset.you, "mine");
    for (const block of content) {
      if (block.type === "text") mine.append(make("div", "said-text", block.text));
      else mine.append(Object.assign(make("img"), { src: `data:${block.source.media_type};base64,${block.source.data}`, alt: "" }));
    }
    const box = this.add(this.field("target") || this.field("model"), "theirs");
    const body = { ...request, model: this.field("model"), messages: [...this.messages, turn] };
    const blocks = [];
    let answer, failure = "", reason = "";
    box.setAttribute("aria-busy", "true");
    try {
      answer = await api("POST /api/playground", { target: this.field("target") || null, request: body }, { raw: true, signal });
      for await (const event of events(answer.body)) {
        const follow = this.end;
        if (event.type === "content_block_start") blocks[event.index] = this.begun(box, event.content_block);
        else if (event.type === "content_block_delta") blocks[event.index]?.grow(event.delta);
        else if (event.type === "message_delta") reason = event.delta.stop_reason;
        else if (event.type === "error") failure = event.error.message;
        if (follow) this.said.scrollTop = this.said.scrollHeight;
      }
    } catch (problem) {
      failure = problem.name === "AbortError" ? this.form.dataset.stopped : problem.message;
    }
    box.removeAttribute("aria-busy");
    const found = blocks.filter(Boolean).map(({ block }) => block).filter((block) => block.text !== "");
    if (found.some((block) => block.type === "text") && !(failure && found.some((block) => block.type === "thinking" && !block.signature))) this.messages.push(turn, { role: "assistant", content: found.filter((block) => block.type !== "tool_use") });
    if (failure) box.append(Object.assign(make("p", "alert", failure), { role: "alert" }));
    else if (reason && reason !== "end_turn") box.append(make("p", "small muted", `${this.form.dataset.ended} ${reason}`));
    if (answer) await this.facts(box, answer.headers);
    return !failure;
  }

  begun(box, start) {
    const block = { ...start };
    const place = make("div", "said-text");
    if (block.type === "thinking") {
      const folded = make("details", "thoughts");
      folded.append(make("summary", "", this.form.dataset.thinking), place);
      box.append(folded);
    } else box.append(place);
    if (block.type === "tool_use") place.textContent = `${this.form.dataset.tool} ${block.name} `;
    place.append(block.text || block.thinking || "");
    return {
      block,
      grow(delta) {
        if (delta.type === "text_delta") { block.text += delta.text; place.append(delta.text); }
        else if (delta.type === "thinking_delta") { block.thinking += delta.thinking; place.append(delta.thinking); }
        else if (delta.type === "signature_delta") block.signature = (block.signature || "") + delta.signature;
        else if (delta.type === "input_json_delta") place.append(delta.partial_json);
      },
    };
  }

  // Who answered, after how many attempts, and what it cost: from the head, then from the ledger, which has it a moment later.
  async facts(box, headers) {
    const id = headers.get("x-relay-request"), { tries, cost, tokens, request } = this.form.dataset;
    const line = make("p", "facts-line small muted");
    const show = (parts) => line.replaceChildren(...parts.flatMap((part, at) => (at ? [" · ", part] : [part])));
    const link = Object.assign(make("a", "", request), { href: `/requests/${encodeURIComponent(id)}` });
    const known = [`${headers.get("x-relay-provider")}/${headers.get("x-relay-key")}`, headers.get("x-relay-model"), `${headers.get("x-relay-attempts")} ${tries}`].filter((part) => part && !part.startsWith("null"));
    box.append(line);
    show([...known, link]);
    for (let wait = 100; id && wait < 3000; wait *= 2) {
      await new Promise((done) => setTimeout(done, wait));
      const found = await api(`GET /api/requests/${encodeURIComponent(id)}`).catch(() => null);
      if (!found) continue;
      const { input_tokens, cache_read_tokens, output_tokens, cost_usd, duration_ms } = found.request;
      const went = `${(input_tokens ?? 0) + (cache_read_tokens ?? 0)} → ${output_tokens ?? "–"} ${tokens}`;
      const paid = cost_usd == null ? `${cost} –` : `$${cost_usd.toFixed(cost_usd < 0.01 ? 5 : 3)}`;
      show([...known, went, paid, `${((duration_ms ?? 0) / 1000).toFixed(1)} s`, link]);
      return;
    }
  }
}

export function begin(form) {
  const at = (selector) => form.querySelector(selector), prompt = at("#prompt");
  const columns = [...form.querySelectorAll("[data-column]")].map((element) => new Column(element, form));
  const two = document.querySelector("[data-two]");
  let images = [], running = null;

  function drawImages() {
    at("[data-images]").replaceChildren(...images.map((image) => {
      const item = make("li"), button = make("button", "plain", "×");
      Object.assign(button, { type: "button", ariaLabel: form.dataset.remove.replace("{}", image.name), onclick: () => { images = images.filter((one) => one !== image); drawImages(); } });
      item.append(Object.assign(make("img"), { src: image.url, alt: image.name }), button);
      return item;
    }));
  }

  function take(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      const reader = new FileReader();
      reader.onload = () => { images.push({ name: file.name, url: reader.result }); drawImages(); };
      reader.readAsDataURL(file);
    }
  }

  function content() {
    const pictures = images.map(({ url }) => ({ type: "image", source: { type: "base64", media_type: url.slice(5, url.indexOf(";")), data: url.slice(url.indexOf(",") + 1) } }));
    return [...pictures, ...(prompt.value.trim() ? [{ type: "text", text: prompt.value.trim() }] : [])];
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = content();
    if (running || !said.length) return;
    const thinking = form.elements.thinking.checked, budget = Number(form.elements.budget.value);
    const most = Number(form.elements.max_tokens.value) || 4096;
    const request = { stream: true, max_tokens: thinking ? Math.max(most, budget + 1024) : most };
    if (form.elements.system.value.trim()) request.system = form.elements.system.value.trim();
    if (thinking) request.thinking = { type: "enabled", budget_tokens: budget };
    running = new AbortController();
    at("[data-stop]").hidden = false;
    at("[data-send]").disabled = true;
    const typed = prompt.value;
    [prompt.value, images] = ["", []];
    drawImages();
    const done = await Promise.all(columns.filter(({ element }) => !element.hidden).map((column) => column.send(said, request, running.signal)));
    if (!done.includes(true) && !prompt.value) prompt.value = typed;
    running = null;
    at("[data-stop]").hidden = true;
    at("[data-send]").disabled = false;
    prompt.focus();
  });
  at("[data-stop]").onclick = () => running?.abort();
  at("[data-files]").onchange = ({ target }) => { take(target.files); target.value = ""; };
  prompt.addEventListener("paste", (event) => take(event.clipboardData.files));
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
  two.onclick = () => {
    const second = columns[1];
    second.element.hidden = !second.element.hidden;
    two.setAttribute("aria-pressed", !second.element.hidden);
  };
  document.querySelector("[data-clear]").onclick = () => { running?.abort(); for (const column of columns) column.clear(); prompt.focus(); };
}
