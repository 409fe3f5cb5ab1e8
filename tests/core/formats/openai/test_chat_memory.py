"""Signed reasoning: kept by the id of a call, given back to the same line of models, and to no other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.core.formats.base import Format
from claude_relay.core.formats.conversation import Call, Result, Text, Thinking, Turn
from claude_relay.core.formats.openai import chat
from claude_relay.core.formats.openai.chat_memory import line_of, wants_placeholder
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer

from .chats import CALL, USER, noted, requested

TEXT = {"type": "reasoning.text", "text": "Hmm. So.", "signature": "c2ln", "format": "anthropic-claude-v1", "index": 0}
SEALED = {"type": "reasoning.encrypted", "data": "c2VhbGVk", "id": "call_1", "format": "google-gemini-v1", "index": 0}
GOOGLE = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
MODEL = "google/gemini-3-pro-preview"
HISTORY = (USER, Turn("assistant", (CALL,)), Turn("user", (Result("call_1", (Text("ok"),)),)))


def call(id: str = "call_1", index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "index": index,
        "id": id,
        "type": "function",
        "function": {"name": "Read", "arguments": '{"path":"a"}'},
    } | more


def memories(*deltas: dict[str, Any], model: str = MODEL, stream: bool = True) -> dict[str, str]:
    """What is kept of an answer that comes in these pieces, or whole, in one."""
    writer = Writer("claude-x", "1", stream=stream, provider_model=model)
    kind = {"content-type": "text/event-stream" if stream else "application/json"}
    one = Translation(Format.of(chat), writer, kind, stream=stream)
    place = "delta" if stream else "message"
    events = [{"model": model, "choices": [{place: delta, "finish_reason": None}]} for delta in deltas]
    events[-1]["choices"][0]["finish_reason"] = "tool_calls"
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    one.feed(data if stream else json.dumps(events[0]).encode())
    one.end()
    assert one.fault is None
    return dict(one.memories)


def assistant(recall: dict[str, str], model: str = MODEL, *turns: Turn, **said: Any) -> dict[str, Any]:
    """The message of the assistant that goes back."""
    return requested(*(turns or HISTORY), model=model, recall=recall, **said)["messages"][1]


def test_details_go_back_as_they_came_whole():
    details = [TEXT, TEXT | {"text": "More.", "index": 1}, SEALED]
    recall = memories({"content": None, "reasoning_details": details, "tool_calls": [call()]}, stream=False)
    assert assistant(recall)["reasoning_details"] == details
    assert assistant(recall)["tool_calls"][0]["id"] == "call_1"


def test_details_in_pieces_are_put_together():
    pieces = [
        {
            "reasoning_details": [
                {"type": "reasoning.text", "text": "Hmm. ", "format": "anthropic-claude-v1", "index": 0}
            ]
        },
        {"reasoning_details": [{"type": "reasoning.text", "text": "So.", "format": "anthropic-claude-v1", "index": 0}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "", "signature": "c2ln", "index": 0}]},
        {"tool_calls": [call()]},
        {"reasoning_details": [SEALED]},
        {"reasoning_details": [SEALED]},
        {"reasoning_details": [SEALED | {"id": "call_2", "data": "bW9yZQ=="}]},
        {},
    ]
    recall = memories(*pieces)
    assert assistant(recall)["reasoning_details"] == [TEXT, SEALED, SEALED | {"id": "call_2", "data": "bW9yZQ=="}]


def test_summaries_of_two_places_stay_two():
    pieces = [
        {"reasoning_details": [{"type": "reasoning.summary", "summary": words, "index": at}]}
        for at, words in [(0, "a"), (0, "b"), (1, "c")]
    ]
    given = assistant(memories(*pieces, {"tool_calls": [call()]}))["reasoning_details"]
    assert [detail["summary"] for detail in given] == ["ab", "c"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ["extra_content", "provider_specific_fields"])
def test_a_signature_goes_back_on_its_own_call(stream: bool, name: str):
    extra = {name: {"google": {"thought_signature": "c2ln"}}}
    calls = [call(**extra), call("call_2", 1)]
    recall = memories({"tool_calls": calls}, stream=stream)
    turns = (
        USER,
        Turn("assistant", (CALL, Call("call_2", "Read", {"path": "a"}))),
        Turn("user", (Result("call_1"), Result("call_2"))),
    )
    first, second = assistant(recall, MODEL, *turns)["tool_calls"]
    assert first[name] == extra[name]
    assert second.keys() == {"id", "type", "function"}


def test_a_signature_that_comes_later_than_the_call_is_kept():
    recall = memories({"tool_calls": [call()]}, {"tool_calls": [{"index": 0, **GOOGLE}]})
    assert assistant(recall)["tool_calls"][0]["extra_content"] == GOOGLE["extra_content"]


@pytest.mark.parametrize(
    ("made", "given", "same"),
    [
        ("google/gemini-3-pro-preview", "google/gemini-3-pro-preview", True),
        ("google/gemini-3-pro-preview", "gemini-3.1-pro", True),
        ("anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5:free", True),
        ("claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5", True),
        ("google/gemini-3-pro-preview", "google/gemini-3-flash-preview", False),
        ("google/gemini-3-pro-preview", "google/gemini-2.5-pro", False),
        ("google/gemini-3-pro-preview", "openai/gpt-5.2", False),
        ("openai/gpt-5.1", "openai/gpt-5.2", False),
        ("deepseek/deepseek-v4-pro", "deepseek/deepseek-v4-flash", False),
    ],
)
def test_nothing_reaches_another_line_of_models(made: str, given: str, same: bool):
    recall = memories({"reasoning_details": [SEALED], "tool_calls": [call(**GOOGLE)]}, model=made)
    message = assistant(recall, given)
    assert ("reasoning_details" in message) is same
    signed = message["tool_calls"][0].get("extra_content")
    assert (signed == GOOGLE["extra_content"]) is same
    assert (line_of(made) == line_of(given)) is same


def test_what_other_formats_keep_is_not_given():
    recall = {"call_1": json.dumps({"format": "gemini", "asked": MODEL, "details": [SEALED], "extra": GOOGLE})}
    assert "c2ln" not in json.dumps(assistant(recall))
    assert "reasoning_details" not in assistant({"call_1": "{broken"})


def test_nothing_is_kept_of_plain_thoughts():
    assert memories({"reasoning_content": "Hmm."}, {"tool_calls": [call()]}) == {}
    assert memories({"content": "Hi"}, {}) == {}


def test_calls_that_gemini_did_not_make_get_its_placeholder_in_the_running_turn():
    turns = (*HISTORY, Turn("assistant", (Text("Done."),)), USER, Turn("assistant", (Call("call_2", "Read", {}),)))
    told = requested(*turns, model="gemini-3.6-flash")["messages"]
    assert "extra_content" not in told[1]["tool_calls"][0]
    assert (
        told[5]["tool_calls"][0]["extra_content"]["google"]["thought_signature"] == "skip_thought_signature_validator"
    )
    for model, options in [
        ("gemini-2.5-pro", {}),
        ("gpt-5.2", {}),
        ("google/gemini-3-pro", {"thinking": "openrouter"}),
    ]:
        assert "extra_content" not in json.dumps(requested(*turns, model=model, options=options))
    assert not wants_placeholder("gemini")


def test_details_stand_for_the_thoughts_that_the_client_has():
    recall = memories({"reasoning_details": [TEXT], "tool_calls": [call()]})
    turns = (USER, Turn("assistant", (Thinking("Hmm. So.", foreign=True), CALL)), *HISTORY[2:])
    said = {"recall": recall, "model": MODEL, "preset": "openrouter"}
    assert not noted(*turns, **said)
    assert assistant(recall, MODEL, *turns, preset="openrouter")["reasoning_details"] == [TEXT]
    assert any(
        note == "thinking: left out of earlier turns" for note in noted(*turns, model=MODEL, preset="openrouter")
    )


# -- thoughts as text


THOUGHT = Thinking("Hm.", foreign=True)
LOOP = (
    USER,
    Turn("assistant", (Thinking("First.", foreign=True), Text("I look."), CALL)),
    Turn("user", (Result("call_1"),)),
    Turn("assistant", (Call("call_2", "Read", {}),)),
    Turn("user", (Result("call_2"), Text("(a reminder)"))),
    Turn("assistant", (Thinking("Last.", foreign=True), Text("Done."))),
    USER,
    Turn("assistant", (THOUGHT, Text("Plain."))),
    USER,
    Turn("assistant", (Text("Nothing thought."),)),
    USER,
)


@pytest.mark.parametrize("preset", ["deepseek-openai", "moonshot-openai", "zhipu-openai"])
def test_every_message_of_a_turn_with_calls_has_its_thoughts(preset: str):
    told = [m for m in requested(*LOOP, preset=preset)["messages"] if m["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in told] == ["First.", " ", "Last.", "Hm.", None]
    assert not noted(*LOOP, preset=preset)


def test_thoughts_go_back_under_the_name_that_the_provider_reads():
    told = [m for m in requested(*LOOP, preset="ollama", model="qwen3:8b")["messages"] if m["role"] == "assistant"]
    assert [message.get("reasoning") for message in told] == ["First.", None, "Last.", "Hm.", None]
    assert "reasoning" in json.dumps(
        requested(*LOOP, preset="openrouter", model="deepseek/deepseek-v4-pro")["messages"]
    )
    other = requested(*LOOP, preset="openrouter", model="openai/gpt-5.2")
    assert not [message for message in other["messages"] if "reasoning" in message]


@pytest.mark.parametrize("preset", ["openai-chat", "groq", "deepseek-openai"])
def test_claudes_own_thoughts_stay_out_with_a_note(preset: str):
    turns = (USER, Turn("assistant", (Thinking("Claude's.", "sig"), CALL)), *HISTORY[2:])
    assert "Claude's." not in json.dumps(requested(*turns, preset=preset))
    assert "thinking: left out of earlier turns" in noted(*turns, preset=preset)
