"""OpenAI's Responses API: requests row by row, answers whole and streamed, and reasoning that comes back in the next turn."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.base import Asked, Format, Sent, Unsuited
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
from claude_relay.core.formats.openai import responses as format
from claude_relay.core.formats.openai.responses_memory import kept
from claude_relay.core.formats.sources import Source
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body, assert_claude_stream, splits

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "responses"
READ = Tool("Read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
CALL_A = Turn("assistant", (Call("a", "Read", {}),))
FRAME = b"\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c" + b"\x00" * 8 + b"\x00\x02\x02\x44\x01\x00"
STILL = b64encode(b"GIF89a" + b"\x00" * 7 + FRAME + b";").decode()
ANIMATED = b64encode(b"GIF89a" + b"\x00" * 7 + FRAME * 3 + b";").decode()
HELLO = (Turn("user", (Text("Hello"),)),)
SECRET = {"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAAA", "summary": []}


def ask(*turns: Turn, model: str = "gpt-4.1", recall: Any = None, options: Any = None, **said: Any) -> Sent:
    conversation = Conversation(model="claude-x", **{"max_tokens": 1000, "turns": turns or HELLO} | said)
    return format.request(Asked(conversation, model, options or {}, recall or {}))


def body_of(sent: Sent) -> dict[str, Any]:
    return json.loads(sent.body)


def items(*turns: Turn, **said: Any) -> list[dict[str, Any]]:
    return body_of(ask(*turns, **said))["input"]


# -- requests


def test_a_plain_request_holds_nothing_but_what_was_said():
    sent = ask(system=(Text("Be short."), Text("Be kind.")))
    assert sent.path == "/responses"
    assert body_of(sent) == {
        "model": "gpt-4.1",
        "instructions": "Be short.\n\nBe kind.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
        "max_output_tokens": 1000,
        "store": False,
    }
    assert sent.notes == ()


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (Text("a"), {"type": "input_text", "text": "a"}),
        (
            Image("image/png", "AAAA"),
            {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
        ),
        (Image(url="https://x/y.png"), {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}),
        (
            Document(data="JVBE", title="Report"),
            {"type": "input_file", "filename": "Report.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        ),
        (Document(url="https://x/y.pdf"), {"type": "input_file", "file_url": "https://x/y.pdf"}),
    ],
)
def test_a_part_is_written_alike_in_a_message_and_in_a_result(part, written):
    assert items(Turn("user", (part,)))[0]["content"] == [written]
    result = items(CALL_A, Turn("user", (Result("a", (Text("see"), part)),)))[1]["output"]
    assert result == ("see\na" if isinstance(part, Text) else [{"type": "input_text", "text": "see"}, written])


def test_calls_and_results_stand_beside_messages_and_results_come_first():
    written = items(
        Turn("assistant", (Text("I look."), Call("call_1", "Read", {"path": "ä"}), Call("call_2", "Read", {}))),
        Turn("user", (Text("And?"), Result("call_2", (Text("b"),)), Result("call_1", (Text("no"),), is_error=True))),
        tools=(READ,),
    )
    assert written == [
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "call_1", "name": "Read", "arguments": '{"path":"ä"}'},
        {"type": "function_call", "call_id": "call_2", "name": "Read", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_2", "output": "b"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Error: no"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]


def test_a_failed_result_with_a_picture_says_that_it_failed():
    result = Result("a", (Image(url="https://x/y.png"),), is_error=True)
    assert items(CALL_A, Turn("user", (result,)))[1]["output"][0] == {"type": "input_text", "text": "Error:"}
    assert items(CALL_A, Turn("user", (Result("a"),)))[1]["output"] == ""


def test_every_call_has_one_result_and_every_result_a_call():
    lonely = Turn("user", (Result("b", (Text("two"),)),))
    written = items(CALL_A, lonely, CALL_A)
    assert [item["type"] for item in written] == [
        "function_call", "function_call_output", "message", "function_call", "function_call_output",
    ]  # fmt: skip
    assert written[1]["output"] == "(no result)"
    assert [part["text"] for part in written[2]["content"]] == ["Result of an earlier call:", "two"]


def test_results_may_come_in_several_turns():
    calls = Turn("assistant", (Call("a", "Read", {}),)), Turn("assistant", (Call("b", "Read", {}),))
    results = Turn("user", (Result("a"),)), Turn("user", (Text("And"), Result("b", (Text("two"),))))
    written = items(*calls, *results)
    outputs = {item["call_id"]: item["output"] for item in written if item["type"] == "function_call_output"}
    assert outputs == {"a": "", "b": "two"}


def test_a_system_turn_in_mid_conversation_stays_in_its_place():
    written = items(*HELLO, Turn("system", (Text("Now in French."),)), *HELLO)
    assert [item["role"] for item in written] == ["user", "developer", "user"]


def test_thoughts_are_never_sent_as_text():
    turns = Turn("assistant", (Thinking("hm", foreign=True), Text("Yes."))), Turn("assistant", (Thinking("hm"),))
    sent = ask(*turns, *HELLO)
    assert [item["content"][0]["text"] for item in body_of(sent)["input"]] == ["Yes.", "Hello"]
    assert sent.notes == ("thinking: left out of earlier turns",)


def test_a_prefilled_answer_is_noted():
    assert [note.split(":")[0] for note in ask(*HELLO, Turn("assistant", (Text("{"),))).notes] == ["messages"]


def test_a_long_id_is_the_same_on_both_sides_and_names_are_mapped_back():
    name, id = "mcp.server/" + "x" * 90, "toolu_" + "y" * 90
    turns = (Turn("assistant", (Call(id, name, {}),)), Turn("user", (Result(id),)))
    sent = ask(*turns, tools=(Tool(name, "", {}),), choice=Choice("tool", name))
    body = body_of(sent)
    call, result = body["input"]
    short = body["tools"][0]["name"]
    assert call["call_id"] == result["call_id"]
    assert len(call["call_id"]) <= 64
    assert len(short) <= 64
    assert call["name"] == body["tool_choice"]["name"] == short
    assert sent.names == {short: name}


def test_a_tool_is_flat_and_not_strict_unless_its_schema_allows():
    optional = {"type": "object", "properties": {"a": {"type": "string"}}}
    whole = optional | {"required": ["a"], "additionalProperties": False}
    sent = ask(tools=(READ, Tool("A", "", optional, strict=True), Tool("B", "", whole, strict=True), Tool("C", "", {})))
    first, a, b, c = body_of(sent)["tools"]
    assert first == {
        "type": "function",
        "name": "Read",
        "description": "Reads a file.",
        "parameters": READ.schema,
        "strict": False,
    }
    assert (a["strict"], b["strict"]) == (False, True)
    assert c["parameters"] == {"type": "object", "properties": {}}
    assert any(note.startswith("tools.A.strict:") for note in sent.notes)


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (Choice(), {"tool_choice": "auto"}),
        (Choice("any"), {"tool_choice": "required"}),
        (Choice("none"), {"tool_choice": "none"}),
        (Choice("tool", "Read"), {"tool_choice": {"type": "function", "name": "Read"}}),
        (Choice("auto", parallel=False), {"tool_choice": "auto", "parallel_tool_calls": False}),
    ],
)
def test_the_choice_of_tools(choice, written):
    body = body_of(ask(tools=(READ,), choice=choice))
    assert {name: body[name] for name in body if "tool_" in name} == written
    assert "tool" not in "".join(body_of(ask(choice=choice)))


def test_a_web_search_becomes_that_of_the_provider():
    place = {"type": "approximate", "city": "Kyiv"}
    domains = {"allowed_domains": ["a.org"], "blocked_domains": ["b.a.org"]}
    sent = ask(web_search={"max_uses": 3, "user_location": place, **domains})
    body = body_of(sent)
    assert body["tools"] == [{"type": "web_search", "filters": domains, "user_location": place}]
    assert body["max_tool_calls"] == 3
    assert body["include"] == ["web_search_call.action.sources"]
    assert sent.notes == ()
    assert body_of(ask(web_search={}))["tools"] == [{"type": "web_search"}]


@pytest.mark.parametrize(
    ("tools", "choice"),
    [((), "required"), ((READ,), {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]})],
)
def test_a_search_that_is_demanded_stays_demanded(tools, choice):
    assert body_of(ask(web_search={}, tools=tools, choice=Choice("search")))["tool_choice"] == choice


@pytest.mark.parametrize(
    ("settings", "model", "field"),
    [
        ({"allowed_domains": [f"{n}.org" for n in range(101)]}, "gpt-5.6-sol", "allowed_domains"),
        ({"blocked_domains": ["a.org/blog"]}, "gpt-5.6-sol", "blocked_domains"),
        ({"allowed_domains": "a.org"}, "gpt-5.6-sol", "allowed_domains"),
        ({"blocked_domains": ["a.org"]}, "grok-4.6", "blocked_domains"),
        ({"user_location": {"type": "approximate", "city": "Bonn"}}, "grok-4.6", "user_location"),
        ({"allowed_domains": list("abcdef")}, "grok-4.6", "allowed_domains"),
    ],
)
def test_a_restriction_that_is_not_heeded_makes_the_provider_unsuited(settings, model, field):
    with pytest.raises(Unsuited, match=rf"tools\.web_search\.{field}"):
        ask(web_search=settings, model=model)


def test_sources_are_not_asked_for_where_the_server_does_not_know_them():
    assert "web_search_call.action.sources" not in body_of(ask(web_search={}, model="grok-4.6"))["include"]
    assert "include" not in body_of(ask(web_search={}, options={"search_sources": False}))


def test_the_other_fields():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    sent = ask(
        max_tokens=1, temperature=0.3, top_p=0.9, top_k=5, stops=("END",), schema=schema, user="u" * 200,
        tier="standard_only", stream=True,
    )  # fmt: skip
    body = body_of(sent)
    expected = {"max_output_tokens": 16, "temperature": 0.3, "top_p": 0.9, "service_tier": "default", "stream": True}
    assert body.items() >= expected.items()
    assert body["text"]["format"] == {"type": "json_schema", "name": "answer", "schema": schema, "strict": False}
    assert len(body["safety_identifier"]) == 64
    assert "u" * 20 not in str(body)
    assert {note.split(":")[0] for note in sent.notes} == {
        "max_tokens", "top_k", "stop_sequences", "metadata.user_id", "output_config.format",
    }  # fmt: skip
    assert "max_tokens: 1 raised to 16" in sent.notes


@pytest.mark.parametrize(
    ("model", "limit", "written", "note"),
    [
        ("gpt-4.1", 64_000, 32_768, "max_tokens: 64000 lowered to 32768, the most that gpt-4.1 gives"),
        ("gpt-5.6-sol", 128_000, 128_000, None),
        ("gpt-5.6-sol", 200_000, 128_000, "max_tokens: 200000 lowered to 128000, the most that gpt-5.6-sol gives"),
        ("gpt-4.1", 15, 16, "max_tokens: 15 raised to 16"),
        ("gpt-5.6-sol", 1, 16, "max_tokens: 1 raised to 16"),
        ("somebodys", 10**6, 10**6, None),
    ],
)
def test_the_limit_is_one_that_the_model_can_keep(model, limit, written, note):
    sent = ask(model=model, max_tokens=limit)
    assert body_of(sent)["max_output_tokens"] == written
    assert [line for line in sent.notes if line.startswith("max_tokens")] == ([note] if note else [])


def test_a_tier_that_is_not_known_is_noted():
    assert ask(model="grok-4.6", tier="standard_only").notes == ("service_tier: left out",)
    assert ask(model="grok-4.6", tier="auto").notes == ()


@pytest.mark.parametrize(
    ("model", "family"),
    [("prod-a", "gpt-5.6-sol"), ("prod-a", {"prod-*": "gpt-5.6-sol"}), ("my-gpt-5.6-sol-eu", None)],
)
def test_a_deployment_has_the_rules_of_its_family(model, family):
    options = {"family": family} if family else {}
    sent = ask(model=model, options=options, effort=Effort(asked=True, level="max"), temperature=0.5)
    body = body_of(sent)
    assert (body["model"], body["reasoning"]["effort"]) == (model, "max")
    assert "temperature" not in body
    assert [note.split(":")[0] for note in sent.notes] == ["temperature"]


def test_the_clients_name_for_a_model_says_what_it_is():
    conversation = Conversation("gpt-5.6-sol", 1000, HELLO, effort=Effort(asked=True, level="max"))
    assert body_of(format.request(Asked(conversation, "prod-a")))["reasoning"]["effort"] == "max"


def test_an_unknown_model_of_a_known_vendor_gets_the_newest_rules_and_a_note():
    sent = ask(model="gpt-7", effort=Effort(asked=True, level="max"), temperature=0.5)
    assert body_of(sent)["reasoning"]["effort"] == "max"
    assert sent.notes.count("model: gpt-7 is not known, the rules of gpt-6.2-astra are taken") == 1


def test_more_tools_than_the_model_takes_make_it_unsuited():
    tools = tuple(Tool(f"t{n}", "", {}) for n in range(128))
    assert len(body_of(ask(tools=tools))["tools"]) == 128
    with pytest.raises(Unsuited, match="tools: there are 129"):
        ask(tools=tools, web_search={})
    assert len(body_of(ask(tools=tools, web_search={}, options={"most_tools": 200}))["tools"]) == 129


def test_schemas_are_as_openai_takes_them_and_what_they_lose_is_noted():
    tool = Tool("A", "", {"type": "object", "anyOf": [{"required": ["a"]}], "properties": {"a": {"pattern": r"\p{L}"}}})
    sent = ask(tools=(tool,))
    parameters = body_of(sent)["tools"][0]["parameters"]
    assert parameters["required"] == ["a"]
    assert parameters["properties"] == {"a": {"description": r"Must match the regular expression \p{L}"}}
    assert sent.notes == (
        "tools.A.input_schema: anyOf at the root is told in the description",
        "tools.A.input_schema: a pattern is told in the description",
    )


@pytest.mark.parametrize(
    ("image", "model", "kind"),
    [
        (Image("image/bmp", "AAAA"), "gpt-5.6-sol", "image/bmp"),
        (Image("image/webp", "AAAA"), "grok-4.6", "image/webp"),
        (Image("image/gif", ANIMATED), "gpt-5.6-sol", "animated image/gif"),
    ],
)
def test_a_picture_that_the_model_cannot_see_is_a_line_of_text(image, model, kind):
    sent = ask(Turn("user", (image,)), model=model)
    assert kind in body_of(sent)["input"][0]["content"][0]["text"]
    assert sent.notes == (f"messages.image: {kind} becomes a line of text",)


@pytest.mark.parametrize(
    "image",
    [Image("image/gif", STILL), Image("image/gif", "no base64"), Image("image/jpg", "AA"), Image(url="https://x/y")],
)
def test_other_pictures_go_as_they_are(image):
    sent = ask(Turn("user", (image,)), model="gpt-5.6-sol")
    assert body_of(sent)["input"][0]["content"][0]["type"] == "input_image"
    assert sent.notes == ()


def test_a_document_keeps_its_title_where_it_has_no_name():
    (message,) = items(Turn("user", (Document(url="https://x/y.pdf", title="Report"),)))
    assert message["content"] == [
        {"type": "input_text", "text": "Report"},
        {"type": "input_file", "file_url": "https://x/y.pdf"},
    ]


@pytest.mark.parametrize(
    ("model", "effort", "written"),
    [
        ("gpt-5.5", Effort(), None),
        ("gpt-5.5", Effort(asked=True, level="high"), {"effort": "high", "summary": "auto"}),
        ("gpt-5.5", Effort(asked=True, level="max"), {"effort": "xhigh", "summary": "auto"}),
        ("gpt-5.6-sol", Effort(asked=True, level="max"), {"effort": "max", "summary": "auto"}),
        ("gpt-6-astra", Effort(asked=True, level="max"), {"effort": "max", "summary": "auto"}),
        ("gpt-6-astra", Effort(off=True), None),
        ("gpt-6.1-sol", Effort(off=True), None),
        ("gpt-6-luna", Effort(off=True), {"effort": "none"}),
        ("o3", Effort(asked=True, level="xhigh"), {"effort": "high", "summary": "auto"}),
        ("gpt-5", Effort(asked=True, budget=1024), {"effort": "low", "summary": "auto"}),
        ("gpt-5", Effort(asked=True, budget=31999), {"effort": "high", "summary": "auto"}),
        ("gpt-5.5", Effort(off=True), {"effort": "none"}),
        ("gpt-5", Effort(off=True), {"effort": "minimal"}),
        ("gpt-4.1", Effort(asked=True, level="high"), None),
    ],
)
def test_the_effort_is_what_the_model_knows(model, effort, written):
    assert body_of(ask(model=model, effort=effort)).get("reasoning") == written


@pytest.mark.parametrize(
    ("model", "effort", "note"),
    [
        ("gpt-5.5", Effort(asked=True, level="max"), "output_config.effort: max becomes xhigh"),
        ("gpt-5.5", Effort(asked=True, budget=5000), "thinking.budget_tokens: 5000 becomes effort medium"),
        ("gpt-5", Effort(off=True), "thinking: disabled becomes effort minimal"),
        ("gpt-6-astra", Effort(off=True), "thinking: left to the model"),
        ("gpt-5.5", Effort(asked=True, level="high"), None),
        ("gpt-5.5", Effort(asked=True), None),
        ("gpt-5.5", Effort(off=True), None),
    ],
)
def test_an_effort_that_becomes_another_is_noted(model, effort, note):
    assert ask(model=model, effort=effort).notes == ((note,) if note else ())


def test_a_reasoning_model_gives_its_reasoning_and_takes_no_sampling():
    sent = ask(model="gpt-5.5", temperature=0.3, top_p=0.9)
    body = body_of(sent)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert not {"temperature", "top_p"} & set(body)
    assert [note.split(":")[0] for note in sent.notes] == ["temperature", "top_p"]


def test_options_switch_off_what_a_server_does_not_know():
    options = {"encrypted_reasoning": False, "reasoning_summary": False, "reasoning_effort": False, "user_field": ""}
    effort = Effort(asked=True, level="high")
    sent = ask(model="gpt-5.5", options=options, effort=effort, user="me")
    assert not {"include", "reasoning", "safety_identifier"} & set(body_of(sent))
    assert sent.notes == ("thinking: left to the model", "metadata.user_id: left out")


def test_options_name_the_levels_of_a_model_that_is_not_known():
    effort = Effort(asked=True, level="max")
    body = body_of(ask(model="our-deployment", options={"reasoning_effort": ["low", "max"]}, effort=effort))
    assert body["reasoning"] == {"effort": "max", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"]
    body = body_of(ask(model="our-deployment", options={"reasoning_effort": True}, effort=effort))
    assert body["reasoning"]["effort"] == "high"
    assert "reasoning" not in body_of(ask(model="our-deployment", effort=effort))


def test_a_search_is_never_asked_for_with_the_least_effort():
    assert body_of(ask(model="gpt-5", effort=Effort(off=True), web_search={}))["reasoning"] == {"effort": "low"}


# -- answers


def translate(data: bytes, pieces: list[bytes] | None = None) -> tuple[bytes, Writer]:
    """A stream in Claude's form, and its writer."""
    writer = Writer("claude-x", "seed", stream=True)
    translation = Translation(Format.of(format), writer, {"content-type": "text/event-stream"}, stream=True)
    told = b"".join([translation.feed(piece) for piece in pieces or [data]]) + translation.end()
    assert translation.fault is None
    return told, writer


def transcript(name: str) -> bytes:
    return (TRANSCRIPTS / f"{name}.sse").read_bytes()


def last_response(name: str) -> dict[str, Any]:
    """What the last event of a transcript holds, which is what the answer had been without a stream."""
    return json.loads(transcript(name).rstrip().rpartition(b"data: ")[2])["response"]


USAGE = {
    "input_tokens": 150,
    "output_tokens": 90,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 50,
    "output_tokens_details": {"thinking_tokens": 64},
}


def thought(text: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def call(id: str, name: str, **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


ANSWERS = {
    "text": ("end_turn", [said("Grüße, Welt \u2028🌍")]),
    "reasoning_and_calls": (
        "tool_use",
        [
            thought("**Looking**\n\nThe file.\n\n**Then**\n\nThe diff."),
            said("I look."),
            call("call_a", "Read", path="a.py"),
            call("call_b", "Read", path="b.py"),
        ],
    ),
    "arguments_only_done": ("tool_use", [call("call_a", "Read", path="a.py"), call("call_b", "Grep", q="x")]),
    "mixed_calls": ("tool_use", [call("call_0", "Read", n=0), call("call_1", "Read", n=1)]),
    "refusal": ("refusal", [said("I cannot help with that.")]),
    "cut": ("max_tokens", [said("Half of")]),
    "filtered": ("refusal", [said("Half of")]),
    "web_search": (
        "end_turn",
        [
            thought("Search."),
            {
                "type": "server_tool_use",
                "id": "srvtoolu_relay_seed_0",
                "name": "web_search",
                "input": {"query": "weather; weather Bonn"},
            },
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srvtoolu_relay_seed_0",
                "content": [Source("https://example.com").result(), Source("https://b.example").result()],
            },
            said("Sunny ([example.com](https://example.com)).")
            | {"citations": [Source("https://example.com", "Weather").citation()]},
        ],
    ),
}


def assert_answer(message: dict[str, Any], name: str) -> None:
    reason, content = ANSWERS[name]
    assert message["stop_reason"] == reason
    assert [{key: block[key] for key in block if key != "signature"} for block in message["content"]] == content
    assert message["usage"].items() >= USAGE.items()


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_gives_the_same_answer_however_it_is_cut(name):
    data = transcript(name)
    for pieces in splits(data):
        told, writer = translate(data, pieces)
        assert_answer(assert_claude_stream(told), name)
        assert writer.finished
        assert writer.served_model == "gpt-5.5-2026-04-23"


@pytest.mark.parametrize("name", [name for name in ANSWERS if last_response(name)["output"]])
def test_a_whole_answer_and_a_lone_last_event_say_the_same_as_the_stream(name):
    writer = Writer("claude-x", "seed", stream=False)
    format.answer(last_response(name), writer)
    assert_answer(assert_claude_body(writer.whole()), name)
    data = transcript(name)
    lone, _ = translate(data[data.rindex(b"event: response.") :])
    assert_answer(assert_claude_stream(lone), name)


def test_a_call_leaves_before_its_answer_is_whole():
    data = transcript("reasoning_and_calls")
    begin = data[: data.index(b"event: response.function_call_arguments.done")]
    assert b'"partial_json":"{\\"path\\""' in translate(begin)[0]


@pytest.mark.parametrize(
    ("name", "type", "message"),
    [("failed", "api_error", "The model broke."), ("error", "rate_limit_error", "Slow down.")],
)
def test_a_failure_in_a_stream_is_an_error_and_no_end_of_turn(name, type, message):
    told, writer = translate(transcript(name))
    answer = assert_claude_stream(told)
    assert answer["error"] == {"type": type, "message": message}
    assert writer.failed


@pytest.mark.parametrize("response", [None, {}, {"status": "completed"}, {"status": "failed", "output": []}])
def test_a_failure_without_a_reason_is_one_all_the_same(response):
    writer = Writer("claude-x", "seed", stream=True)
    format.stream(writer).event("response.failed", {"response": response})
    assert assert_claude_stream(writer.take())["error"] == {
        "type": "api_error",
        "message": "the answer ended as failed",
    }


def test_a_stream_without_its_last_event_is_not_whole():
    told, writer = translate(transcript("cut_off"))
    assert not writer.finished
    assert assert_claude_stream(told, cut=True)["content"] == [said("Half of")]


def test_a_stream_that_ends_with_done_like_the_older_api_is_whole():
    writer = Writer("claude-x", "seed", stream=True)
    reader = format.stream(writer)
    reader.event("", {"type": "response.output_text.delta", "delta": "Hel"})
    reader.event("", {"type": "response.output_text.delta", "delta": "lo"})
    reader.end(done=True)
    assert assert_claude_stream(writer.take())["content"] == [said("Hello")]


def test_arguments_that_came_with_the_beginning_of_a_call_count_when_no_others_come():
    writer = Writer("claude-x", "seed", stream=True)
    reader = format.stream(writer)
    item = {"type": "function_call", "call_id": "a", "name": "Read", "arguments": '{"n":1}'}
    reader.event("", {"type": "response.output_item.added", "output_index": 0, "item": item})
    reader.event("", {"type": "response.completed", "response": {}})
    assert assert_claude_stream(writer.take())["content"] == [call("a", "Read", n=1)]


def test_thoughts_told_as_text_and_as_summary_are_told_once():
    writer = Writer("claude-x", "seed", stream=True)
    reader = format.stream(writer)
    place = {"output_index": 0, "item_id": "rs_1"}
    reader.event("", {"type": "response.output_item.added", **place, "item": {"type": "reasoning", "id": "rs_1"}})
    reader.event("", {"type": "response.reasoning_text.delta", **place, "content_index": 0, "delta": "Hm."})
    both = {"content": [{"type": "reasoning_text", "text": "Hm."}], "summary": [{"type": "summary_text", "text": "H"}]}
    item = {"type": "reasoning", "id": "rs_1", **both}
    reader.event("", {"type": "response.output_item.done", **place, "item": item})
    reader.event("", {"type": "response.completed", "response": {"output": [item]}})
    assert assert_claude_stream(writer.take())["content"][0]["thinking"] == "Hm."


@pytest.mark.parametrize(
    ("body", "type"),
    [
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "Slow."}}, "rate_limit_error"),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}, "invalid_request_error"),
        ({"status": "cancelled", "output": []}, "api_error"),
        ({"error": "broken"}, "api_error"),
        ({"status": "in_progress", "output": []}, "api_error"),
        ({}, "api_error"),
    ],
)
def test_an_answer_that_failed_is_an_error(body, type):
    writer = Writer("claude-x", "seed", stream=False)
    format.answer(body, writer)
    assert assert_claude_body(writer.whole())["error"]["type"] == type


ENDS = {
    "max_output_tokens": "max_tokens",
    "content_filter": "refusal",
    "max_messages": "pause_turn",
    "steered": "pause_turn",
    "something_new": "max_tokens",
    None: "max_tokens",
}


@pytest.mark.parametrize("reason", ENDS)
@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_that_is_not_whole_never_ends_the_turn(reason, streamed):
    message = {"type": "message", "content": [{"type": "output_text", "text": "Half of"}]}
    response = {"status": "incomplete", "incomplete_details": reason and {"reason": reason}, "output": [message]}
    writer = Writer("claude-x", "seed", stream=False)
    if streamed:
        format.stream(writer).event("", {"type": "response.incomplete", "response": response})
    else:
        format.answer(response, writer)
    assert assert_claude_body(writer.whole())["stop_reason"] == ENDS[reason]


def test_calls_of_an_answer_that_pauses_are_to_be_answered():
    call = {"type": "function_call", "call_id": "a", "name": "Read", "arguments": "{}"}
    writer = Writer("claude-x", "seed", stream=False)
    format.answer({"status": "incomplete", "incomplete_details": {"reason": "steered"}, "output": [call]}, writer)
    assert assert_claude_body(writer.whole())["stop_reason"] == "tool_use"


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelled", "failed", "expired", 5])
def test_a_status_that_is_no_end_is_an_error(status):
    message = {"type": "message", "content": [{"type": "output_text", "text": "Half of"}]}
    writer = Writer("claude-x", "seed", stream=False)
    format.answer({"status": status, "output": [message]}, writer)
    assert assert_claude_body(writer.whole())["error"]["type"] == "api_error"


def test_searches_are_counted_and_pages_that_are_opened_are_not():
    output = [
        {"type": "web_search_call", "id": "1", "status": "completed", "action": {"type": "search", "query": "a"}},
        {
            "type": "web_search_call",
            "id": "2",
            "status": "completed",
            "action": {"type": "open_page", "url": "https://a"},
        },
        {"type": "web_search_call", "id": "3", "status": "failed", "action": {"type": "search", "query": "b"}},
        {"type": "message", "content": [{"type": "output_text", "text": "So."}]},
    ]
    writer = Writer("claude-x", "seed", stream=False)
    format.answer({"status": "completed", "output": output}, writer)
    message = assert_claude_body(writer.whole())
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1
    assert [block["type"] for block in message["content"]] == ["text"]


def test_a_prompt_that_is_too_long_is_told_in_the_words_that_clients_know():
    error = {"message": "Your input exceeds the context window of this model.", "code": "context_length_exceeded"}
    problem = format.error(400, {}, json.dumps({"error": error}).encode())
    assert problem.message.startswith("prompt is too long")
    writer = Writer("claude-x", "seed", stream=True)
    format.stream(writer).event("error", {"type": "error", "error": error})
    assert b"prompt is too long" in writer.take()


def test_an_error_answer_keeps_its_code_and_its_wait():
    body = b'{"error": {"message": "You have no credit.", "type": "insufficient_quota", "code": "insufficient_quota"}}'
    problem = format.error(429, {"retry-after": "7"}, body)
    assert (problem.code, problem.message, problem.retry_after) == ("insufficient_quota", "You have no credit.", 7)


# -- reasoning over turns


def test_reasoning_is_given_back_before_the_call_that_it_led_to():
    told, writer = translate(transcript("reasoning_and_calls"))
    assert set(writer.memories) == {"call_a"}
    message = assert_claude_stream(told)
    calls = [Call(block["id"], block["name"], block["input"]) for block in message["content"][2:]]
    turns = (
        *HELLO,
        Turn("assistant", (Text("I look."), *calls)),
        Turn("user", (Result("call_a", (Text("1"),)), Result("call_b", (Text("2"),)))),
    )
    written = items(*turns, model="gpt-5.5", recall=writer.memories, tools=(READ,))
    assert [item["type"] for item in written] == [
        "message", "reasoning", "message", "function_call", "function_call", "function_call_output",
        "function_call_output",
    ]  # fmt: skip
    assert written[1] == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [
            {"type": "summary_text", "text": text} for text in ("**Looking**\n\nThe file.", "**Then**\n\nThe diff.")
        ],
        "encrypted_content": "gAAAA-secret-1",
    }
    assert written[2] == {
        "type": "message",
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "phase": "commentary",
        "content": [{"type": "output_text", "text": "I look.", "annotations": []}],
    }
    # The next turn gives it again, once.
    later = items(*turns, *turns, model="openai/gpt-5.5", recall=writer.memories)
    assert [item["type"] for item in later].count("reasoning") == 1


@pytest.mark.parametrize(
    ("memory", "options"),
    [
        (kept("gpt-5.4", [SECRET]), {}),
        (kept("gpt-5.5", [SECRET]).replace("openai-responses", "gemini"), {}),
        (kept("gpt-5.5", [SECRET]), {"encrypted_reasoning": False}),
        (kept("gpt-5.5", [{"type": "reasoning", "id": "rs_1", "summary": []}]), {}),
        ("no JSON", {}),
        ('{"format":"openai-responses","model":"gpt-5.5","items":7}', {}),
    ],
)
def test_what_was_not_thought_by_this_model_is_not_given_back(memory, options):
    turn = Turn("assistant", (Call("call_a", "Read", {}),))
    written = items(turn, model="gpt-5.5", recall={"call_a": memory}, options=options)
    assert [item["type"] for item in written] == ["function_call", "function_call_output"]
    for model, memory in {
        "gpt-5.5-2026-04-23": kept("gpt-5.5", [SECRET]),
        "mine": kept("gpt-5.5", [SECRET], "mine"),
    }.items():
        good = items(turn, model=model, recall={"call_a": memory})
        assert [item["type"] for item in good] == ["reasoning", "function_call", "function_call_output"]


def test_reasoning_before_something_that_is_not_given_back_is_forgotten():
    writer = Writer("claude-x", "seed", stream=False)
    call = {"type": "function_call", "call_id": "call_a", "name": "Read", "arguments": "{}"}
    search = {"type": "web_search_call", "id": "ws_1"}
    later = SECRET | {"encrypted_content": "later"}
    format.answer({"model": "gpt-5.5", "output": [SECRET, search, later, call]}, writer)
    assert [item["encrypted_content"] for item in json.loads(writer.memories["call_a"])["items"]] == ["later"]


# -- whatever comes

_KINDS = [
    *(json.loads(line[6:])["type"] for line in transcript("reasoning_and_calls").splitlines() if line.startswith(b"data")),
    "response.refusal.delta", "response.reasoning_text.done", "response.failed", "response.incomplete", "error",
]  # fmt: skip
_SCALARS = st.none() | st.booleans() | st.integers(-1, 2) | st.text(max_size=3) | st.lists(st.integers(), max_size=1)
_PARTS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["output_text", "summary_text", "refusal"]),
        "text": _SCALARS,
        "refusal": _SCALARS,
    },
)
_ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["message", "reasoning", "function_call", "web_search_call"]) | _SCALARS,
        "id": _SCALARS, "call_id": _SCALARS, "name": _SCALARS, "arguments": _SCALARS, "encrypted_content": _SCALARS,
        "content": st.lists(_PARTS | _SCALARS, max_size=2) | _SCALARS, "summary": st.lists(_PARTS, max_size=2) | _SCALARS,
    },
)  # fmt: skip
_RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "output": st.lists(_ITEMS | _SCALARS, max_size=3) | _SCALARS, "status": _SCALARS, "error": _SCALARS | _ITEMS,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "input_tokens_details"]), _SCALARS) | _SCALARS,
        "model": _SCALARS, "incomplete_details": _SCALARS,
    },
)  # fmt: skip
_EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(set(_KINDS)))},
    optional={
        "output_index": _SCALARS, "content_index": _SCALARS, "summary_index": _SCALARS, "item_id": _SCALARS,
        "delta": _SCALARS, "text": _SCALARS, "arguments": _SCALARS, "item": _ITEMS | _SCALARS,
        "response": _RESPONSES | _SCALARS, "error": _SCALARS,
    },
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(_EVENTS, max_size=8), st.booleans())
def test_odd_events_never_raise_and_never_make_an_odd_stream(events, done):
    writer = Writer("claude-x", "seed", stream=True)
    reader = format.stream(writer)
    for event in events:
        reader.event("", event)
    reader.end(done=done)
    if data := writer.take():
        assert_claude_stream(data, cut=not writer.finished, broken=True)
    for memory in writer.memories.values():
        assert msgspec.json.decode(memory)["format"] == "openai-responses"


@settings(max_examples=100, deadline=None)
@given(_RESPONSES)
def test_odd_answers_never_raise(body):
    writer = Writer("claude-x", "seed", stream=False)
    format.answer(body, writer)
    assert_claude_body(writer.whole())


def test_it_is_a_format():
    assert Format.of(format).count is None
