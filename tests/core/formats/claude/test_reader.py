"""A client's request, read and checked."""

import contextlib
import doctest
import json
import time

import pytest
from anthropic.types.beta import message_create_params
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.claude import fields as fields_module
from claude_relay.core.formats.claude import reader as reading
from claude_relay.core.formats.claude import tools as builtin_module
from claude_relay.core.formats.claude.blocks import BLOCKS
from claude_relay.core.formats.conversation import (
    Call,
    Conversation,
    Effort,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)

from .messages import PNG, SCHEMA, USE, WEATHER, assistant, body, read, user

EPHEMERAL = {"type": "ephemeral"}


def claude_code(turns=3):
    """A request as Claude Code sends it."""
    tools = [
        {
            "name": f"Tool{n}",
            "description": "Reads a file. " * 100,
            "input_schema": SCHEMA,
            "eager_input_streaming": True,
        }
        for n in range(20)
    ]
    messages = [
        {"role": "system", "content": []},
        user({"type": "text", "text": "<system-reminder>…</system-reminder>"}, {"type": "text", "text": "Fix the bug"}),
    ]
    for n in range(turns):
        messages += [
            assistant(
                {"type": "thinking", "thinking": "Let me see. " * 20, "signature": "EqoB" * 50},
                {"type": "text", "text": "I'll look."},
                {"type": "tool_use", "id": f"toolu_{n}", "name": "Tool1", "input": {"city": "Rome"}},
            ),
            user(
                {
                    "type": "tool_result",
                    "tool_use_id": f"toolu_{n}",
                    "content": "1\tdef f():\n" * 300,
                    "cache_control": EPHEMERAL,
                },
                {"type": "text", "text": "<system-reminder>…</system-reminder>"},
            ),
        ]
    return body(
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=1a2b3;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": EPHEMERAL},
            {"type": "text", "text": "Be short. " * 400, "cache_control": EPHEMERAL},
        ],
        tools=tools,
        messages=messages,
        metadata={"user_id": json.dumps({"device_id": "a" * 64, "session_id": "0b1f"})},
        thinking={"type": "adaptive"},
        output_config={"effort": "high"},
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        stream=True,
    )


def test_a_request_of_claude_code():
    read = reading.read(claude_code())
    assert read.system == (Text("You are Claude Code.", cached=True), Text("Be short. " * 400, cached=True))
    assert [turn.role for turn in read.turns] == ["user"] + ["assistant", "user"] * 3
    thinking, text, call = read.turns[1].parts
    assert thinking == Thinking("Let me see. " * 20, "EqoB" * 50, foreign=False)
    assert (text, call) == (Text("I'll look."), Call("toolu_0", "Tool1", {"city": "Rome"}))
    assert read.turns[2].parts[0] == Result("toolu_0", (Text("1\tdef f():\n" * 300, cached=True),))
    assert read.effort == Effort(asked=True, level="high")
    assert len(read.tools) == 20
    assert read.tools[0] == Tool("Tool0", "Reads a file. " * 100, SCHEMA)
    assert read.stream
    assert json.loads(read.user)["session_id"] == "0b1f"
    assert read.notes == ("context_management: left out", "tools.eager_input_streaming: left out")


def test_a_long_conversation_is_read_in_passing():
    """Compared with the standard library's decoder, so that a slow machine does not fail the test."""
    long = claude_code(turns=110)
    assert len(long) > 400_000
    assert fastest(lambda: reading.read(long)) < 6 * fastest(lambda: json.loads(long))


def fastest(call):
    times = []
    for _ in range(10):
        begun = time.thread_time()
        call()
        times.append(time.thread_time() - begun)
    return min(times)


def test_the_smallest_request():
    assert read() == Conversation("claude-sonnet-5", 100, (Turn("user", (Text("Hi"),)),))


def test_counting_needs_no_limit():
    assert reading.read(body(max_tokens=...), count_only=True).max_tokens == 0


@pytest.mark.parametrize(("limit", "why"), [(0, "cache pre-warm"), (-1, "negative"), (..., "is required")])
def test_a_limit_that_nobody_else_can_keep_says_why(limit, why):
    with pytest.raises(Unsuited, match=rf"max_tokens: .*{why}"):
        read(max_tokens=limit)


REFUSED = {
    "model": {"model": ...},
    "max_tokens": {"max_tokens": ...},
    "messages": {"messages": ...},
    "messages.0": {"messages": ["Hi"]},
    "messages.0.role": {"messages": [{"role": "tool", "content": "Hi"}]},
    "messages.0.content": {"messages": [{"role": "user", "content": 7}]},
    "messages.0.content.0.type": {"messages": [user({"type": "hologram"})]},
    "messages.0.content.1.text": {"messages": [user({"type": "text", "text": "a"}, {"type": "text"})]},
    "messages.0.content.0.source": {
        "messages": [user({"type": "image", "source": {"type": "file", "file_id": "file_1"}})]
    },
    "messages.0.content.0.source.data": {
        "messages": [user({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "a"}})]
    },
    "messages.0.content.0.source.media_type": {
        "messages": [
            user({"type": "document", "source": {"type": "base64", "media_type": "application/zip", "data": "aaaa"}})
        ]
    },
    "messages.0.content.0": {"messages": [user({"type": "container_upload", "file_id": "file_1"})]},
    "messages.0.content.0.tool_use_id": {"messages": [user({"type": "tool_result", "tool_use_id": "toolu_9"})]},
    "messages.0.content.0.input": {"messages": [assistant({**USE, "input": "{}"})]},
    "messages.0.content.1.id": {"messages": [assistant(USE, USE)]},
    "mcp_servers": {"mcp_servers": [{"type": "url", "url": "https://mcp.example", "name": "m"}]},
    "safeguards": {"safeguards": {"type": "enabled"}},
    "thread": {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
    "inference_geo": {"inference_geo": "us"},
    "tools.0.input_schema": {"tools": [{"name": "weather"}]},
    "tools.1.name": {"tools": [WEATHER, WEATHER]},
    "tools.0.type": {"tools": [{"type": "computer_toolset_20260801"}]},
    "tool_choice.name": {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "wether"}},
    "tool_choice.type": {"tool_choice": {"type": "required"}},
    "thinking.budget_tokens": {"thinking": {"type": "enabled"}},
    "thinking.type": {"thinking": {"type": "hard"}},
    "output_config.effort": {"output_config": {"effort": "huge"}},
    "output_config.format.schema": {"output_config": {"format": {"type": "json_schema"}}},
    "output_format.type": {"output_format": {"type": "grammar"}},
    "system.0.type": {"system": [{"type": "image", "source": PNG}]},
    "temperature": {"temperature": "hot"},
    "top_k": {"top_k": True},
    "stop_sequences.1": {"stop_sequences": ["a", 1]},
    "metadata.user_id": {"metadata": {"user_id": 7}},
    "stream": {"stream": "yes"},
}


@pytest.mark.parametrize(("field", "fields"), REFUSED.items(), ids=list(REFUSED))
def test_what_is_wrong_or_cannot_be_asked_elsewhere_is_refused_by_its_path(field, fields):
    with pytest.raises(Unsuited, match=f"^{field}: ") as caught:
        read(**fields)
    assert caught.value.status == 400


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"model": "a"} x', b"\xff", b'"' + b"[" * 9])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(Unsuited, match=r"^body: "):
        reading.read(text)


def test_deep_nesting_is_refused():
    deep = body(messages=[assistant({"type": "mcp_tool_use", "input": "DEEP"})])
    with pytest.raises(Unsuited, match=r"^body: "):
        reading.read(deep.replace(b'"DEEP"', b"[" * 5000 + b"]" * 5000))


def test_empty_texts_and_turns_left_empty_are_dropped():
    empty = {"type": "text", "text": ""}
    messages = [
        user(empty),
        {"role": "system", "content": []},
        {"role": "system"},
        assistant(empty),
        user(empty, {"type": "text", "text": "a"}),
    ]
    assert read(messages=messages, system=[empty]) == read(messages=[{"role": "user", "content": "a"}])


def test_without_any_turn_there_is_nothing_to_answer():
    with pytest.raises(Unsuited, match=r"^messages: "):
        read(messages=[user(), assistant()])


def test_consecutive_turns_of_one_role_stay_apart():
    assert len(read(messages=[user({"type": "text", "text": t}) for t in "abc"]).turns) == 3


def test_system_turns_keep_their_place():
    note = {"role": "system", "content": [{"type": "text", "text": "Be brief", "cache_control": EPHEMERAL}]}
    turns = read(messages=[{"role": "user", "content": "a"}, note, {"role": "assistant", "content": "b"}]).turns
    assert turns[1] == Turn("system", (Text("Be brief", cached=True),))


def test_a_system_turn_for_one_answer_is_gone_after_the_next_user_turn():
    once = {"role": "system", "content": "Now", "clear_at": "next_user_message"}
    turns = read(messages=[{"role": "user", "content": "a"}, once, {"role": "user", "content": "b"}, once]).turns
    assert [turn.role for turn in turns] == ["user", "user", "system"]


def test_before_a_summary_nothing_counts():
    summary = {"type": "compaction", "content": "They talked.", "encrypted_content": "Eq"}
    rest = {"type": "text", "text": "So"}
    told = read(messages=[{"role": "user", "content": "a"}, assistant(USE), assistant(rest, summary, rest), user(rest)])
    summed = Turn("user", (Text("Summary of the conversation so far:\nThey talked."),))
    assert told.turns == (summed, Turn("assistant", (Text("So"),)), Turn("user", (Text("So"),)))
    assert told.notes == ("compaction: as text",)


def test_calls_before_a_summary_need_no_result_and_leave_their_ids_free():
    answered = user({"type": "tool_result", "tool_use_id": "toolu_1"})
    summary = {"type": "compaction", "content": "They talked."}
    assert len(read(messages=[assistant(USE), answered, assistant(summary)]).turns) == 1
    assert len(read(messages=[assistant(USE), answered, assistant(summary, USE), answered]).turns) == 3


def test_a_summary_that_failed_changes_nothing():
    told = read(messages=[{"role": "user", "content": "a"}, assistant({"type": "compaction", "content": None})])
    assert told.turns == read(messages=[{"role": "user", "content": "a"}]).turns


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, Effort(asked=True, budget=2048)),
        ({"thinking": {"type": "adaptive"}}, Effort(asked=True)),
        ({"thinking": {"type": "disabled"}}, Effort(off=True)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, Effort(off=True, level="low")),
        ({"output_config": {"effort": "max"}}, Effort(asked=True, level="max")),
        ({"thinking": None, "output_config": None}, Effort()),
    ],
)
def test_effort(fields, expected):
    assert read(**fields).effort == expected


@pytest.mark.parametrize("name", ["output_format", "output_config"])
def test_the_schema_of_the_answer(name):
    form = {"type": "json_schema", "schema": SCHEMA}
    assert read(**{name: form if name == "output_format" else {"format": form}}).schema == SCHEMA


def test_sampling_and_the_rest():
    told = read(
        temperature=0,
        top_p=0.5,
        top_k=3,
        stop_sequences=["a", ""],
        service_tier="auto",
        tools=[{**WEATHER, "strict": True}],
    )
    assert (told.temperature, told.top_p, told.top_k, told.stops, told.tier) == (0, 0.5, 3, ("a",), "auto")
    assert told.tools[0].strict


def test_fields_that_nobody_reads_are_noted():
    tool = {
        **WEATHER,
        "defer_loading": True,
        "input_examples": [{"city": "Rome"}],
        "allowed_callers": ["direct"],
        "cache_control": EPHEMERAL,
    }
    told = read(
        tools=[tool], speed="fast", container=None, diagnostics={}, cache_control=EPHEMERAL, metadata={"team": "a"}
    )
    notes = ["metadata.team", "speed", "tools.allowed_callers", "tools.defer_loading", "tools.input_examples"]
    assert told.notes == tuple(f"{name}: left out" for name in notes)


def test_a_clients_own_names_cannot_break_a_note():
    (note,) = read(**{"a\r\nb: c" + "d" * 500: 1}).notes
    assert note.startswith("a??b??cd")
    assert len(note) < 120


SDK_FIELDS = message_create_params.MessageCreateParamsStreaming.__annotations__.keys()


@pytest.mark.parametrize("name", sorted(SDK_FIELDS - reading._READ))
def test_every_field_of_the_official_sdk_is_read_noted_or_refused(name):
    assert outcome(**{name: "x"}).startswith(f"{name}: ")


def outcome(**fields):
    try:
        (note,) = read(**fields).notes
    except Unsuited as refused:
        return str(refused)
    return note


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({field for block in BLOCKS.values() for field in block.fields} | {"role", "clear_at"} | reading._READ)
odd_values = st.recursive(
    st.sampled_from(
        ["text", "base64", "content", "user", "system", "tool", "tool_definition", "custom", "bash_20250124", ""]
    )
    | st.sampled_from(sorted(BLOCKS))
    | json_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=8,
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(NAMES), odd_values, max_size=8) | json_values, st.booleans())
def test_whatever_comes_is_read_or_refused(value, count_only):
    with contextlib.suppress(Unsuited):
        reading.read(json.dumps(value).encode(), count_only=count_only)


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(BLOCKS)),
    st.dictionaries(st.sampled_from(NAMES), odd_values),
    st.sampled_from(["user", "assistant", "system"]),
)
def test_whatever_a_block_holds_is_read_or_refused(kind, fields, role):
    with contextlib.suppress(Unsuited):
        read(messages=[{"role": role, "content": [{**fields, "type": kind}]}])


@pytest.mark.parametrize("module", [reading, fields_module, builtin_module])
def test_the_examples_in_the_docstrings(module):
    assert doctest.testmod(module).failed == 0
