// What a person's program does with the TypeScript SDK; through the proxy, Node must be told. Prints the answers as JSON.
import Anthropic from "@anthropic-ai/sdk";
import { ProxyAgent } from "undici";

const proxy = process.env.HTTPS_PROXY;
const client = new Anthropic({
  maxRetries: 0,
  ...(proxy ? { fetchOptions: { dispatcher: new ProxyAgent(proxy) } } : {}),
});
const model = "claude-sonnet-5";
const parts = (content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });

async function streamed(prompt) {
  let text = "";
  const stream = client.messages.stream(parts(prompt)).on("text", (piece) => (text += piece));
  await stream.finalMessage();
  return text;
}

async function listed() {
  const found = [];
  for await (const { id } of client.models.list()) found.push(id);
  return found;
}

const [whole, text, call, tokens, models] = await Promise.all([
  client.messages.create(parts("question #1")),
  streamed("question #2"),
  client.messages.create(parts("run `date`")),
  client.messages.countTokens({ model, messages: parts("Hi").messages }),
  listed(),
]);
const tool = call.content.at(-1).input.command;
console.log(JSON.stringify({ whole: whole.content[0].text, streamed: text, tool, tokens: tokens.input_tokens, models }));
process.exit(0);
