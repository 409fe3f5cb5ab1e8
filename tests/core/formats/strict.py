"""Checks an answer in Claude's form as strictly as its strictest client would, and gives the message that the official SDK makes of it.

    message = assert_claude_stream(writer.take())
    assert message["content"][0]["text"] == "Hello"

`feed_all_ways` gives the answers of a translation to the same bytes, cut at every offset:

    for message in feed_all_ways(lambda: Translation(…), data):
        assert message["stop_reason"] == "end_turn"

Rules of the sequence: https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

_EVENT = TypeAdapter(RawMessageStreamEvent)
_LINES = re.compile(rb"event: ([a-z_]+)\ndata: ([^\r\n]+)")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "web_search_tool_result": set[str](),
}
_OPENINGS = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
    "tool_use": {"type": "tool_use", "input": {}},
    "server_tool_use": {"type": "server_tool_use", "name": "web_search", "input": {}},
    "web_search_tool_result": {"type": "web_search_tool_result"},
}
_ERRORS = {
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "conflict_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
}


class Feedable(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


def events_of(data: bytes) -> list[dict[str, Any]]:
    """The events' data. Each event is exactly a line with its name, a line with JSON of that `type`, and a blank one."""
    if not data:
        return []
    blocks = data.split(b"\n\n")
    assert blocks.pop() == b"", "the last event is not whole"
    events = []
    for block in blocks:
        lines = _LINES.fullmatch(block)
        assert lines, block
        event = json.loads(lines[2])
        assert event["type"] == lines[1].decode()
        events.append(event)
    return events


def assert_claude_stream(data: bytes, *, cut: bool = False, broken: bool = False) -> dict[str, Any]:
    """The message that a stream makes; {"type": "error", "error": {…}, "content": […]} for one that ends with an error.

    cut     the stream has no end, and must not have one; the message is what there is so far
    broken  arguments of calls need not be whole JSON objects (an answer cut by max_tokens never has to)
    """
    return json.loads(_checked_stream(data, cut, broken))


def assert_claude_body(data: bytes) -> dict[str, Any]:
    """The message in a JSON answer, or its error with `content` [], in the same form as `assert_claude_stream` gives it."""
    body = json.loads(data)
    if body["type"] == "error":
        return _error(body, [])
    _check_message(body)
    assert body["stop_reason"] is not None
    message = _plain(Message.model_validate(body, strict=True))
    assert message["content"] == body["content"]
    _check_content(message)
    return message


def assert_claude_answer(data: bytes) -> dict[str, Any]:
    """Either of both."""
    return assert_claude_body(data) if data.startswith(b"{") else assert_claude_stream(data)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes whole, one by one, and cut at every offset: in each turn all events at the same one."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    ends = [*(found.end() for found in re.finditer(rb"\r?\n\r?\n", data[:-1])), len(data)]
    starts = [0, *ends[:-1]]
    for offset in range(max(end - start for start, end in zip(starts, ends, strict=True))):
        cuts = [start + offset for start, end in zip(starts, ends, strict=True) if 0 < start + offset < end]
        yield [data[start:end] for start, end in itertools.pairwise([0, *cuts, len(data)])]


def feed_all_ways(make_translation: Callable[[], Feedable], data: bytes) -> Iterator[dict[str, Any]]:
    """The checked message of a new translation for each of `splits`; equal answers are checked once."""
    for pieces in splits(data):
        translation = make_translation()
        yield assert_claude_answer(b"".join([translation.feed(piece) for piece in pieces]) + translation.end())


@functools.lru_cache(maxsize=64)
def _checked_stream(data: bytes, cut: bool, broken: bool) -> str:
    events = events_of(data)
    error = events.pop() if events and events[-1]["type"] == "error" else None
    snapshot, buffers = None, {}
    for event in events:
        valid = _EVENT.validate_python(event)
        with contextlib.suppress(ValueError) if broken else contextlib.nullcontext():
            snapshot = accumulate_event(event=valid, current_snapshot=snapshot, json_bufs=buffers)
    if events or error is None:
        _check_sequence([event for event in events if event["type"] != "ping"], ends=not cut and error is None)
    content = [] if snapshot is None else _plain(snapshot)["content"]
    if error:
        assert not cut
        return json.dumps(_error(error, content))
    assert snapshot is not None, "no message_start"
    message = _plain(snapshot)
    if not cut:
        _check_content(message)
    if not broken and not cut and message["stop_reason"] != "max_tokens":
        for text in buffers.values():
            assert not text or isinstance(json.loads(text), dict), text
    return json.dumps(message)


def _check_sequence(events: list[dict[str, Any]], *, ends: bool) -> None:
    kinds = [event["type"] for event in events]
    assert "error" not in kinds, "something follows an error"
    assert kinds[:1] == ["message_start"]
    assert kinds.count("message_start") == 1
    message = events[0]["message"]
    _check_message(message)
    assert message["content"] == []
    assert message["stop_reason"] is message["stop_sequence"] is None
    if ends:
        assert kinds[-2:] == ["message_delta", "message_stop"]
        delta = events[-2]
        assert isinstance(delta["delta"]["stop_reason"], str)
        assert "stop_sequence" in delta["delta"]
        assert type(delta["usage"]["output_tokens"]) is int
    else:
        assert not {"message_delta", "message_stop"} & set(kinds), "it has an end"
    _check_blocks(events[1:-2] if ends else events[1:], whole=ends)


def _check_blocks(events: list[dict[str, Any]], *, whole: bool) -> None:
    kind, index, signed = "", -1, False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not kind, "two blocks are open"
                index, signed = index + 1, False
                kind = event["content_block"]["type"]
                assert event["content_block"].items() >= _OPENINGS[kind].items()
            case "content_block_delta":
                assert kind, "no block is open"
                assert event["delta"]["type"] in _DELTAS[kind]
                assert not signed, "something follows the signature"
                signed = event["delta"]["type"] == "signature_delta"
                assert not signed or event["delta"]["signature"], "an empty signature"
            case "content_block_stop":
                assert kind, "no block is open"
                assert signed == (kind == "thinking")
                kind = ""
            case other:
                raise AssertionError(f"{other} among the blocks")
        assert event["index"] == index
    assert not (whole and kind), "a block stays open"


def _check_message(message: dict[str, Any]) -> None:
    assert {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"} <= message.keys()
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["id"]
    for name in ("input_tokens", "output_tokens"):
        assert type(message["usage"][name]) is int


def _check_content(message: dict[str, Any]) -> None:
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    for call in calls:
        assert _TOOL_ID.fullmatch(call["id"])
        assert call["name"]
        assert isinstance(call["input"], dict)
    assert len({call["id"] for call in calls}) == len(calls), "an id twice"
    assert message["stop_reason"] != "tool_use" or calls, "tool_use without a call"
    for block in message["content"]:
        assert block["type"] != "text" or block["text"], "an empty text"
        assert block["type"] != "thinking" or block["signature"], "thoughts without a signature"


def _plain(message: Any) -> dict[str, Any]:
    told = message.to_dict()
    return {
        name: value for name, value in told.items() if value is not None or name in ("stop_reason", "stop_sequence")
    }


def _error(event: dict[str, Any], content: list[Any]) -> dict[str, Any]:
    assert event["error"]["type"] in _ERRORS
    assert isinstance(event["error"]["message"], str)
    return {"type": "error", "error": event["error"], "content": content}
