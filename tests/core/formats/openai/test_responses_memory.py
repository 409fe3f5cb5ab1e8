"""What is kept of an answer, and what the next request makes of it: order, phases, and whose it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.core.formats import recalling
from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.conversation import Call, Conversation, Part, Result, Text, Thinking, Turn
from claude_relay.core.formats.openai import responses as format
from claude_relay.core.formats.openai.responses_memory import kept, replay
from claude_relay.core.formats.writer import Writer

MODEL = "gpt-5.6-sol"
ASK = Turn("user", (Text("Go on."),))


def reasoning(n: int, summary: str = "") -> dict[str, Any]:
    told = [{"type": "summary_text", "text": summary}] if summary else []
    return {"type": "reasoning", "id": f"rs_{n}", "encrypted_content": f"secret-{n}", "summary": told}


def message(n: int, words: str, phase: str | None = "commentary") -> dict[str, Any]:
    content = [{"type": "output_text", "text": words, "annotations": []}]
    return {
        "type": "message", "id": f"msg_{n}", "role": "assistant", "status": "completed", "content": content,
    } | ({"phase": phase} if phase else {})  # fmt: skip


def call(n: int) -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"call_{n}", "name": "Read", "arguments": "{}"}


def answered(output: list[dict[str, Any]], turns: tuple[Turn, ...], *, streamed: bool, model: str = MODEL) -> Writer:
    """The writer of an answer with these items to these turns."""
    writer = Writer("claude-x", "seed", stream=False, provider_model=model, anchor=recalling.anchor(turns))
    response = {"model": f"{MODEL}-2026-07-09", "status": "completed", "output": output}
    if not streamed:
        format.answer(response, writer)
        return writer
    reader = format.stream(writer)
    for index, item in enumerate(output):
        reader.event("", {"type": "response.output_item.added", "output_index": index, "item": item | {"content": []}})
        for part in item.get("content", []):
            place = {"output_index": index, "content_index": 0}
            reader.event("", {"type": "response.output_text.delta", **place, "delta": part["text"]})
        reader.event("", {"type": "response.output_item.done", "output_index": index, "item": item})
    reader.event("", {"type": "response.completed", "response": response})
    return writer


def turn_of(writer: Writer) -> Turn:
    """The assistant's turn as a client sends it back."""
    parts: list[Part] = []
    for block in json.loads(writer.whole())["content"]:
        match block["type"]:
            case "text":
                parts.append(Text(block["text"]))
            case "thinking":
                parts.append(Thinking(block["thinking"], block["signature"], foreign=True))
            case "tool_use":
                parts.append(Call(block["id"], block["name"], block["input"]))
    return Turn("assistant", tuple(parts))


def asked_again(writer: Writer, turns: tuple[Turn, ...], model: str = MODEL, **options: Any) -> list[dict[str, Any]]:
    conversation = Conversation("claude-x", 1000, turns)
    recall = {key: writer.memories[key] for key in recalling.keys(conversation) if key in writer.memories}
    body = json.loads(format.request(Asked(conversation, model, options, recall)).body)
    return body["input"]


def results(output: list[dict[str, Any]]) -> Turn:
    return Turn(
        "user", tuple(Result(item["call_id"], (Text("found"),)) for item in output if item["type"] == "function_call")
    )


ANSWERS: dict[str, list[dict[str, Any]]] = {
    "reasoning, message, call": [reasoning(1), message(1, "I look."), call(1)],
    "message, reasoning, call": [message(1, "I look."), reasoning(1), call(1)],
    "reasoning that is shown": [reasoning(1, "Hm."), message(1, "I look."), reasoning(2, "Hm!"), call(1)],
    "two messages of two phases": [message(1, "I look."), message(2, "And now:", "final_answer"), call(1)],
    "two messages around reasoning": [message(1, "One."), reasoning(1), message(2, "Two."), call(1)],
    "calls with their own": [reasoning(1), call(1), reasoning(2), message(1, "Next."), call(2)],
    "a message after the call": [reasoning(1), call(1), message(1, "Wait for it.")],
    "a message between calls": [reasoning(1), call(1), message(1, "Between."), call(2), message(2, "After.")],
    "no call": [reasoning(1), message(1, "Done.", "final_answer")],
    "no call, two messages": [reasoning(1), message(1, "So."), reasoning(2), message(2, "Done.", "final_answer")],
    "no reasoning": [message(1, "Done.", "final_answer")],
}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_items_of_a_turn_come_back_in_their_order(name, streamed):
    output = ANSWERS[name]
    writer = answered(output, (ASK,), streamed=streamed)
    calls = results(output)
    turns = (ASK, turn_of(writer), *((calls,) if calls.parts else ()), ASK)
    written = asked_again(writer, turns)
    came = [item for item in written if item.get("role") != "user" and item["type"] != "function_call_output"]
    assert came == output


def test_without_a_phase_or_reasoning_nothing_is_kept():
    writer = answered([message(1, "I look.", None), call(1)], (ASK,), streamed=True)
    assert writer.memories == {}


@pytest.mark.parametrize(
    "said", ["I loo", "I look at it, now.", "I look at it.\n\nThe", "I look at it.\n\nThen.\n\nEnd."]
)
def test_a_text_that_the_client_has_changed_is_one_message_without_an_id(said):
    writer = answered([reasoning(1), message(1, "I look at it."), message(2, "Then."), call(1)], (ASK,), streamed=False)
    turn = Turn("assistant", (Text(said), Call("call_1", "Read", {})))
    written = asked_again(writer, (ASK, turn, results([call(1)])))
    (told,) = [item for item in written if item.get("role") == "assistant"]
    assert told == {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": said}],
        "phase": "commentary",
    }


def test_texts_that_the_client_has_dropped_are_not_made_up():
    writer = answered([reasoning(1), message(1, "I look."), call(1)], (ASK,), streamed=False)
    written = asked_again(writer, (ASK, Turn("assistant", (Call("call_1", "Read", {}),)), results([call(1)])))
    assert [item["type"] for item in written] == ["message", "reasoning", "function_call", "function_call_output"]


@pytest.mark.parametrize("name", ["reasoning, message, call", "no call"])
def test_another_model_gets_the_texts_alone(name):
    output = ANSWERS[name]
    writer = answered(output, (ASK,), streamed=True)
    calls = results(output)
    turns = (ASK, turn_of(writer), *((calls,) if calls.parts else ()), ASK)
    for model, options in {"gpt-6-astra": {}, MODEL: {"encrypted_reasoning": False}}.items():
        written = asked_again(writer, turns, model, **options)
        assert "secret" not in str(written)
        assert "phase" not in str(written)
        assert [item["content"][0]["text"] for item in written if item.get("role") == "assistant"]


def test_what_was_said_elsewhere_is_not_recalled():
    """Reasoning belongs to a conversation: the same words after others are another answer."""
    writer = answered(ANSWERS["no call"], (ASK,), streamed=True)
    other = (Turn("user", (Text("Something else."),)), turn_of(writer), ASK)
    assert "secret" not in str(asked_again(writer, other))


def test_reasoning_is_given_back_once():
    writer = answered(ANSWERS["reasoning, message, call"], (ASK,), streamed=True)
    turns = (ASK, turn_of(writer), results([call(1)]))
    assert str(asked_again(writer, (*turns, *turns))).count("secret-1") == 1


def test_what_earlier_versions_kept_is_understood():
    memory = json.dumps(
        {"format": "openai-responses", "model": MODEL, "asked": "", "items": [{"id": "rs_1", "encrypted_content": "s"}]}
    )
    turn = Turn("assistant", (Text("I look."), Call("call_1", "Read", {})))
    query = Asked(Conversation("claude-x", 1000, (ASK, turn)), MODEL, {}, {"call_1": memory})
    kinds = [item["type"] for item in json.loads(format.request(query).body)["input"]]
    assert kinds == ["message", "reasoning", "message", "function_call", "function_call_output"]


@pytest.mark.parametrize(
    "items", [None, 7, [7], [{"type": "message"}], [{"type": "message", "length": -1, "phase": 3}]]
)
def test_odd_memories_lose_no_text(items):
    assert [item["content"][0]["text"] for item in replay(items, ["a"])] == ["a"]
    memory = kept(MODEL, [])[:-1] + f', "items": {json.dumps(items)}}}'
    turn = Turn("assistant", (Text("a"), Call("call_1", "Read", {})))
    query = Asked(Conversation("claude-x", 1000, (ASK, turn)), MODEL, {}, {"call_1": memory})
    assert '"text":"a"' in format.request(query).body.decode()
