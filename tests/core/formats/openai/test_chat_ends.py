"""Ends that are none: what each reason to stop means, whole and streamed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.core.formats.base import Format
from claude_relay.core.formats.openai import chat
from claude_relay.core.formats.openai.chat_ends import ENDS, end_of
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body, assert_claude_stream


def whole(reason: str, **choice: Any) -> dict[str, Any]:
    writer = Writer("claude-x", "1", stream=False)
    chat.answer({"choices": [{"message": {"content": "Hi"}, "finish_reason": reason} | choice]}, writer)
    return assert_claude_body(writer.whole())


def streamed(reason: str, call: bool = False) -> dict[str, Any]:
    one = Translation(
        Format.of(chat), Writer("claude-x", "1", stream=True), {"content-type": "text/event-stream"}, stream=True
    )
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]
    delta = {"content": "Hi"} | ({"tool_calls": calls} if call else {})
    events = [{"choices": [{"delta": delta}]}, {"choices": [{"delta": {}, "finish_reason": reason}]}]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    return assert_claude_stream(one.feed(data) + one.end())


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", "end_turn"),
        ("STOP", "end_turn"),
        ("eos_token", "end_turn"),
        ("COMPLETE", "end_turn"),
        ("length", "max_tokens"),
        ("model_length", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("max_output_tokens", "max_tokens"),
        ("content_filter", "refusal"),
        ("sensitive", "refusal"),
        ("SAFETY", "refusal"),
        ("pause_turn", "pause_turn"),
        ("continuation", "pause_turn"),
        ("model_context_window_exceeded", "model_context_window_exceeded"),
    ],
)
def test_a_reason_becomes_claudes(reason: str, stop: str):
    assert whole(reason)["stop_reason"] == stop
    assert streamed(reason)["stop_reason"] == stop


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("abort", "api_error"),
        ("error", "api_error"),
        ("network_error", "api_error"),
        ("repetition", "api_error"),
        ("insufficient_system_resource", "overloaded_error"),
        ("MALFORMED_FUNCTION_CALL", "api_error"),
        ("something_new", "api_error"),
    ],
)
@pytest.mark.parametrize("call", [False, True], ids=["text", "call"])
def test_a_break_is_an_error_and_never_an_end(reason: str, kind: str, call: bool):
    assert whole(reason)["error"] == {"type": kind, "message": f"the provider broke off: {reason}"}
    assert streamed(reason, call)["error"]["type"] == kind


def test_a_cut_call_is_no_call_to_be_run():
    assert streamed("length", call=True)["stop_reason"] == "max_tokens"


@pytest.mark.parametrize(
    ("native", "told"),
    [
        ("STOP", "end_turn"),
        ("end_turn", "end_turn"),
        ("something", "end_turn"),
        ("refusal", "refusal"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_openrouters_word_does_not_hide_the_models(native: str, told: str):
    assert whole("stop", native_finish_reason=native)["stop_reason"] == told


def test_a_hidden_break_is_an_error():
    assert whole("stop", native_finish_reason="MALFORMED_FUNCTION_CALL")["error"]["type"] == "api_error"


def test_a_long_reason_is_told_in_short():
    assert len(whole("x" * 500)["error"]["message"]) < 100


def test_every_end_is_one_of_claudes():
    reasons = {"end_turn", "max_tokens", "tool_use", "refusal", "pause_turn", "model_context_window_exceeded"}
    assert {end.reason for end in ENDS.values() if not end.error} == reasons
    assert all(bool(end.reason) != bool(end.error) for end in ENDS.values())
    assert end_of("no such").error
