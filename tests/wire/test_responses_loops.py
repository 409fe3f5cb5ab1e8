"""Ten turns of an agent with OpenAI's Responses API, through the real relay: each request holds the answers before it as they came."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest

from . import foreign
from .clients import sdk
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .upstream import FakeUpstream

MODEL = "gpt-5.6-sol"
TOOLS: list[dict[str, Any]] = [
    {
        "name": "Read",
        "description": "Reads a file.",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
    },
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "allowed_domains": ["a.example"]},
]
TURNS = 10


@pytest.fixture
def ask(stack: ExitStack) -> Callable[[Relay], anthropic.Anthropic]:
    return lambda relay: stack.enter_context(sdk(base_port=relay.base_port))


def reasoning(n: int) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": f"Thought {n}."}] if n % 2 else []
    return {"type": "reasoning", "id": f"rs_{n}", "summary": summary, "encrypted_content": f"sealed-{n}"}


def message(n: int, phase: str, annotations: list[Any] | None = None) -> dict[str, Any]:
    content = [{"type": "output_text", "text": f"Words {n} of {phase}.", "annotations": annotations or []}]
    return {
        "type": "message",
        "id": f"msg_{n}_{phase}",
        "role": "assistant",
        "status": "completed",
        "content": content,
        "phase": phase,
    }


def call(n: int) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": f"call_{n}",
        "name": "Read",
        "arguments": json.dumps({"path": f"{n}.py"}),
    }


def output(n: int) -> list[dict[str, Any]]:
    """Every third turn is over, the others call a tool."""
    if n % 3 == 2:
        return [reasoning(n), message(n, "final_answer")]
    return [reasoning(n), message(n, "commentary"), call(n)]


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item as far as it must come back: arguments as they are, not as they are written."""
    return item | ({"arguments": json.loads(item["arguments"])} if item["type"] == "function_call" else {})


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_ten_turns(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic], stream: bool
) -> None:
    for n in range(TURNS):
        items = output(n)
        upstream.script(foreign.responses_stream(items, MODEL) if stream else foreign.responses(items, MODEL))
    found = provider(f"{upstream.url}/v1", ["sk-other"], models={"claude-*": MODEL}, auth="bearer")
    relay = start(config(providers={"openai": found | {"format": "openai-responses"}}))
    client = ask(relay)
    history: list[dict[str, Any]] = [{"role": "user", "content": "Begin."}]
    for n in range(TURNS):
        body: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 2000, "messages": history, "tools": TOOLS}
        body["thinking"] = {"type": "adaptive"}
        if stream:
            with client.messages.stream(**body) as streamed:
                answer = streamed.get_final_message()
        else:
            answer = client.messages.create(**body)
        calls = [block for block in answer.content if block.type == "tool_use"]
        assert answer.stop_reason == ("tool_use" if calls else "end_turn")
        history.append({"role": "assistant", "content": [block.to_dict() for block in answer.content]})
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": f"file {n}"} for block in calls]
        history.append({"role": "user", "content": results or f"Go on after {n}."})
    last = json.loads(upstream.requests[-1].body)
    came = [
        plain(item) for item in last["input"] if item.get("role") != "user" and item["type"] != "function_call_output"
    ]
    assert came == [plain(item) for n in range(TURNS - 1) for item in output(n)]
    answered = [item["call_id"] for item in last["input"] if item["type"] == "function_call_output"]
    assert answered == [
        item["call_id"] for n in range(TURNS - 1) for item in output(n) if item["type"] == "function_call"
    ]
    # What a conversation begins with stays the same, or no prompt cache would find it again.
    inputs = [json.loads(request.body)["input"] for request in upstream.requests]
    assert all(later[: len(earlier)] == earlier for earlier, later in itertools.pairwise(inputs))


def test_a_search_comes_back_with_its_sources_and_is_counted(
    start: StartRelay, upstream: FakeUpstream, ask: Callable[[Relay], anthropic.Anthropic]
) -> None:
    source = {"type": "url", "url": "https://a.example/1"}
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "towns", "sources": [source]},
    }
    cited = {"type": "url_citation", "url": source["url"], "title": "Towns", "start_index": 0, "end_index": 5}
    upstream.script(
        foreign.responses_stream([reasoning(1), search, message(1, "final_answer", [cited])], MODEL),
        foreign.responses_stream([message(2, "final_answer")], MODEL),
    )
    found = provider(f"{upstream.url}/v1", ["sk-other"], models={"claude-*": MODEL}, auth="bearer")
    relay = start(config(providers={"openai": found | {"format": "openai-responses"}}))
    client = ask(relay)
    history: list[dict[str, Any]] = [{"role": "user", "content": "Which towns?"}]
    body: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 2000, "tools": TOOLS}
    choice = {"type": "tool", "name": "web_search"}
    with client.messages.stream(**body, messages=history, tool_choice=choice) as streamed:
        answer = streamed.get_final_message()
    kinds = [block.type for block in answer.content]
    assert kinds == ["thinking", "server_tool_use", "web_search_tool_result", "text"]
    assert answer.content[2].content[0].url == source["url"]
    assert answer.content[3].citations[0].title == "Towns"
    assert answer.usage.server_tool_use.web_search_requests == 1
    assert rows(relay.database)[0]["server_tool_requests"] == 1
    sent = json.loads(upstream.requests[0].body)
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}
    assert sent["tool_choice"] == allowed
    assert sent["tools"][1] == {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}
    assert sent["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    history += [
        {"role": "assistant", "content": [block.to_dict() for block in answer.content]},
        {"role": "user", "content": "And then?"},
    ]
    with client.messages.stream(**body, messages=history) as streamed:
        assert streamed.get_final_message().stop_reason == "end_turn"
    texts = json.dumps(json.loads(upstream.requests[1].body)["input"])
    assert source["url"] in texts
    assert "relay-thoughts" not in texts
