"""Agents' loops through the real relay to providers of Chat Completions: what each wants back in the next turn, it gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest

from . import foreign
from .clients import sdk
from .conftest import StartRelay
from .relay import Relay, config, rows
from .upstream import FakeUpstream, Step

TURNS = 10
TOOL: dict[str, Any] = {
    "name": "weather",
    "description": "the weather of a town",
    "input_schema": {"type": "object", "properties": {"town": {"type": "string"}}},
}
ASK: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 2000, "tools": [TOOL]}

type Message = dict[str, Any]


def answer(message: Message, *, stream: bool) -> Step:
    """An assistant's message, whole or in pieces, with its texts cut in two."""
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    if not stream:
        choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        return foreign.json_answer(
            {"object": "chat.completion", "model": "theirs", "choices": [choice], "usage": usage}
        )
    deltas: list[Message] = []
    for name, value in message.items():
        if isinstance(value, str):
            deltas += [{name: value[:3]}, {name: value[3:]}]
        else:
            deltas += [{name: [{**one, "index": at} for at, one in enumerate(value)]}]
    chunks = [foreign.chat_chunk(delta, model="theirs") for delta in deltas]
    return foreign.events([*chunks, foreign.chat_chunk({}, finish, "theirs"), foreign.CHAT_USAGE, foreign.DONE])


def call(turn: int, **more: Any) -> Message:
    return {
        "id": f"call_{turn}",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"town":"Bonn"}'},
    } | more


class Loop:
    """A client that runs the tools it is asked for, and gives each answer back as the SDK has it."""

    def __init__(self, client: anthropic.Anthropic, *, stream: bool) -> None:
        self.client, self.stream = client, stream
        self.messages: list[Message] = []

    def run(self, turns: int, **more: Any) -> list[Any]:
        self.messages.append({"role": "user", "content": "How is the weather?"})
        return [self.turn(**more) for _ in range(turns)]

    def turn(self, **more: Any) -> Any:
        request = ASK | {"messages": self.messages} | more
        if self.stream:
            with self.client.messages.stream(**request) as events:
                message = events.get_final_message()
        else:
            message = self.client.messages.create(**request)
        self.messages.append({"role": "assistant", "content": [block.to_dict() for block in message.content]})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
            for block in message.content
            if block.type == "tool_use"
        ]
        if results:
            self.messages.append({"role": "user", "content": results})
        return message


def of_preset(upstream: FakeUpstream, preset: str, model: str) -> dict[str, Any]:
    return {
        "preset": preset,
        "base_url": f"{upstream.url}/base",
        "keys": ["sk-theirs-key-1"],
        "models": {"claude-*": model},
    }


@pytest.fixture
def begin(
    stack: ExitStack, start: StartRelay, upstream: FakeUpstream
) -> Callable[[str, str, bool], tuple[Loop, Relay]]:
    def begun(preset: str, model: str, stream: bool) -> tuple[Loop, Relay]:
        relay = start(config(providers={"theirs": of_preset(upstream, preset, model)}))
        return Loop(stack.enter_context(sdk(base_port=relay.base_port)), stream=stream), relay

    return begun


type Begin = Callable[[str, str, bool], tuple[Loop, Relay]]


def assistants(request: Any) -> list[Mapping[str, Any]]:
    """The assistant's messages in what the upstream got."""
    return [message for message in json.loads(request.body)["messages"] if message["role"] == "assistant"]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_deepseek_gets_the_thoughts_of_every_message_of_the_turn(
    begin: Begin, upstream: FakeUpstream, stream: bool
) -> None:
    said = [{"reasoning_content": f"Thought {turn}.", "tool_calls": [call(turn)]} for turn in range(TURNS - 1)]
    last = {"reasoning_content": "Last thought.", "content": "It rains."}
    upstream.script(*(answer(message, stream=stream) for message in [*said, last, said[0]]))
    loop, _ = begin("deepseek-openai", "deepseek-v4-pro", stream)
    found = loop.run(TURNS)
    assert [message.stop_reason for message in found] == ["tool_use"] * (TURNS - 1) + ["end_turn"]
    loop.run(1)  # the user goes on
    for turn, request in enumerate(upstream.requests[:TURNS]):
        assert [message["reasoning_content"] for message in assistants(request)] == [
            f"Thought {n}." for n in range(turn)
        ]
    thoughts = [message["reasoning_content"] for message in assistants(upstream.requests[-1])]
    assert thoughts == [*(f"Thought {n}." for n in range(TURNS - 1)), "Last thought."]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_openrouter_gets_its_reasoning_details_back(begin: Begin, upstream: FakeUpstream, stream: bool) -> None:
    def details(turn: int) -> list[Message]:
        text = {"type": "reasoning.text", "text": f"Thought {turn}.", "format": "google-gemini-v1", "index": 0}
        sealed = {
            "type": "reasoning.encrypted",
            "data": f"c2ln{turn}",
            "id": f"call_{turn}",
            "format": "google-gemini-v1",
            "index": 1,
        }
        return [text, sealed]

    said = [{"reasoning_details": details(turn), "tool_calls": [call(turn)]} for turn in range(TURNS)]
    upstream.script(*(answer(message, stream=stream) for message in said))
    loop, relay = begin("openrouter", "google/gemini-3-pro-preview", stream)
    found = loop.run(TURNS)
    assert [message.content[0].thinking for message in found] == [f"Thought {turn}." for turn in range(TURNS)]
    for turn, request in enumerate(upstream.requests):
        assert [message["reasoning_details"] for message in assistants(request)] == [details(n) for n in range(turn)]
        assert "extra_content" not in request.body.decode()
    assert "thinking" not in str(rows(relay.database)[-1]["notes"])


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_geminis_signatures_go_back_on_their_calls(begin: Begin, upstream: FakeUpstream, stream: bool) -> None:
    def extra(turn: int) -> Message:
        return {"google": {"thought_signature": f"c2ln{turn}"}}

    said = [{"tool_calls": [call(turn, extra_content=extra(turn)), call(turn + 100)]} for turn in range(TURNS)]
    upstream.script(*(answer(message, stream=stream) for message in said))
    loop, _ = begin("openai-compatible", "gemini-3.6-flash", stream)
    loop.run(TURNS)
    for turn, request in enumerate(upstream.requests):
        calls = [message["tool_calls"] for message in assistants(request)]
        assert [first["extra_content"] for first, _ in calls] == [extra(n) for n in range(turn)]
        assert not any("extra_content" in second for _, second in calls)


def test_signatures_do_not_follow_to_another_line_of_models(
    stack: ExitStack, start: StartRelay, upstream: FakeUpstream
) -> None:
    signed = {"tool_calls": [call(0, extra_content={"google": {"thought_signature": "c2ln"}})]}
    upstream.script(answer(signed, stream=False), answer({"content": "Rain."}, stream=False))
    both = of_preset(upstream, "openrouter", "google/gemini-3-pro-preview")
    both["models"] = {"claude-sonnet-*": "google/gemini-3-pro-preview", "claude-*": "openai/gpt-5.2"}
    relay = start(config(providers={"theirs": both}))
    loop = Loop(stack.enter_context(sdk(base_port=relay.base_port)), stream=False)
    loop.run(1)
    loop.turn(model="claude-opus-5-5")
    assert json.loads(upstream.requests[1].body)["model"] == "openai/gpt-5.2"
    assert "c2ln" not in upstream.requests[1].body.decode()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_what_searches_found_goes_to_the_client_and_back(begin: Begin, upstream: FakeUpstream, stream: bool) -> None:
    def found(turn: int) -> Message:
        page = {"url": f"https://a.example/{turn}", "title": f"Page {turn}", "content": "It rains."}
        return {"content": f"Rain {turn}.", "annotations": [{"type": "url_citation", "url_citation": page}]}

    upstream.script(*(answer(found(turn), stream=stream) for turn in range(TURNS)))
    loop, _ = begin("openrouter", "openai/gpt-5.2", stream)
    search = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["a.example"]}
    for turn in range(TURNS):
        (message,) = loop.run(1, tools=[search])
        blocks = {block.type: block for block in message.content}
        assert [one.url for one in blocks["web_search_tool_result"].content] == [f"https://a.example/{turn}"]
        assert [one.cited_text for one in blocks["text"].citations] == ["It rains."]
        assert message.usage.server_tool_use.web_search_requests == 1
    for turn, request in enumerate(upstream.requests):
        body = json.loads(request.body)
        parameters = {"allowed_domains": ["a.example"], "engine": "exa"}
        assert body["tools"] == [{"type": "openrouter:web_search", "parameters": parameters}]
        assert all(f"https://a.example/{n}" in json.dumps(body["messages"]) for n in range(turn))


def test_a_demanded_tool_is_called_without_thinking(begin: Begin, upstream: FakeUpstream) -> None:
    upstream.script(*(answer({"tool_calls": [call(turn)]}, stream=True) for turn in range(TURNS)))
    loop, relay = begin("moonshot-openai", "kimi-k2.6", True)
    loop.run(TURNS, tool_choice={"type": "tool", "name": "weather"})
    for request in upstream.requests:
        body = json.loads(request.body)
        assert (body["thinking"], body["tool_choice"]["function"]["name"]) == ({"type": "disabled"}, "weather")
        assert [message["reasoning_content"] for message in assistants(request)] == [" "] * len(assistants(request))
    assert "thinking: switched off" in rows(relay.database)[0]["notes"]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_an_answer_that_was_broken_off_is_no_answer(begin: Begin, upstream: FakeUpstream, stream: bool) -> None:
    broken = {"index": 0, "delta" if stream else "message": {"content": "Half"}, "finish_reason": "abort"}
    upstream.default = (
        foreign.events([foreign.data({"choices": [broken]}), foreign.DONE])
        if stream
        else foreign.json_answer({"choices": [broken]})
    )
    loop, relay = begin("vllm", "some-model", stream)
    with pytest.raises(anthropic.APIError):
        loop.run(1)
    assert rows(relay.database)[0]["finished"] != "complete"
