"""Chat Completions: requests row by row, answers that come whole, errors of all shapes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.base import Asked, Format, Sent
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Conversation,
    Document,
    Effort,
    Image,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.naming import fit_id, fit_names
from claude_relay.core.formats.openai import chat as format
from claude_relay.core.formats.openai.families import FAMILIES, LEVELS, effort_for, family, fits_strict
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body

USER = Turn("user", (Text("Hello"),))
READ = Tool("Read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
CALL = Call("call_1", "Read", {"path": "a"})
TOLD = {"role": "user", "content": "Hello"}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "Read", "arguments": '{"path":"a"}'}}
PNG = Image("image/png", data="iVBO")
PNG_URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}
CLOSED = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}


def ask(*turns: Turn, model: str = "gpt-4.1", options: Any = None, **said: Any) -> Sent:
    conversation = Conversation(model="claude-x", **{"max_tokens": 1000, "turns": turns or (USER,)} | said)
    return format.request(Asked(conversation, model, options or {}))


def body_of(*turns: Turn, **said: Any) -> dict[str, Any]:
    return json.loads(ask(*turns, **said).body)


def messages(*turns: Turn, **said: Any) -> list[dict[str, Any]]:
    return body_of(*turns, **said)["messages"]


# -- requests


def test_a_plain_request_holds_nothing_but_what_was_said():
    sent = ask()
    assert sent.path == "/chat/completions"
    assert json.loads(sent.body) == {"model": "gpt-4.1", "messages": [TOLD], "max_completion_tokens": 1000}
    assert not sent.notes
    assert not sent.names


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        ({"model": "deepseek-chat"}, {"max_tokens": 1000}),
        ({"model": "openai/gpt-oss-120b"}, {"max_tokens": 1000}),
        ({"model": "openai/o3"}, {"max_completion_tokens": 1000}),
        (
            {"model": "my-deployment", "options": {"max_tokens_field": "max_completion_tokens"}},
            {"max_completion_tokens": 1000},
        ),
        ({"stops": ("a", "b", "c", "d", "e")}, {"stop": ["a", "b", "c", "d"]}),
        ({"stops": ("a",), "model": "o3"}, {"stop": None}),
        ({"stops": ("a",), "model": "gpt-5-mini"}, {"stop": None}),
        ({"stops": ("a",), "model": "gpt-5.1"}, {"stop": ["a"]}),
        ({"stops": ("a",), "model": "grok-4"}, {"stop": None}),
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 3}, {"temperature": 0.5, "top_p": 0.9, "top_k": None}),
        ({"temperature": 0.5, "top_p": 0.9, "model": "gpt-5"}, {"temperature": None, "top_p": None}),
        ({"temperature": 0.0, "model": "gpt-5-chat-latest"}, {"temperature": 0.0}),
        ({"temperature": 0.5, "model": "moonshotai/kimi-k2.5"}, {"temperature": None}),
        ({"top_k": 3, "options": {"top_k": True}}, {"top_k": 3}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"stream": True, "options": {"stream_usage": False}}, {"stream": True, "stream_options": None}),
        ({"tier": "standard_only"}, {"service_tier": "default"}),
        ({"tier": "auto"}, {"service_tier": None}),
        ({"tier": "standard_only", "model": "glm-4.6"}, {"service_tier": None}),
        ({"user": "u" * 150, "model": "mistral-large-latest"}, {"safety_identifier": None, "user": None}),
        ({"web_search": {}, "model": "gpt-4o-search-preview"}, {"web_search_options": {}}),
        ({"web_search": {}}, {"web_search_options": None}),
    ],
)
def test_a_field_goes_where_the_model_takes_it(said: dict[str, Any], fields: dict[str, Any]):
    body = body_of(**said)
    assert {name: body.get(name) for name in fields} == fields


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"top_k": 3}, "top_k"),
        ({"temperature": 0.5, "model": "o3"}, "temperature"),
        ({"stops": ("a",), "model": "o3"}, "stop_sequences"),
        ({"stops": ("a", "b", "c", "d", "e")}, "stop_sequences"),
        ({"user": "u"}, "metadata.user_id: hashed"),
        ({"user": "u", "model": "glm-4.6"}, "metadata.user_id: left out"),
        ({"web_search": {}}, "tools.web_search: left out"),
        ({"tier": "standard_only", "model": "glm-4.6"}, "service_tier: left out"),
        ({"effort": Effort(asked=True, budget=2000)}, "thinking"),
    ],
)
def test_what_is_lost_is_noted(said: dict[str, Any], note: str):
    assert [line for line in ask(**said).notes if line.startswith(note)]


def test_a_user_is_told_by_a_hash_only():
    told = body_of(user="user_account__session_" + "f" * 130)["safety_identifier"]
    assert re.fullmatch(r"[0-9a-f]{64}", told)
    assert body_of(user="somebody else")["safety_identifier"] != told
    assert (
        body_of(user="u", model="glm-4.6", options={"user_field": "user"})["user"]
        == body_of(user="u")["safety_identifier"]
    )


@pytest.mark.parametrize(
    ("model", "effort", "level"),
    [
        ("gpt-4o", Effort(asked=True, budget=10_000), None),
        ("gpt-5", Effort(), None),
        ("gpt-5", Effort(asked=True, budget=1024), "low"),
        ("gpt-5", Effort(asked=True, budget=4000), "low"),
        ("gpt-5", Effort(asked=True, budget=10_000), "medium"),
        ("gpt-5", Effort(asked=True, budget=31_999), "high"),
        ("gpt-5", Effort(asked=True, budget=60_000), "high"),
        ("gpt-5.2", Effort(asked=True, budget=60_000), "xhigh"),
        ("gpt-5", Effort(off=True), "minimal"),
        ("gpt-5.1", Effort(off=True), "none"),
        ("o3", Effort(off=True), None),
        ("gpt-5.1", Effort(asked=True), "medium"),
        ("gpt-5.1", Effort(asked=True, level="max"), "high"),
        ("openai/gpt-5.2-2025-12-11", Effort(asked=True, level="max"), "xhigh"),
        ("gpt-5-pro", Effort(asked=True, level="low"), "high"),
        ("grok-3-mini", Effort(asked=True, level="medium"), "low"),
        ("grok-4-0709", Effort(asked=True, level="high"), None),
        ("gpt-oss:20b", Effort(asked=True, level="high"), "high"),
        ("deepseek-chat", Effort(asked=True, level="high"), None),
    ],
)
def test_effort_becomes_a_level_that_the_model_knows(model: str, effort: Effort, level: str | None):
    assert body_of(model=model, effort=effort).get("reasoning_effort") == level


@pytest.mark.parametrize(
    ("option", "level"), [(False, None), (True, "high"), (["low", "medium"], "medium"), (["high", "max"], "max")]
)
def test_an_option_tells_which_levels_a_provider_takes(option: Any, level: str | None):
    effort = Effort(asked=True, level="max")
    assert (
        body_of(model="some-model", effort=effort, options={"reasoning_effort": option}).get("reasoning_effort")
        == level
    )


@pytest.mark.parametrize(
    ("model", "level"), [("gpt-5.2", "high"), ("gpt-5.4-mini", None), ("gpt-5.6", "none"), ("gpt-6", "none")]
)
def test_models_that_do_not_think_with_tools_here_are_not_asked_to(model: str, level: str | None):
    effort = Effort(asked=True, level="high")
    assert body_of(model=model, effort=effort, tools=(READ,)).get("reasoning_effort") == level
    assert body_of(model=model, effort=effort)["reasoning_effort"] == "high"


def test_the_system_text_comes_first_and_as_one():
    system = (Text("Be short."), Text("Be kind."))
    assert messages(system=system) == [{"role": "system", "content": "Be short.\n\nBe kind."}, TOLD]
    assert messages(system=system, options={"developer_role": True})[0]["role"] == "developer"


def test_a_system_text_in_mid_conversation_keeps_its_place():
    turns = (USER, Turn("assistant", (Text("Hi."),)), Turn("system", (Text("Be loud."),)), USER)
    assert [(m["role"], m["content"]) for m in messages(*turns)][1:3] == [("assistant", "Hi."), ("system", "Be loud.")]
    folded = messages(*turns, system=(Text("Be short."),), options={"late_system": "user"})
    assert [m["role"] for m in folded] == ["system", "user", "assistant", "user", "user"]
    assert "Be loud." in folded[3]["content"]


def test_a_system_text_never_parts_a_call_from_its_result():
    turns = (USER, Turn("assistant", (CALL,)), Turn("system", (Text("Now."),)), Turn("user", (Result("call_1"),)))
    assert [message["role"] for message in messages(*turns)] == ["user", "assistant", "tool", "system"]


def test_results_follow_their_calls_before_all_that_the_user_says():
    calls = Turn("assistant", (Text("I look."), CALL, Call("call_2", "Read", {})))
    results = (Text("Quick!"), Result("call_2", (Text("b"), Text("c"))), Result("call_1", (Text("no"),), is_error=True))
    assert messages(USER, calls, Turn("user", results))[1:] == [
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                CALLED,
                {"id": "call_2", "type": "function", "function": {"name": "Read", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_2", "content": "b\n\nc"},
        {"role": "tool", "tool_call_id": "call_1", "content": "Error:\n\nno"},
        {"role": "user", "content": "Quick!"},
    ]


def test_results_of_two_user_turns_count_as_those_of_one():
    calls = Turn("assistant", (CALL, Call("call_2", "Read", {})))
    told = messages(USER, calls, Turn("user", (Result("call_1"), Text("So."))), Turn("user", (Result("call_2"),)))
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "tool", "user"]
    assert told[1]["content"] is None
    assert told[2]["content"] == ""


def test_every_call_has_exactly_one_result():
    calls = Turn("assistant", (CALL, Call("call_2", "Read", {})))
    results = Turn(
        "user", (Result("call_1", (Text("a"),)), Result("call_1", (Text("again"),)), Result("other", (PNG,)))
    )
    told = messages(USER, calls, results)
    assert [message.get("tool_call_id") for message in told[2:]] == ["call_1", "call_2", None]
    assert told[4]["role"] == "user"
    assert PNG_URL in told[4]["content"]
    assert "again" in json.dumps(told[4]["content"])
    assert messages(USER, Turn("assistant", (CALL,)), Turn("assistant", (Text("Well."),)), USER)[2]["role"] == "tool"


def test_pictures_of_results_come_in_one_user_message_after_all_results():
    calls = Turn("assistant", (CALL, Call("call_2", "Read", {})))
    results = Turn("user", (Result("call_1", (PNG,)), Result("call_2", (Text("b"),)), Text("See?")))
    told = messages(USER, calls, results)
    assert [message["role"] for message in told[2:]] == ["tool", "tool", "user"]
    assert "iVBO" not in json.dumps(told[2])
    assert told[2]["content"]
    assert [part["type"] for part in told[4]["content"]] == ["text", "image_url", "text"]
    assert "call_1" in told[4]["content"][0]["text"]


@pytest.mark.parametrize(
    ("part", "options", "content"),
    [
        (PNG, {}, PNG_URL),
        (Image(url="https://x/a.png"), {}, {"type": "image_url", "image_url": {"url": "https://x/a.png"}}),
        (
            Document(data="JVBE", title="a.pdf"),
            {},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        ),
        (Document(data="JVBE", title="a.pdf"), {"pdf": False}, "a.pdf"),
        (Document(url="https://x/a.pdf"), {}, "https://x/a.pdf"),
        (PNG, {"images": False}, "picture"),
    ],
)
def test_files_go_as_parts_or_are_told_in_words(part: Any, options: Any, content: Any):
    told = messages(Turn("user", (Text("See:"), part)), options=options)[0]["content"]
    if isinstance(content, str):
        assert content in told
        assert "JVBE" not in told
    else:
        assert told == [{"type": "text", "text": "See:"}, content]


def test_thoughts_stay_at_home():
    turn = Turn("assistant", (Thinking("Hm.", "sig"), Thinking("Ah.", foreign=True), Text("Hi.")))
    assert messages(USER, turn, USER)[1] == {"role": "assistant", "content": "Hi."}
    assert messages(USER, Turn("assistant", (Thinking("Hm."),)), USER) == [TOLD, TOLD]


def test_foreign_thoughts_go_back_with_calls_where_they_are_wanted():
    turns = (
        USER,
        Turn("assistant", (Thinking("Ah.", foreign=True), CALL)),
        Turn("user", (Result("call_1"),)),
        Turn("assistant", (Thinking("Claude's.", "sig"), Call("call_2", "Read", {}))),
        Turn("user", (Result("call_2"),)),
        Turn("assistant", (Thinking("Ah.", foreign=True), Text("Done."))),
        USER,
    )
    told = [m for m in messages(*turns, options={"reasoning_history": True}) if m["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in told] == ["Ah.", " ", "Ah."]
    assert "reasoning_content" not in json.dumps(messages(*turns))


def test_pieces_of_one_text_are_one_again():
    turn = Turn("assistant", (Text("It is "), Text("blue."), CALL, Text("Next.")))
    assert messages(USER, turn, Turn("user", (Result("call_1"),)))[1]["content"] == "It is blue.\n\nNext."


def test_the_last_word_of_the_assistant_stays():
    sent = ask(USER, Turn("assistant", (Text("{"),)))
    assert json.loads(sent.body)["messages"][-1] == {"role": "assistant", "content": "{"}
    assert any(note.startswith("messages: the assistant's last turn") for note in sent.notes)


def test_tools_are_functions_whose_schema_names_properties():
    bare = Tool("Stop", "", {"type": "object"})
    assert body_of(tools=(READ, bare))["tools"] == [
        {"type": "function", "function": {"name": "Read", "description": "Reads a file.", "parameters": READ.schema}},
        {"type": "function", "function": {"name": "Stop", "parameters": {"type": "object", "properties": {}}}},
    ]


def test_strict_is_asked_only_of_schemas_that_can_be():
    sent = ask(
        tools=(Tool("a", "", CLOSED, strict=True), Tool("b", "", READ.schema, strict=True), Tool("c", "", CLOSED))
    )
    assert [tool["function"].get("strict") for tool in json.loads(sent.body)["tools"]] == [True, None, None]
    assert any(note.startswith("tools.b.strict") for note in sent.notes)


@pytest.mark.parametrize(
    ("schema", "fits"),
    [
        (CLOSED, True),
        ({**CLOSED, "properties": {"a": READ.schema}}, False),
        ({**CLOSED, "properties": {"a": {"type": "array", "items": {"type": "object"}}}}, False),
        ({**CLOSED, "properties": {"a": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
        ({**CLOSED, "properties": {"a": {"oneOf": [CLOSED]}}}, False),
        ({**CLOSED, "$defs": {"b": READ.schema}}, False),
        ({**CLOSED, "required": []}, False),
        ({"anyOf": [CLOSED]}, False),
        (None, False),
    ],
)
def test_a_strict_schema_is_closed_in_all_its_depth(schema: Any, fits: bool):
    assert fits_strict(schema) is fits


@pytest.mark.parametrize(
    ("choice", "fields"),
    [
        (Choice(), {"tool_choice": "auto", "parallel_tool_calls": None}),
        (Choice("any", parallel=False), {"tool_choice": "required", "parallel_tool_calls": False}),
        (Choice("none"), {"tool_choice": "none"}),
        (Choice("tool", "Read"), {"tool_choice": {"type": "function", "function": {"name": "Read"}}}),
    ],
)
def test_a_choice_keeps_its_meaning(choice: Choice, fields: dict[str, Any]):
    body = body_of(tools=(READ,), choice=choice)
    assert {name: body.get(name) for name in fields} == fields
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & body_of(choice=choice).keys()


def test_a_name_is_the_same_everywhere_and_comes_back():
    long = "mcp__" + "files" * 20
    sent = ask(
        USER,
        Turn("assistant", (Call("call_1", long, {}),)),
        Turn("user", (Result("call_1"),)),
        tools=(Tool(long, "", {}), READ),
        choice=Choice("tool", long),
    )
    body = json.loads(sent.body)
    (theirs,) = sent.names
    assert sent.names == {theirs: long}
    assert len(theirs) == 64
    assert body["tools"][0]["function"]["name"] == theirs
    assert body["tool_choice"]["function"]["name"] == theirs
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == theirs


@given(st.lists(st.text("ab_.-é ", max_size=80), max_size=8))
def test_fitted_names_are_fit_distinct_and_do_not_depend_on_their_order(names: list[str]):
    fitted = fit_names(names, format.NAME)
    assert fitted.keys() == set(names)
    assert len(set(fitted.values())) == len(fitted)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in fitted.values())
    assert all(own == name for name, own in fitted.items() if re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name))
    assert fit_names(reversed(names), format.NAME) == fitted


def test_a_name_that_is_taken_is_not_given_twice():
    (own,) = fit_names(["a.b"], format.NAME).values()
    assert fit_names(["a.b", own], format.NAME)["a.b"] != own


def test_ids_are_short_and_alike_on_both_sides():
    long = "toolu_" + "0" * 60
    told = messages(USER, Turn("assistant", (Call(long, "Read", {}),)), Turn("user", (Result(long),)))
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"] == fit_id(long, 40)
    assert len(fit_id(long, 40)) == 40
    assert fit_id(long, 40) != fit_id(long + "1", 40)


def test_mistral_gets_ids_roles_and_a_prefix_as_it_wants_them():
    turns = (
        USER,
        Turn("assistant", (CALL,)),
        Turn("user", (Result("call_1"), Text("Go on."))),
        Turn("assistant", (Text("{"),)),
    )
    told = messages(*turns, model="mistral-large-latest")
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "assistant", "user", "assistant"]
    assert re.fullmatch(r"[a-z0-9]{9}", told[2]["tool_call_id"])
    assert told[1]["tool_calls"][0]["id"] == told[2]["tool_call_id"]
    assert told[5]["prefix"] is True
    own = (USER, Turn("assistant", (Call("D681PevKs", "Read", {}),)), Turn("user", (Result("D681PevKs"),)))
    assert messages(*own, model="codestral-2508")[2]["tool_call_id"] == "D681PevKs"


def test_a_schema_for_the_answer_gets_the_name_that_openai_wants():
    assert body_of(schema=CLOSED)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": CLOSED, "strict": True},
    }
    assert body_of(schema=dict(READ.schema))["response_format"]["json_schema"]["strict"] is False
    told = body_of(schema=CLOSED, options={"json_schema": False})
    assert told["response_format"] == {"type": "json_object"}
    assert "additionalProperties" in told["messages"][0]["content"]


def test_breakpoints_of_the_cache_go_only_where_they_are_known():
    said = {"system": (Text("A"), Text("B", cached=True))}
    assert messages(**said)[0]["content"] == "A\n\nB"
    assert messages(**said, options={"cache_control": True})[0]["content"] == [
        {"type": "text", "text": "A"},
        {"type": "text", "text": "B", "cache_control": {"type": "ephemeral"}},
    ]


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("gpt-5.4", "gpt-5.5"),
        ("gpt-5.10", "gpt-5.6"),
        ("gpt-4o-2024-08-06", "gpt-4.1"),
        ("x-ai/grok-4.6", "grok-4.7"),
        ("OpenAI/GPT-5", "gpt-5-nano"),
    ],
)
def test_a_model_belongs_to_its_family(name: str, like: str):
    assert family(name) is family(like)
    assert family(name) in FAMILIES


@given(
    st.builds(
        Effort, st.booleans(), st.booleans(), st.none() | st.integers(0, 10**6), st.sampled_from(["", *LEVELS, "odd"])
    )
)
def test_no_level_is_sent_that_the_model_does_not_know(effort: Effort):
    for known in FAMILIES:
        assert effort_for(effort, known.efforts) in {"", *known.efforts}


# -- answers that come whole


def read(body: Any, names: Any = None) -> dict[str, Any]:
    writer = Writer("claude-x", "1", stream=False, names=names)
    format.answer(body, writer)
    writer.finish()
    return assert_claude_body(writer.whole())


def said(reason: Any = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
    return {"id": "chatcmpl-1", "model": "gpt-4.1-2025", "choices": [choice]} | ({"usage": usage} if usage else {})


def function(name: str, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}} | more


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"content": "Hi"}, [("text", "Hi")]),
        ({"content": ""}, []),
        ({"content": None}, []),
        ({"content": [{"type": "text", "text": "a"}, "b", {"type": "image_url"}, 7]}, [("text", "ab")]),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "a"},
                ]
            },
            [("thinking", "Hm."), ("text", "a")],
        ),
        ({"content": "Hi", "reasoning_content": "Hm."}, [("thinking", "Hm."), ("text", "Hi")]),
        ({"content": "Hi", "reasoning_content": "", "reasoning": "Hm."}, [("thinking", "Hm."), ("text", "Hi")]),
        ({"content": "Hi", "reasoning": "Hm.", "reasoning_content": "Hm."}, [("thinking", "Hm."), ("text", "Hi")]),
        (
            {
                "content": "Hi",
                "reasoning": None,
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "Hm."},
                    {"type": "reasoning.summary", "summary": "Ah."},
                    {"data": "x"},
                ],
            },
            [("thinking", "Hm.Ah."), ("text", "Hi")],
        ),
    ],
)
def test_texts_and_thoughts_are_read_wherever_they_stand(message: Any, content: list[tuple[str, str]]):
    told = read(said(**message))
    assert [(block["type"], block[block["type"]]) for block in told["content"]] == content
    assert told["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (None, {}),
        ("  ", {}),
        ("null", {}),
        ({"a": 1}, {"a": 1}),
        ({}, {}),
    ],
)
def test_arguments_are_an_object_whatever_the_model_wrote(arguments: Any, given: dict[str, Any]):
    (block,) = read(said("tool_calls", content=None, tool_calls=[function("f", arguments)]))["content"]
    assert block["input"] == given


@pytest.mark.parametrize("arguments", ["{broken", "[1]", 7, "text", ["x"]])
def test_arguments_that_are_none_do_no_harm(arguments: Any):
    (block,) = read(said("tool_calls", tool_calls=[function("f", arguments)]))["content"]
    assert block["name"] == "f"


def test_calls_come_after_the_text_with_the_clients_names_and_ids_of_their_own():
    calls = [
        function("a_1", "{}", id="functions.a:0"),
        function("b", "{}", id="same"),
        function("b", "{}", id="same"),
        "odd",
        {},
    ]
    told = read(said("stop", content="Now.", tool_calls=calls), names={"a_1": "a.long"})
    assert [block.get("name") for block in told["content"]] == [None, "a.long", "b", "b"]
    assert told["content"][2]["id"] == "same"
    assert told["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("reason", "stop"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("model_length", "max_tokens"),
        ("content_filter", "refusal"),
        ("function_call", "end_turn"),
        ("", "end_turn"),
        (None, "end_turn"),
        (7, "end_turn"),
    ],
)
def test_a_finish_reason_becomes_claudes(reason: Any, stop: str):
    assert read(said(reason, content="Hi"))["stop_reason"] == stop


def test_a_refusal_is_told():
    told = read(said("stop", content=None, refusal="I will not."))
    assert told["content"][0]["text"] == "I will not."
    assert told["stop_reason"] == "refusal"


def test_an_old_function_call_is_a_call():
    told = read(said("function_call", content=None, function_call={"name": "f", "arguments": '{"a":1}'}))
    assert told["content"][0]["input"] == {"a": 1}
    assert read(said("stop", content="Hi", function_call={"name": "", "arguments": ""}))["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, (0, 0, 0, 0)),
        ({"prompt_tokens": 10, "completion_tokens": 5}, (10, 0, 0, 5)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            },
            (10, 60, 30, 5),
        ),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 5,
                "prompt_tokens_details": None,
                "prompt_cache_hit_tokens": 64,
            },
            (36, 64, 0, 5),
        ),
        ({"prompt_tokens": 100, "completion_tokens": 5, "cached_tokens": 64}, (36, 64, 0, 5)),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 50,
                "total_tokens": 60,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            (10, 0, 0, 50),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 10,
                "total_tokens": 60,
                "completion_tokens_details": {"reasoning_tokens": 40},
            },
            (10, 0, 0, 50),
        ),
        ({"prompt_tokens": "7", "completion_tokens": -1}, (0, 0, 0, 0)),
        ([], (0, 0, 0, 0)),
    ],
)
def test_usage_counts_nothing_twice(usage: Any, tokens: tuple[int, ...]):
    told = read(said(content="Hi", usage=usage))["usage"]
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    assert tuple(told.get(name) or 0 for name in names) == tokens


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": 502, "message": "Provider returned error"}}, "api_error"),
        ({"error": {"code": 429, "message": "Slow down"}}, "rate_limit_error"),
        (said("error", content="Hi"), "api_error"),
        (said("insufficient_system_resource", content="Hi"), "overloaded_error"),
        (
            {"choices": [{"error": {"code": 400, "message": "bad"}, "message": {"content": ""}}]},
            "invalid_request_error",
        ),
    ],
)
def test_an_error_under_a_good_status_is_an_error(body: Any, kind: str):
    assert read(body)["error"]["type"] == kind


_names = st.sampled_from(
    [
        "choices",
        "message",
        "delta",
        "content",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "index",
        "id",
        "usage",
        "prompt_tokens",
        "error",
        "finish_reason",
        "reasoning_details",
        "type",
        "text",
        "thinking",
        "details",
        "code",
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "x", "stop", "{", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_names, _json, max_size=5), st.booleans())
def test_no_answer_can_break_the_reader(body: dict[str, Any], streams: bool):
    writer = Writer("claude-x", "1", stream=streams)
    reader = format.stream(writer)
    reader.event("", body)
    reader.event("", {"choices": [body]})
    reader.event("", {"choices": [{"delta": body}]})
    reader.end(done=True)
    assert writer.finished or not writer.has_content


# -- errors


def overflow(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"} | more}


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            401,
            {"error": {"message": "Incorrect API key", "type": "invalid_request_error", "code": "invalid_api_key"}},
            (401, "authentication_error", "invalid_api_key"),
        ),
        (
            400,
            {"code": "Client specified an invalid argument", "error": "Incorrect API key provided"},
            (401, "authentication_error", "Client specified an invalid argument"),
        ),
        (
            403,
            {"error": {"message": "Country not supported", "code": "unsupported_country_region_territory"}},
            (403, "permission_error", "unsupported_country_region_territory"),
        ),
        (
            404,
            {"error": {"message": "The model `x` does not exist", "code": "model_not_found"}},
            (404, "not_found_error", "model_not_found"),
        ),
        (
            400,
            {"error": {"message": "no such model", "code": "model_not_found"}},
            (404, "not_found_error", "model_not_found"),
        ),
        (
            429,
            {"error": {"message": "Rate limit", "type": "tokens", "code": "rate_limit_exceeded"}},
            (429, "rate_limit_error", "rate_limit_exceeded"),
        ),
        (
            429,
            {"error": {"message": "Quota", "type": "insufficient_quota", "code": "insufficient_quota"}},
            (402, "billing_error", "insufficient_quota"),
        ),
        (
            429,
            {"error": {"message": "Quota", "type": "exceeded_current_quota_error"}},
            (402, "billing_error", "exceeded_current_quota_error"),
        ),
        (
            402,
            {"error": {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}},
            (402, "billing_error", "unknown_error"),
        ),
        (
            429,
            {"error": {"message": "The engine is currently overloaded", "type": "engine_overloaded_error"}},
            (529, "overloaded_error", "engine_overloaded_error"),
        ),
        (
            503,
            {"error": {"message": "The server is overloaded", "type": "server_error"}},
            (529, "overloaded_error", ""),
        ),
        (429, {"error": {"message": "Service overloaded, slow down"}}, (529, "overloaded_error", "")),
        (503, {"error": {"message": "Maintenance", "type": "server_error"}}, (503, "api_error", "")),
        (500, {"error": {"message": "Oops", "type": "server_error"}}, (500, "api_error", "")),
        (413, {"error": {"message": "Request Entity Too Large"}}, (413, "request_too_large", "")),
        (
            422,
            {"detail": [{"loc": ["body", "messages", 0], "msg": "Field required"}]},
            (400, "invalid_request_error", ""),
        ),
        (200, {"error": {"code": 402, "message": "More credits needed"}}, (402, "billing_error", "")),
        (
            400,
            [
                {
                    "error": {
                        "code": 400,
                        "status": "INVALID_ARGUMENT",
                        "message": "API key not valid",
                        "details": [{"reason": "API_KEY_INVALID"}],
                    }
                }
            ],
            (401, "authentication_error", "API_KEY_INVALID"),
        ),
        (
            429,
            [{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota"}}],
            (429, "rate_limit_error", "RESOURCE_EXHAUSTED"),
        ),
    ],
)
def test_an_error_is_told_in_claudes_words(status: int, body: Any, told: tuple[int, str, str]):
    problem = format.error(status, {}, json.dumps(body).encode())
    assert (problem.status, problem.type, problem.code) == told
    assert problem.message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":"no"}', "no"),
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"error":{"message":["no","nay"]}}', "no; nay"),
        (b'[{"error":{"message":"no"}}]', "no"),
        (b'{"detail":"no"}', "no"),
        (b'{"message":"no"}', "no"),
        (b'{"error":{"message":"Provider returned error","metadata":{"raw":"no"}}}', "Provider returned error: no"),
        (b"<html><head><title>502 Bad\n Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        (b"<h1>no</h1><script>x</script>", "no"),
        (b"plain\nwords", "plain words"),
        (b'\xef\xbb\xbf"no"', "no"),
    ],
)
def test_a_message_is_found_in_every_shape(body: bytes, message: str):
    assert format.error(400, {}, body).message == message


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b'{"error":null}', b'{"error":{"message":{}}}', b'{"error":[[[]]]}']
)
def test_an_error_without_a_word_gets_one(body: bytes):
    assert "500" in format.error(500, {}, body).message or body == b"null"


@pytest.mark.parametrize(
    ("status", "body", "numbers"),
    [
        (
            400,
            overflow(
                "This model's maximum context length is 128000 tokens. However, your messages resulted in 130001 tokens.",
                code="context_length_exceeded",
            ),
            "130001 tokens > 128000 maximum",
        ),
        (
            400,
            overflow(
                "This model's maximum context length is 32768 tokens. You requested 40000 tokens (30000 in messages, 10000 in completion)."
            ),
            "40000 tokens > 32768 maximum",
        ),
        (
            400,
            overflow(
                "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."
            ),
            "300000 tokens > 272000 maximum",
        ),
        (
            400,
            overflow("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
            "1200000 tokens > 1048576 maximum",
        ),
        (400, overflow("Invalid request: Your request exceeded model token limit: 262144"), ""),
        (
            400,
            overflow(
                "the request exceeds the available context size, try increasing it", type="exceed_context_size_error"
            ),
            "",
        ),
        (500, overflow("", code="context_length_exceeded"), ""),
        (200, overflow("prompt is too long: 5 tokens"), ""),
    ],
)
def test_a_prompt_that_is_too_long_is_said_as_claude_says_it(status: int, body: Any, numbers: str):
    problem = format.error(status, {}, json.dumps(body).encode())
    assert problem.message.startswith(f"prompt is too long: {numbers}")
    assert (problem.status, problem.type) == (400, "invalid_request_error")
    assert problem.code == "context_length_exceeded"


def test_a_limit_of_rate_is_not_taken_for_an_overflow():
    words = "Rate limit reached: the maximum context length of your plan is 8000 tokens per minute"
    assert format.error(429, {}, json.dumps(overflow(words)).encode()).type == "rate_limit_error"


@pytest.mark.parametrize(
    ("headers", "words", "wait"),
    [
        ({}, "Please try again in 1.2s. Visit x", 1.2),
        ({}, "Please try again in 6m0s.", 360),
        ({}, "Please try again in 20ms", 0.02),
        ({}, "Please retry after 37 seconds.", 37),
        ({}, "Try again in 1 minute 5 seconds", 65),
        ({}, "Try again in 1h2m3s", 3723),
        ({}, "Try again later", None),
        ({"retry-after": "3"}, "Please try again in 1.2s.", 3),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2s"}, "", 62),
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "1m2s"}, "", None),
    ],
)
def test_the_time_to_wait_is_read_where_it_is_said(headers: dict[str, str], words: str, wait: float | None):
    body = json.dumps({"error": {"message": words or "Rate limit"}}).encode()
    assert format.error(429, headers, body).retry_after == (None if wait is None else pytest.approx(wait))
    assert format.error(400, headers, body).retry_after is None


def test_googles_delay_is_read():
    body = b'{"error":{"code":429,"message":"Quota","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12.5s"}]}}'
    assert format.error(429, {}, body).retry_after == 12.5


@given(st.binary(max_size=60) | _json.map(lambda value: json.dumps({"error": value}).encode()), st.integers(0, 599))
def test_no_error_can_break_the_reader(body: bytes, status: int):
    problem = format.error(status, {}, body)
    assert problem.status >= 400
    assert problem.message


def test_the_module_is_a_format():
    assert Format.of(format).request is format.request
