"""Ten turns with a Gemini through the real relay: what each answer brings goes back in the next request as Gemini wants it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest

from claude_relay.core.formats.gemini.contents import GO_ON

from . import foreign
from .clients import sdk
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Step

TURNS = 10
MODEL = "gemini-4-neon"
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 4000}
READ: dict[str, Any] = {
    "name": "read",
    "description": "reads a page",
    "input_schema": {"type": "object", "properties": {"page": {"type": "integer"}}},
}
SEARCH: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
PAGE = {"web": {"uri": "https://a.example/A", "title": "a.example"}}
GROUNDING = {
    "webSearchQueries": ["rome"],
    "groundingChunks": [PAGE],
    "groundingSupports": [{"segment": {"endIndex": 5, "text": "Done."}, "groundingChunkIndices": [0]}],
}


@pytest.fixture
def client(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> anthropic.Anthropic:
    gemini = provider(upstream.url, ["sk-gemini"], models={"claude-*": MODEL}, auth="x-goog-api-key", format="gemini")
    relay: Relay = start(config(providers={"gemini": gemini}))
    return stack.enter_context(sdk(base_port=relay.base_port))


def answered(client: anthropic.Anthropic, messages: Sequence[Any], *, stream: bool, **said: Any) -> dict[str, Any]:
    """The message that the official SDK makes of the answer."""
    if not stream:
        return client.messages.create(**ASK, messages=list(messages), **said).to_dict()
    with client.messages.stream(**ASK, messages=list(messages), **said) as answer:
        return answer.get_final_message().to_dict()


def given(stream: bool, *chunks: Mapping[str, Any]) -> Step:
    """These pieces as a stream, or as one answer."""
    if stream:
        return foreign.gemini_stream(*chunks)
    parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
    last = chunks[-1]
    candidate = {**last["candidates"][0], "content": {"role": "model", "parts": parts}}
    return foreign.json_answer({**last, "candidates": [candidate]})


def step_of(turn: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What Google's own search did in a turn, and the call after it."""
    id = f"s{turn}"
    searched = [
        {
            "toolCall": {"id": id, "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": [f"q{turn}"]}},
            "thoughtSignature": f"c2VhcmNo{turn}",
        },
        {"toolResponse": {"id": id, "toolType": "GOOGLE_SEARCH_WEB", "response": {}}},
    ]
    call = {
        "functionCall": {"name": "read", "args": {"page": turn}, "id": f"fc{turn}"},
        "thoughtSignature": f"Y2FsbA{turn}",
    }
    return searched, call


@pytest.mark.parametrize("stream", [True, False])
def test_a_search_beside_tools_keeps_what_google_wants_back(
    client: anthropic.Anthropic, upstream: FakeUpstream, stream: bool
) -> None:
    steps = [step_of(turn) for turn in range(TURNS)]
    for searched, call in steps:
        chunks = foreign.gemini_chunk(searched), foreign.gemini_chunk([call], "STOP")
        upstream.script(given(stream, *chunks))
    last = foreign.gemini_chunk([{"text": "Done."}], "STOP")
    last["candidates"][0]["groundingMetadata"] = GROUNDING  # type: ignore[index]
    upstream.script(given(stream, last), given(stream, foreign.gemini_chunk([{"text": "You are welcome."}], "STOP")))
    messages: list[Any] = [{"role": "user", "content": "Read on"}]
    tools = {"tools": [READ, SEARCH]}
    for turn in range(TURNS):
        message = answered(client, messages, stream=stream, **tools)
        [used] = [block for block in message["content"] if block["type"] == "tool_use"]
        assert (message["stop_reason"], used["input"]) == ("tool_use", {"page": turn})
        assert message["usage"]["server_tool_use"]["web_search_requests"] == 1
        result = {"type": "tool_result", "tool_use_id": used["id"], "content": f"page {turn}"}
        messages += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": [result]}]
        asked = json.loads(upstream.requests[turn].body)
        assert asked["toolConfig"]["includeServerSideToolInvocations"] is True
        model_turns = [content["parts"] for content in asked["contents"] if content["role"] == "model"]
        assert model_turns == [[*searched, call] for searched, call in steps[:turn]]
        ids = [
            part["functionResponse"]["id"]
            for content in asked["contents"]
            for part in content["parts"]
            if "functionResponse" in part
        ]
        assert ids == [f"fc{at}" for at in range(turn)]
    message = answered(client, messages, stream=stream, **tools)
    kinds = [block["type"] for block in message["content"]]
    assert sorted(kinds) == ["server_tool_use", "text", "web_search_tool_result"]
    text = next(block for block in message["content"] if block["type"] == "text")
    assert [citation["url"] for citation in text["citations"]] == ["https://a.example/A"]
    messages += [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": "Thanks"}]
    assert answered(client, messages, stream=stream, **tools)["stop_reason"] == "end_turn"
    said = json.loads(upstream.requests[-1].body)["contents"][-2]["parts"]
    assert {"text": "Done."} in said
    assert any("https://a.example/A" in part["text"] for part in said)


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_pauses_is_gone_on_with(
    client: anthropic.Anthropic, upstream: FakeUpstream, stream: bool
) -> None:
    for turn in range(TURNS):
        finish = "CONTINUATION" if turn < TURNS - 1 else "STOP"
        upstream.script(given(stream, foreign.gemini_chunk([{"text": f"Part {turn}. "}], finish)))
    messages: list[Any] = [{"role": "user", "content": "Write a book"}]
    for turn in range(TURNS):
        message = answered(client, messages, stream=stream)
        assert message["stop_reason"] == ("pause_turn" if turn < TURNS - 1 else "end_turn")
        messages.append({"role": "assistant", "content": message["content"]})
        contents = json.loads(upstream.requests[turn].body)["contents"]
        if turn:
            assert [part["text"] for part in contents[1]["parts"]] == [f"Part {at}. " for at in range(turn)]
            assert contents[2] == {"role": "user", "parts": [{"text": GO_ON}]}


def test_the_limit_is_that_of_the_model_that_answers(client: anthropic.Anthropic, upstream: FakeUpstream) -> None:
    upstream.script(given(False, foreign.gemini_chunk([{"text": "Hi"}], "STOP")))
    raw: Callable[..., Any] = client.messages.with_raw_response.create
    answer = raw(**ASK | {"max_tokens": 100_000}, messages=[{"role": "user", "content": "Hi"}])
    assert "max_tokens: 100000 becomes 65536" in answer.headers["x-relay-notes"]
    assert upstream.requests[0].path == f"/models/{MODEL}:generateContent"
