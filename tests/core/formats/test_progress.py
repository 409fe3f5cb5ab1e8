"""Signs of life among a provider's events."""

from __future__ import annotations

import pytest

from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.progress import grows_silent, says_something


def chunk(**delta: object) -> Json:
    return {
        "id": "1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None}],
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ping", {"x": 1}),
        ("", {"type": "ping"}),
        ("keepalive", {"sequence_number": 3}),
        ("", {"type": "keep-alive"}),
        ("", {"type": "response.heartbeat"}),
        ("", {}),
        ("", chunk()),
        ("", chunk(role="assistant", content="")),
        ("", {"choices": []}),
        ("", {"choices": [], "usage": None}),
        ("", {"candidates": [{"index": 0, "content": {"role": "model", "parts": []}}]}),
        ("", {"candidates": [{"content": {"parts": [{"text": ""}]}}]}),
    ],
)
def test_nothing_is_said(name: str, data: Json) -> None:
    assert not says_something(name, data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("", chunk(content="a")),
        ("", chunk(reasoning_content="hm")),
        ("", chunk(tool_calls=[{"index": 0, "function": {"arguments": "{"}}])),
        ("", {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
        ("", {"choices": [], "usage": {"prompt_tokens": 1}}),
        ("", {"error": {"message": "no"}, "choices": []}),
        ("", {"candidates": [{"content": {"parts": [{"thoughtSignature": "x"}]}}]}),
        ("", {"candidates": [{"finishReason": "STOP"}]}),
        ("response.in_progress", {"type": "response.in_progress"}),
        ("", {"type": "response.reasoning_summary_text.delta", "delta": "hm"}),
        ("", {"type": "shopping", "x": 1}),
    ],
)
def test_something_is_said(name: str, data: Json) -> None:
    assert says_something(name, data)


def added(kind: str) -> Json:
    return {"type": "response.output_item.added", "item": {"type": kind}}


def test_where_a_provider_may_be_silent() -> None:
    assert grows_silent(added("reasoning"), False)
    assert grows_silent(added("web_search_call"), False)
    assert not grows_silent(added("message"), True)
    assert not grows_silent(added("function_call"), True)
    assert grows_silent({"type": "response.web_search_call.searching"}, True)
    assert not grows_silent({"type": "response.web_search_call.searching"}, False)
    assert not grows_silent({"type": "response.output_item.done", "item": {"type": "reasoning"}}, True)
    assert not grows_silent(chunk(content="a"), False)
