// A conversation through the pool, in one column or two, which lives here only.
import { $, $$, api, make, pause } from "./api.js";
import { page } from "./live.js";

// Events of a stream of server-sent events, as they come.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
  }
}

class Column {
  constructor(element, texts) {
    Object.assign(this, { element, texts, messages: [], said: $(".talk-said", element) });
  }

  field(name) { return $(`[name="${name}"]`, this.element).value.trim(); }

  add(who, className, ...inside) {
    const box = make("article", { className: `said ${className}` }, make("p", { className: "said-who" }, who), ...inside);
    this.said.append(box);
    this.said.scrollTop = this.said.scrollHeight;
    return box;
  }

  clear() { this.messages = []; this.said.replaceChildren(); }

  // Whether there is a whole answer.
  async send(content, images, request, signal) {
    const turn = { role: "user", content }, target = this.field("target"), model = this.field("model"), { said, texts } = this;
    this.add(texts.you, "mine", ...images.map((image) => image.cloneNode()), make("div", { className: "said-text" }, content.at(-1).text ?? ""));
    const box = this.add(target || model, "theirs"), blocks = [];
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
      failure = problem.name === "AbortError" ? texts.stopped : problem.message;
    }
    box.ariaBusy = null;
    const kept = blocks.map(({ block }) => block).filter(({ type, text, signature }) => type === "text" ? text : type === "thinking" && signature);
    if (kept.some(({ type }) => type === "text")) this.messages.push(turn, { role: "assistant", content: kept });
    if (failure) box.append(make("p", { className: "alert", role: "alert" }, failure));
    else if (reason && reason !== "end_turn") box.append(make("p", { className: "small muted" }, `${texts.ended} ${reason}`));
    if (answer) this.facts(box, answer.headers);
    said.scrollTop = said.scrollHeight;
    return !failure;
  }

  begun(box, start) {
    const place = make("div", { className: "said-text" }, start.type === "tool_use" ? `${this.texts.tool} ${start.name} ` : "");
    box.append(start.type === "thinking" ? make("details", { className: "thoughts" }, make("summary", {}, this.texts.thinking), place) : place);
    return { block: { ...start }, place };
  }

  grow({ block, place }, { text = "", thinking = "", signature, partial_json = "" }) {
    if (signature) block.signature = (block.signature || "") + signature;
    if (text) block.text += text;
    if (thinking) block.thinking += thinking;
    place.append(text, thinking, partial_json);
  }

  // Who answered; and how it went, as the page of the request has it once it is written down.
  async facts(box, headers) {
    const said = (name) => headers.get(`x-relay-${name}`), href = `/requests/${encodeURIComponent(said("request"))}`;
    const line = make("p", { className: "facts-line small muted" }, `${said("provider")}/${said("key")} · ${said("model") ?? ""} · `, make("a", { href }, this.texts.request));
    box.append(line);
    for (let wait = 100; wait < 3000; wait *= 2) {
      await pause(wait);
      const found = $("#outcome", (await page(href)) ?? line);
      if (found) return line.lastChild.before(...found.childNodes, " · ");
    }
  }
}

export function begin(form) {
  const list = $("[data-images]"), stop = $("[data-stop]"), { prompt, system, budget, thinking, max_tokens } = form.elements;
  const columns = $$("[data-column]", form).map((element) => new Column(element, form.dataset));
  let running;

  function take(files) {
    for (const file of files) {
      if (!file.type.startsWith("image/")) continue;
      const image = make("img", { alt: file.name }), reader = new FileReader();
      const item = make("li", {}, image, make("button", { className: "plain", type: "button", ariaLabel: form.dataset.remove.replace("{}", file.name), onclick: () => item.remove() }, "×"));
      reader.onload = () => { image.src = reader.result; list.append(item); };
      reader.readAsDataURL(file);
    }
  }

  const busy = (on) => { stop.hidden = !on; $("[data-send]").disabled = on; };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const text = prompt.value.trim(), rules = system.value.trim(), thoughts = thinking.checked && +budget.value;
    const images = $$("img", list), content = images.map(({ src }) => {
      const [, media_type, , data] = src.split(/[:;,]/);
      return { type: "image", source: { type: "base64", media_type, data } };
    });
    if (text) content.push({ type: "text", text });
    if (running || !content.length) return;
    const request = { stream: true, max_tokens: Math.max(+max_tokens.value, thoughts ? thoughts + 1024 : 1) };
    if (rules) request.system = rules;
    if (thoughts) request.thinking = { type: "enabled", budget_tokens: thoughts };
    running = new AbortController();
    busy(true);
    prompt.value = "";
    const shown = [...list.children];
    list.replaceChildren();
    const done = await Promise.all(columns.filter(({ element }) => !element.hidden).map((column) => column.send(content, images, request, running.signal)));
    if (!done.includes(true)) {
      prompt.value ||= text;
      if (!list.children.length) list.replaceChildren(...shown);
    }
    running = undefined;
    busy(false);
    prompt.focus();
  });
  stop.onclick = () => running?.abort();
  $("[data-files]").onchange = ({ target }) => { take(target.files); target.value = ""; };
  prompt.onpaste = (event) => take(event.clipboardData.files);
  prompt.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  };
  $("[data-two]").onclick = ({ currentTarget }) => {
    const { element } = columns[1];
    element.hidden = !element.hidden;
    currentTarget.ariaPressed = !element.hidden;
  };
  $("[data-clear]").onclick = () => { running?.abort(); for (const column of columns) column.clear(); prompt.focus(); };
}
