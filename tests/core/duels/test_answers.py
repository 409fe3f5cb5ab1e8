"""Answers as they are compared, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.cli.fake import messages
from claude_relay.core.duels.answers import Answer, Call

SSE = "text/event-stream; charset=utf-8"
CONTENT = [
    {"type": "thinking", "thinking": "Hm.", "signature": "s"},
    {"type": "text", "text": "Let me look."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "days": 3}},
    {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
]
MESSAGE = messages.message(content=CONTENT, stop_reason="tool_use")
READ = Answer(200, "tool_use", "Let me look.", (Call("weather", {"city": "Oslo", "days": 3}), Call("now", {})))


def whole(document: Any, status: int = 200) -> Answer:
    return Answer.of(status, "application/json", json.dumps(document).encode())


def test_a_message() -> None:
    assert whole(MESSAGE) == READ
    assert READ.good


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_same_as_a_stream(piece: int) -> None:
    assert Answer.of(200, SSE, b"".join(messages.streamed(MESSAGE, piece=piece))) == READ


def test_errors() -> None:
    error = messages.error("overloaded_error", "Overloaded")
    assert whole(error, 529) == Answer(529, error="overloaded_error", message="Overloaded")
    assert not whole(error).good
    assert whole({}, 502) == Answer(502, error="error")
    assert Answer.of(502, "text/html", b"<html>") == Answer(502, error="error")


def test_a_stream_that_ends_early() -> None:
    events = messages.events("Hel", "lo!")
    cut = Answer.of(200, SSE, b"".join(events[:-1]))
    assert (cut.text, cut.error, cut.good) == ("Hello!", "cut off", False)
    broken = Answer.of(200, SSE, b"".join([*events[:4], messages.error_event()]))
    assert (broken.text, broken.error, broken.message) == ("Hel", "overloaded_error", "Overloaded")


def test_arguments_that_are_no_json() -> None:
    start = {"index": 0, "content_block": {"type": "tool_use", "name": "x", "input": {}}}
    delta = {"index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a": '}}
    events = [messages.event("content_block_start", start), messages.event("content_block_delta", delta), messages.STOP]
    assert Answer.of(200, SSE, b"".join(events)).calls == (Call("x", '{"a": '),)


def test_counts_and_old_completions() -> None:
    assert whole({"input_tokens": 7}).counted == 7
    assert whole({"type": "completion", "completion": " Hi", "stop_reason": "stop_sequence"}).text == " Hi"
    events = [{"completion": " H"}, {"completion": "i", "stop_reason": "stop_sequence"}]
    said = Answer.of(200, SSE, b"".join(messages.event("completion", event) for event in events))
    assert (said.text, said.stop, said.good) == (" Hi", "stop_sequence", True)


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ({"a": 1, "b": [2.0, {"c": None}]}, {"b": [2, {"c": None}], "a": 1.0}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": 1.5}, {"a": 1.25}, False),
        ({}, {"a": None}, False),
    ],
)
def test_arguments_are_values(one: Any, other: Any, equal: bool) -> None:
    assert (str(Call("x", one)) == str(Call("x", other))) is equal
