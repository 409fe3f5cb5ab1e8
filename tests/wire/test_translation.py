"""Providers of other formats, through the real relay: what they are asked, what the client gets, what is written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import pytest

from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.proxy.provider.memories import MOST
from claude_relay.proxy.request.translating import Translator

from . import claude, foreign, steps
from .clients import messages_body, sdk
from .conftest import Dial, StartRelay
from .relay import ROOT, Relay, config, provider, rows
from .upstream import FakeUpstream, Signal, Step

ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]}
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "the weather of a town",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]},
}
MODELS = {"claude-*": "gpt-5.1"}
FORMATS = {"chat": "openai-chat", "responses": "openai-responses", "gemini": "gemini"}


def other(upstream: FakeUpstream, format: str = "openai-chat", **more: Any) -> dict[str, Any]:
    auth = "x-goog-api-key" if format == "gemini" else "bearer"
    model = "gemini-3-pro" if format == "gemini" else "gpt-5.1"
    found = provider(
        f"{upstream.url}/base", ["sk-other-key-1", "sk-other-key-2"], models={"claude-*": model}, auth=auth
    )
    return found | {"format": format} | more


@pytest.fixture
def claude_upstream(stack: ExitStack) -> FakeUpstream:
    """A second upstream, which speaks Claude's format."""
    return stack.enter_context(FakeUpstream(default=steps.claude_default()))


@pytest.fixture
def ask(stack: ExitStack) -> Callable[[Relay], anthropic.Anthropic]:
    return lambda relay: stack.enter_context(sdk(base_port=relay.base_port))


def turns(*found: dict[str, Any]) -> dict[str, Any]:
    return ASK | {"messages": list(found), "tools": [WEATHER]}


def test_a_message(start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]) -> None:
    upstream.script(foreign.chat())
    relay = start(config(providers={"openai": other(upstream, headers={"x-team": "blue"}, body={"store": False})}))
    raw = ask(relay).messages.with_raw_response.create(**ASK, extra_body={"top_k": 5})
    message = raw.parse()
    assert (message.content[0].text, message.model, message.stop_reason) == ("Hello!", "claude-sonnet-5", "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (
        12,
        8,
        5,
    )
    assert raw.headers["x-relay-model"] == "gpt-5.1"
    assert raw.headers["request-id"] == "req-theirs"
    assert "top_k" in raw.headers["x-relay-notes"]
    sent = upstream.requests[0]
    asked = json.loads(sent.body)
    assert (sent.path, sent.header("authorization")) == ("/base/chat/completions", "Bearer sk-other-key-1")
    assert (asked["model"], asked["store"], sent.header("x-team")) == ("gpt-5.1", False, "blue")
    assert not [name for name, _ in sent.headers if name.lower().startswith(("anthropic", "x-stainless", "x-api-key"))]
    row = rows(relay.database)[0]
    assert (row["requested_model"], row["served_model"], row["finished"]) == ("claude-sonnet-5", "gpt-5.1", "complete")
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (12, 8, 5)
    assert "top_k" in row["notes"]


def listing(*names: str) -> Step:
    return foreign.json_answer({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


def test_a_preset_alone_asks_the_server_what_it_has(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    upstream.script(listing("text-embedding-3", "qwen3-coder:30b", "other"), foreign.chat(), foreign.chat())
    relay = start(config(providers={"local": {"preset": "ollama", "base_url": f"{upstream.url}/v1"}}))
    answers = [ask(relay).messages.with_raw_response.create(**ASK) for _ in range(2)]
    assert [answer.headers["x-relay-model"] for answer in answers] == ["qwen3-coder:30b"] * 2
    assert [request.path for request in upstream.requests] == ["/v1/models", *["/v1/chat/completions"] * 2]
    assert [request.header("authorization") for request in upstream.requests] == ["Bearer none"] * 3
    assert json.loads(upstream.requests[1].body)["model"] == "qwen3-coder:30b"


@pytest.mark.parametrize("told", [listing(), foreign.openai_error(500, "oops", "loading"), steps.reset_before_head])
def test_a_server_that_does_not_tell_what_it_has_says_itself_what_is_wrong(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic], told: Step
) -> None:
    upstream.script(told, foreign.openai_error(404, "model_not_found", 'model "first" not found'))
    relay = start(config(providers={"local": {"preset": "vllm", "base_url": f"{upstream.url}/v1"}}))
    with pytest.raises(anthropic.NotFoundError, match="not found"):
        ask(relay).messages.create(**ASK)


def test_a_stream_is_live(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    go = Signal("the client has the first words")
    upstream.script(
        foreign.chat_stream(foreign.chat_chunk({"content": "Hel"}), go, foreign.chat_chunk({"content": "lo!"}))
    )
    relay = start(config(providers={"openai": other(upstream)}))
    with ask(relay).messages.stream(**ASK) as stream:
        texts = iter(stream.text_stream)
        assert next(texts) == "Hel"
        go.set()
        assert "".join(texts) == "lo!"
        message = stream.get_final_message()
    assert (message.model, message.stop_reason, message.usage.output_tokens) == ("claude-sonnet-5", "end_turn", 5)
    assert rows(relay.database)[0]["input_tokens"] == 12


def test_every_client_gets_the_same(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(foreign.chat_stream(), foreign.chat())
    client = dial(start(config(providers={"openai": other(upstream)})))
    streamed = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert streamed.status == 200
    assert streamed.header("content-type") == "text/event-stream; charset=utf-8"
    assert streamed.body.startswith(b"event: message_start\n")
    assert streamed.body.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    whole = client.ask("POST", "/v1/messages", body=messages_body())
    assert json.loads(whole.body)["content"] == [{"type": "text", "text": "Hello!"}]


@pytest.mark.parametrize("at_hand", [MOST, 0], ids=["at hand", "fallen out"])
def test_gemini_gets_its_signatures_back(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic], at_hand: int
) -> None:
    """Also when there was no room to keep them at hand: then the database has them."""
    call = foreign.gemini_call("weather", {"town": "Bonn"}, "c2lnbmVk")
    upstream.script(
        foreign.gemini_stream(foreign.gemini_chunk([call], "STOP")),
        foreign.gemini_stream(foreign.gemini_chunk([{"text": "Rain."}], "STOP")),
    )
    relay = start(config(providers={"gemini": other(upstream, "gemini")}))
    translator: Translator = relay.master.addons.get("claude_relay").parts.translator
    translator.memories.most = at_hand
    first = {"role": "user", "content": "How is the weather in Bonn?"}
    with ask(relay).messages.stream(**turns(first)) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    used = message.content[-1]
    assert (used.name, used.input) == ("weather", {"town": "Bonn"})
    answer = {"type": "tool_result", "tool_use_id": used.id, "content": "rain"}
    said = {"role": "assistant", "content": [used.to_dict()]}
    with ask(relay).messages.stream(**turns(first, said, {"role": "user", "content": [answer]})) as stream:
        assert stream.get_final_text() == "Rain."
    sent = json.loads(upstream.requests[1].body)
    parts = [part for turn in sent["contents"] for part in turn["parts"]]
    assert [part["thoughtSignature"] for part in parts if "functionCall" in part] == ["c2lnbmVk"]
    assert len(translator.memories) == bool(at_hand)
    assert upstream.requests[1].path == "/base/models/gemini-3-pro:streamGenerateContent?alt=sse"
    assert upstream.requests[1].header("x-goog-api-key") in ("sk-other-key-1", "sk-other-key-2")


def test_encrypted_reasoning_survives_a_restart(upstream: FakeUpstream, tmp_path: Path, confdir: Path) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"town":"Bonn"}',
    }
    upstream.script(foreign.responses_stream([reasoning, call]), foreign.responses_stream([]))
    settings = config(providers={"openai": other(upstream, "openai-responses")})
    first = {"role": "user", "content": "How is the weather in Bonn?"}

    def answered(messages: dict[str, Any]) -> Any:
        with (
            Relay(tmp_path, confdir, settings) as relay,
            sdk(base_port=relay.base_port) as client,
            client.messages.stream(**messages) as stream,
        ):
            return stream.get_final_message()

    used = answered(turns(first)).content[-1]
    answer = {"type": "tool_result", "tool_use_id": used.id, "content": "rain"}
    said = {"role": "assistant", "content": [used.to_dict()]}
    answered(turns(first, said, {"role": "user", "content": [answer]}))
    sent = json.loads(upstream.requests[-1].body)["input"]
    kinds = [item.get("type") for item in sent]
    assert kinds.index("reasoning") == kinds.index("function_call") - 1
    assert next(item["encrypted_content"] for item in sent if item.get("type") == "reasoning") == "sealed"


def test_the_next_provider_speaks_claude_again(
    start: StartRelay,
    upstream: FakeUpstream,
    claude_upstream: FakeUpstream,
    ask: Callable[[Relay], anthropic.Anthropic],
) -> None:
    """Thoughts of another model never reach Claude, and Claude's own pass byte for byte."""
    upstream.script(foreign.gemini_exhausted(), foreign.gemini_exhausted())
    both = {"gemini": other(upstream, "gemini"), "anthropic": provider(claude_upstream.url, ["sk-ant-pool"])}
    relay = start(config(providers=both))
    thought = [
        {"type": "thinking", "thinking": "theirs", "signature": FOREIGN},
        {"type": "thinking", "thinking": "own", "signature": "EqQBCgIYAg=="},
        {"type": "text", "text": "Hello"},
    ]
    history = [ASK["messages"][0], {"role": "assistant", "content": thought}, {"role": "user", "content": "go on"}]
    raw = ask(relay).messages.with_raw_response.create(**ASK | {"messages": history})
    assert raw.headers["x-relay-provider"] == "anthropic"
    sent = json.loads(claude_upstream.requests[0].body)
    assert [block.get("signature") for block in sent["messages"][1]["content"]] == ["EqQBCgIYAg==", None]
    verdicts = [row["verdict"] for row in rows(relay.database, "attempts")]
    assert verdicts == ["rate_limited", "rate_limited", "ok"]


ERRORS = {
    "too long": (400, "context_length_exceeded", "maximum context length is 128000 tokens", 400, "prompt is too long"),
    "no model": (404, "model_not_found", "The model `gpt-9` does not exist", 404, "does not exist"),
    "bad value": (400, "invalid_value", "temperature must be at most 2", 400, "temperature"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_told_in_claudes_words(start: StartRelay, upstream: FakeUpstream, dial: Dial, case: str) -> None:
    status, code, text, expected, words = ERRORS[case]
    upstream.default = foreign.openai_error(status, code, text)
    answer = dial(start(config(providers={"openai": other(upstream)}))).ask(
        "POST", "/v1/messages", body=messages_body()
    )
    told = json.loads(answer.body)
    assert (answer.status, told["type"], answer.header("content-type")) == (expected, "error", "application/json")
    assert words in told["error"]["message"]


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [(401, "invalid_api_key", "unauthorized"), (429, "insufficient_quota", "no_credit")],
)
def test_a_key_that_fails_gives_way_to_the_next(
    start: StartRelay,
    upstream: FakeUpstream,
    ask: Callable[[Relay], anthropic.Anthropic],
    status: int,
    code: str,
    verdict: str,
) -> None:
    upstream.script(foreign.openai_error(status, code, "no"), foreign.chat())
    relay = start(config(providers={"openai": other(upstream)}))
    assert ask(relay).messages.create(**ASK).content[0].text == "Hello!"
    assert upstream.used_keys() == ["sk-other-key-1", "sk-other-key-2"]
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == [verdict, "ok"]


def test_a_stream_that_fails_before_content_is_replayed(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    upstream.script(
        foreign.events([foreign.CHAT_START, foreign.data({"error": {"message": "overloaded", "code": 503}})]),
        foreign.events([foreign.CHAT_START, steps.cut]),
        foreign.chat_stream(),
    )
    relay = start(config(providers={"openai": other(upstream)}))
    with ask(relay).messages.stream(**ASK) as stream:
        assert stream.get_final_text() == "Hello!"
    assert rows(relay.database)[0]["attempts"] == 3


def test_a_stream_that_breaks_after_content_is_never_complete(
    start: StartRelay, upstream: FakeUpstream, dial: Dial
) -> None:
    upstream.script(foreign.events([foreign.CHAT_START, foreign.chat_chunk({"content": "Hel"}), steps.cut]))
    relay = start(config(providers={"openai": other(upstream)}))
    answer = dial(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert b"Hel" in answer.body
    assert b"event: error\n" in answer.body
    assert b"message_stop" not in answer.body
    assert rows(relay.database)[0]["finished"] == "upstream_closed"


def test_what_a_provider_cannot_be_asked_goes_to_the_next(
    start: StartRelay,
    upstream: FakeUpstream,
    claude_upstream: FakeUpstream,
    ask: Callable[[Relay], anthropic.Anthropic],
) -> None:
    image = {"type": "image", "source": {"type": "file", "file_id": "file_011CNha8iCJcU1wXNR6q4V8w"}}
    body = ASK | {"messages": [{"role": "user", "content": [image]}]}
    both = {"openai": other(upstream), "anthropic": provider(claude_upstream.url, ["sk-ant-pool"])}
    relay = start(config(providers=both))
    raw = ask(relay).messages.with_raw_response.create(**body)
    assert raw.headers["x-relay-provider"] == "anthropic"
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["unsuited", "ok"]
    assert not upstream.requests


def test_what_no_provider_can_be_asked_is_refused_by_name(
    start: StartRelay, upstream: FakeUpstream, dial: Dial
) -> None:
    image = {"type": "image", "source": {"type": "file", "file_id": "file_011CNha8iCJcU1wXNR6q4V8w"}}
    body = json.dumps(ASK | {"messages": [{"role": "user", "content": [image]}]}).encode()
    relay = start(config(providers={"openai": other(upstream)}))
    answer = dial(relay).ask("POST", "/v1/messages", body=body)
    assert answer.status == 400
    assert "messages.0.content.0" in json.loads(answer.body)["error"]["message"]
    [row] = rows(relay.database, "attempts")
    assert (row["verdict"], "messages.0.content.0" in row["error"]) == ("unsuited", True)


def test_tokens_are_counted_by_the_provider_or_estimated(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(foreign.json_answer({"totalTokens": 31}))
    two = {"gemini": other(upstream, "gemini"), "openai": other(upstream)}
    routes = [{"match": {"model": "claude-haiku-*"}, "to": ["openai"]}, {"to": ["gemini"]}]
    client = dial(start(config(providers=two, routes=routes)))
    body = {"model": "claude-sonnet-5", "messages": ASK["messages"]}
    counted = client.ask("POST", "/v1/messages/count_tokens", body=json.dumps(body).encode())
    assert json.loads(counted.body) == {"input_tokens": 31}
    assert upstream.requests[0].path == "/base/models/gemini-3-pro:countTokens"
    body["model"] = "claude-haiku-4-5"
    estimated = client.ask("POST", "/v1/messages/count_tokens", body=json.dumps(body).encode())
    assert 1 <= json.loads(estimated.body)["input_tokens"] < 40
    assert "estimate" in (estimated.header("x-relay-notes") or "")
    assert len(upstream.requests) == 1


def test_models_are_what_the_routes_can_serve(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    routes = [
        {"match": {"model": "my-model"}, "to": ["openai"]},
        {"match": {"model": "claude-sonnet-*"}, "to": ["openai"]},
    ]
    client = ask(start(config(providers={"openai": other(upstream)}, routes=routes)))
    names = [model.id for model in client.models.list(limit=100)]
    assert "my-model" in names
    assert all(name == "my-model" or name.startswith("claude-sonnet-") for name in names)
    assert client.models.retrieve("my-model").id == "my-model"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-haiku-4-5")
    assert not upstream.requests


@pytest.mark.parametrize("stream", [False, True])
def test_a_renamed_claude_model_comes_back_under_the_clients_name(
    start: StartRelay, upstream: FakeUpstream, dial: Dial, stream: bool
) -> None:
    found = provider(upstream.url, ["sk-glm"], models={"claude-*": "glm-4.6"})
    relay = start(config(providers={"glm": found}))
    answer = dial(relay).ask("POST", "/v1/messages", body=messages_body(stream=stream))
    assert b"glm-4.6" not in answer.body
    assert claude.MODEL.encode() in answer.body
    assert json.loads(upstream.requests[0].body)["model"] == "glm-4.6"
    row = rows(relay.database)[0]
    assert (row["requested_model"], row["served_model"]) == (claude.MODEL, "glm-4.6")


def test_refused_signatures_get_one_repaired_try(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    refusal = steps.status(
        400, "invalid_request_error", "messages.1.content.0: Invalid `signature` in `thinking` block"
    )
    upstream.script(refusal)
    thought = {"type": "thinking", "thinking": "elsewhere", "signature": "c29tZWJvZHkgZWxzZQ=="}
    said = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hello"}]}
    history = [ASK["messages"][0], said, {"role": "user", "content": "go on"}]
    relay = start(config(upstream.url, ["sk-ant-pool"]))
    raw = ask(relay).messages.with_raw_response.create(**ASK | {"messages": history})
    assert raw.headers["x-relay-attempts"] == "2"
    first, second = (json.loads(request.body) for request in upstream.requests)
    assert first["messages"] == history
    assert [block["type"] for block in second["messages"][1]["content"]] == ["text"]
    upstream.script(refusal, refusal)
    with pytest.raises(anthropic.BadRequestError, match="signature"):
        ask(relay).messages.create(**ASK | {"messages": history})


def test_a_format_of_ones_own(
    start: StartRelay, upstream: FakeUpstream, tmp_path: Path, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    """The one that docs/providers.md shows."""
    example = (ROOT / "docs" / "providers.md").read_text("utf-8").split("## A format of your own")[1]
    (tmp_path / "parrot.py").write_text(example.split("```python\n")[1].split("```")[0])
    upstream.script(
        foreign.json_answer({"by": "parrot-1", "said": "Hi!", "words": 1}),
        foreign.events([foreign.data({"said": "Hi"}), foreign.data({"said": "!"})]),
        foreign.json_answer({"why": "tired"}, 500),
        foreign.json_answer({"by": "parrot-1", "said": "Hi!"}),
    )
    relay = start(config(providers={"parrot": provider(upstream.url, ["sk-parrot"], format="parrot.py")}))
    message = ask(relay).messages.create(**ASK)
    assert (message.content[0].text, message.usage.output_tokens) == ("Hi!", 1)
    assert json.loads(upstream.requests[0].body) == {"by": "claude-sonnet-5", "text": "Hi"}
    with ask(relay).messages.stream(**ASK) as stream:
        assert stream.get_final_text() == "Hi!"
    assert ask(relay).messages.create(**ASK).content[0].text == "Hi!"
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["ok", "ok", "upstream_error", "ok"]


def test_an_operator_switches_everything_to_one_provider(
    start: StartRelay,
    upstream: FakeUpstream,
    claude_upstream: FakeUpstream,
    ask: Callable[[Relay], anthropic.Anthropic],
) -> None:
    both = {"anthropic": provider(claude_upstream.url, ["sk-ant-pool"]), "openai": other(upstream)}
    relay = start(config(providers=both, routes=[{"to": ["anthropic"]}]))
    upstream.script(foreign.chat(), foreign.chat(model="gpt-mini"))

    def switch(to: str) -> None:
        relay.on_loop(lambda: relay.master.commands.call("relay.default", to))

    def by() -> str | None:
        return ask(relay).messages.with_raw_response.create(**ASK).headers["x-relay-provider"]

    assert by() == "anthropic"
    switch("openai")
    assert by() == "openai"
    switch("openai/gpt-mini")
    assert by() == "openai"
    assert "gpt-mini" in [model.id for model in ask(relay).models.list(limit=100)]
    assert [json.loads(request.body)["model"] for request in upstream.requests] == ["gpt-5.1", "gpt-mini"]
    switch("")
    assert by() == "anthropic"
