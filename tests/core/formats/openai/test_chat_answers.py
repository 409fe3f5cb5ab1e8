"""Streams of Chat Completions, as servers of all kinds send them, in whatever pieces they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.base import Format
from claude_relay.core.formats.openai import chat as format
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_stream, feed_all_ways

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "chat"
FORMAT = Format.of(format)
SSE = {"content-type": "text/event-stream"}
USAGE = (12, 8, 9)
BOTH = [("Read", {"path": "a"}), ("Read", {"path": "b"})]


def translation(*, stream: bool = True) -> Translation:
    return Translation(FORMAT, Writer("claude-x", "1", stream=stream), SSE, stream=stream)


def in_short(message: dict[str, Any]) -> list[Any]:
    """The blocks in short: texts, thoughts in a list, calls with name and arguments."""
    shown = {
        "text": lambda block: block["text"],
        "thinking": lambda block: [block["thinking"]],
        "tool_use": lambda block: (block["name"], block["input"]),
    }
    return [shown[block["type"]](block) for block in message["content"]]


def counted(message: dict[str, Any]) -> tuple[int, int, int]:
    usage = message["usage"]
    return usage["input_tokens"], usage.get("cache_read_input_tokens") or 0, usage["output_tokens"]


def event(delta: Any = None, finish: Any = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return b"data: " + json.dumps({"choices": choices} | more).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("transcript", "content", "stop", "usage"),
    [
        ("openai_text", ["Grüß Gott \u2028🙂"], "end_turn", USAGE),
        ("openai_calls", BOTH, "tool_use", USAGE),
        ("azure_filters", ["Hello"], "end_turn", (0, 0, 0)),
        ("deepseek_thoughts", [["Hmm."], "Hello"], "end_turn", USAGE),
        ("openrouter", [["Hmm."], "Hello"], "end_turn", USAGE),
        ("ollama_calls", BOTH, "tool_use", USAGE),
        ("nameless_calls", BOTH, "tool_use", USAGE),
        ("interleaved_calls", BOTH, "tool_use", USAGE),
        ("repeated_names", BOTH, "tool_use", USAGE),
        ("late_names", ["Now.", *BOTH], "tool_use", USAGE),
        ("new_ids", BOTH, "tool_use", USAGE),
        ("odd_reasons", ["Hello"], "max_tokens", USAGE),
        ("crlf", ["Hello"], "end_turn", USAGE),
        ("no_arguments", [("Stop", {}), ("Read", {"path": "b"})], "tool_use", USAGE),
        ("after_done", ["Hello"], "end_turn", USAGE),
        ("groq", ["Hello"], "end_turn", USAGE),
        ("moonshot", ["Hello"], "end_turn", USAGE),
    ],
)
def test_a_stream_means_the_same_however_it_is_cut(
    transcript: str, content: list[Any], stop: str, usage: tuple[int, int, int]
):
    data = (TRANSCRIPTS / f"{transcript}.sse").read_bytes()
    for message in feed_all_ways(translation, data):
        assert (in_short(message), message["stop_reason"], counted(message)) == (content, stop, usage)


@pytest.mark.parametrize(
    ("transcript", "kind", "words"),
    [
        ("error", "api_error", "The server had an error"),
        ("error_beside_choices", "rate_limit_error", "Slow down"),
        ("error_without_choices", "overloaded_error", "The model is overloaded"),
    ],
)
def test_an_error_in_mid_stream_ends_it_as_an_error(transcript: str, kind: str, words: str):
    data = (TRANSCRIPTS / f"{transcript}.sse").read_bytes()
    for message in feed_all_ways(translation, data):
        assert message["error"] == {"type": kind, "message": words}
        assert in_short(message) == ["Hel"]


def test_a_stream_that_was_cut_has_no_end():
    one = translation()
    message = assert_claude_stream(one.feed((TRANSCRIPTS / "cut.sse").read_bytes()) + one.end(), cut=True)
    assert in_short(message) == ["Hello"]


def test_ids_of_the_provider_are_kept():
    one = translation()
    data = one.feed((TRANSCRIPTS / "late_names.sse").read_bytes()) + one.end()
    assert b'"call_a"' not in data  # the block was open when it came
    assert b'"call_b"' in data


def test_the_end_waits_for_the_usage_after_the_reason():
    one = translation()
    assert b"message_delta" not in one.feed(event({"content": "Hi"}, "stop"))
    assert b'"output_tokens":5' in one.feed(event(usage={"prompt_tokens": 1, "completion_tokens": 5})) + one.end()


def test_usage_that_stops_telling_of_the_cache_takes_nothing_back():
    one = translation()
    first = {"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}
    data = event({"content": "Hi"}, usage=first) + event(
        {}, "stop", usage={"prompt_tokens": 20, "completion_tokens": 2}
    )
    assert counted(assert_claude_stream(one.feed(data) + one.end())) == (12, 8, 2)


def test_the_providers_model_is_known():
    one = translation()
    one.feed(event({"content": "Hi"}, model="gpt-4.1-2025-04-14"))
    assert one.served_model == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize("reason", ["stop", "content_filter"])
def test_a_refusal_in_pieces_is_told(reason: str):
    one = translation()
    message = assert_claude_stream(
        one.feed(event({"refusal": "I "}) + event({"refusal": "won't."}, reason)) + one.end()
    )
    assert (in_short(message), message["stop_reason"]) == (["I won't."], "refusal")


def test_a_whole_answer_among_events_is_read_once():
    whole = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    line = b"data: " + json.dumps(whole).encode() + b"\n\n"
    for data in (line, event({"content": "Hello"}, "stop") + line):
        one = translation()
        assert in_short(assert_claude_stream(one.feed(data) + one.end())) == ["Hello"]


def test_json_that_was_asked_for_is_made_of_a_stream():
    one = translation(stream=False)
    body = json.loads(one.feed((TRANSCRIPTS / "openai_calls.sse").read_bytes()) + one.end())
    assert in_short(body) == BOTH


def test_thoughts_told_again_in_another_field_are_told_once():
    one = translation()
    again = {"reasoning_details": [{"type": "reasoning.text", "text": "Hmm."}]}
    data = event({"reasoning": "Hm"}) + event({"reasoning": "m."}) + event(again) + event({"content": "Hello"}, "stop")
    assert in_short(assert_claude_stream(one.feed(data) + one.end())) == [["Hmm."], "Hello"]


def test_a_new_id_is_a_new_call_even_of_the_same_tool_without_arguments():
    one = translation()
    calls = [{"tool_calls": [{"index": 0, "id": id, "function": {"name": "Stop", "arguments": ""}}]} for id in "ab"]
    message = assert_claude_stream(one.feed(b"".join(map(event, calls)) + event({}, "tool_calls")) + one.end())
    assert in_short(message) == [("Stop", {}), ("Stop", {})]


def test_thoughts_between_texts_keep_their_place():
    one = translation()
    data = (
        event({"reasoning": "a"})
        + event({"content": "b"})
        + event({"reasoning": "c"})
        + event({"content": "d"}, "stop")
    )
    assert in_short(assert_claude_stream(one.feed(data) + one.end())) == [["a"], "b", ["c"], "d"]


_entries = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 0, 1, 2, None, "0"]),
        "id": st.sampled_from(["a", "b", "", None, "x y", 7]),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["f", "g", "", None]),
                "arguments": st.sampled_from(['{"a":', "1}", "{}", "", None, {"b": 2}, '{"a":1}']),
            },
        ),
    },
)
_deltas = st.fixed_dictionaries(
    {},
    optional={"content": st.sampled_from(["t", "", None]), "reasoning": st.just("r"), "tool_calls": st.lists(_entries)},
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_deltas, st.sampled_from([None, "", "stop", "tool_calls", "length"])), max_size=8))
def test_whatever_comes_claudes_stream_is_valid(deltas: list[tuple[Any, Any]]):
    one = translation()
    data = b"".join([one.feed(event(delta, finish)) for delta, finish in deltas]) + one.feed(b"data: [DONE]\n\n")
    data += one.end()
    if b"content_block_start" in data or any(
        finish for _, finish in deltas
    ):  # else nothing was told, which is no answer
        assert_claude_stream(data, broken=True)
    assert one.fault is None


@given(st.lists(st.tuples(st.integers(0, 2), st.text('xy"\\ é', max_size=6)), min_size=1, max_size=8))
def test_interleaved_calls_lose_nothing(pieces: list[tuple[int, str]]):
    given_to: dict[int, str] = {}
    data = b""
    for index, piece in pieces:
        quoted = json.dumps(piece, ensure_ascii=False)[1:-1]
        head = "" if index in given_to else '{"a":"'
        entry = {
            "index": index,
            "function": {"name": None if index in given_to else f"f{index}", "arguments": head + quoted},
        }
        data += event({"tool_calls": [entry | ({} if index in given_to else {"id": f"id{index}"})]})
        given_to[index] = given_to.get(index, "") + piece
    data += event(
        {"tool_calls": [{"index": index, "function": {"arguments": '"}'}} for index in given_to]}, "tool_calls"
    )
    one = translation()
    message = assert_claude_stream(one.feed(data) + one.end())
    assert in_short(message) == [(f"f{index}", {"a": text}) for index, text in given_to.items()]
