"""Requests to Gemini, row by row; its errors; and signatures that come back in the next turn."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.formats.claude import assert_claude_stream

from claude_relay.core.formats.base import Asked, Format, Sent, Unsuited
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Conversation,
    Document,
    Effort,
    Image,
    Part,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.gemini import requests as gemini
from claude_relay.core.formats.gemini.requests import PLACEHOLDER
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer

TRANSCRIPTS = Path(__file__).parent / "transcripts" / "gemini"
OLD, NEW = "gemini-2.5-flash", "gemini-3.1-pro-preview"
HELLO = Turn("user", (Text("Hello"),))
READ = Tool("Read", "Reads a file.", {"type": "object", "properties": {"path": {"type": "string"}}})
PICTURE = Image("image/png", data="AAAA")


def ask(*turns: Turn, model: str = OLD, options: Any = None, recall: Any = None, **said: Any) -> Sent:
    talk = Conversation(model="claude-x", **{"max_tokens": 1000, "turns": turns or (HELLO,)} | said)
    return gemini.request(Asked(talk, model, options or {}, recall or {}))


def body_of(*turns: Turn, **said: Any) -> dict[str, Any]:
    return json.loads(ask(*turns, **said).body)


def contents(*turns: Turn, **said: Any) -> list[dict[str, Any]]:
    return body_of(*turns, **said)["contents"]


def config(**said: Any) -> dict[str, Any]:
    return body_of(**said)["generationConfig"]


def user(*parts: Part) -> Turn:
    return Turn("user", parts)


def model(*parts: Part) -> Turn:
    return Turn("assistant", parts)


def call(id: str, name: str = "Read", **input: Any) -> Call:
    return Call(id, name, input)


def result(id: str, *parts: Any, **more: Any) -> Result:
    return Result(id, tuple(Text(part) if isinstance(part, str) else part for part in parts), **more)


def memory(signature: str | None = None, id: str | None = None, model: str = NEW) -> str:
    return json.dumps({"format": "gemini", "model": model, "signature": signature, "id": id})


# -- top level


def test_a_plain_request_holds_nothing_but_what_was_said():
    sent = ask(system=(Text("Be short."), Text("Be kind.")))
    assert sent.path == "/models/gemini-2.5-flash:generateContent"
    assert json.loads(sent.body) == {
        "systemInstruction": {"parts": [{"text": "Be short."}, {"text": "Be kind."}]},
        "contents": [{"role": "user", "parts": [{"text": "Hello"}]}],
        "generationConfig": {"maxOutputTokens": 1000},
    }
    assert sent.notes == ()


def test_a_stream_is_asked_for_in_the_path_alone():
    sent = ask(stream=True, model="models/gemini-x/y?")
    assert sent.path == "/models/gemini-x%2Fy%3F:streamGenerateContent?alt=sse"
    assert "stream" not in json.loads(sent.body)


def test_sampling_and_stops_have_their_names():
    sent = ask(temperature=0.0, top_p=0.5, top_k=40, stops=("a", "b", "c", "d", "e", "f"), user="me", tier="auto")
    assert json.loads(sent.body)["generationConfig"] == {
        "maxOutputTokens": 1000,
        "temperature": 0.0,
        "topP": 0.5,
        "topK": 40,
        "stopSequences": ["a", "b", "c", "d", "e"],
    }
    assert [note.partition(":")[0] for note in sent.notes] == ["stop_sequences", "metadata.user_id", "service_tier"]


def test_the_safety_threshold_is_an_option():
    settings = body_of(options={"safety": "BLOCK_NONE"})["safetySettings"]
    assert {setting["threshold"] for setting in settings} == {"BLOCK_NONE"}
    assert len({setting["category"] for setting in settings}) == 4


OFF, ADAPTIVE = Effort(off=True), Effort(asked=True)


@pytest.mark.parametrize(
    ("name", "effort", "thinking"),
    [
        ("gemini-2.5-flash", Effort(), None),
        ("gemini-2.5-flash", OFF, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", ADAPTIVE, {"includeThoughts": True, "thinkingBudget": -1}),
        ("gemini-2.5-flash", Effort(True, budget=8000), {"includeThoughts": True, "thinkingBudget": 8000}),
        ("gemini-2.5-flash", Effort(True, budget=31_999), {"includeThoughts": True, "thinkingBudget": 24_576}),
        ("gemini-2.5-flash-lite", Effort(True, budget=100), {"includeThoughts": True, "thinkingBudget": 512}),
        ("gemini-2.5-flash-lite", OFF, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", OFF, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", Effort(True, budget=40_000), {"includeThoughts": True, "thinkingBudget": 32_768}),
        ("gemini-2.5-pro", Effort(True, level="low"), {"includeThoughts": True, "thinkingBudget": 1024}),
        ("gemini-3-pro-preview", Effort(True, level="medium"), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-3-pro-preview", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", Effort(True, level="medium"), {"includeThoughts": True, "thinkingLevel": "MEDIUM"}),
        ("gemini-3.1-pro-preview", Effort(True, budget=1024), {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-3.1-pro-preview", Effort(True, budget=31_999), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", ADAPTIVE, {"includeThoughts": True}),
        ("gemini-3-flash-preview", OFF, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-flash-lite", OFF, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.8-flash", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-flash-latest", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-4-ultra", Effort(True, level="max"), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-2.0-flash", Effort(True, budget=8000), None),
        ("gemini-1.5-pro", OFF, None),
        ("gemma-3-27b-it", ADAPTIVE, None),
    ],
)
def test_thinking_follows_the_generation_of_the_model(name: str, effort: Effort, thinking: Any):
    assert config(model=name, effort=effort).get("thinkingConfig") == thinking


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def test_an_answer_in_json_has_its_schema():
    assert config(schema=SCHEMA) == {
        "maxOutputTokens": 1000,
        "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
    }


def test_before_gemini_3_a_schema_beside_tools_is_told_in_words():
    body = body_of(schema=SCHEMA, tools=(READ,))
    assert "responseMimeType" not in body["generationConfig"]
    assert json.dumps(SCHEMA, separators=(",", ":")) in body["systemInstruction"]["parts"][-1]["text"]
    assert "responseSchema" in config(schema=SCHEMA, tools=(READ,), model=NEW)


# -- tools


def test_tools_are_functions_and_an_empty_schema_is_left_out():
    body = body_of(tools=(READ, Tool("Now", "", {"type": "object", "properties": {}})))
    assert body["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "Read",
                    "description": "Reads a file.",
                    "parameters": {"type": "OBJECT", "properties": {"path": {"type": "STRING"}}},
                },
                {"name": "Now"},
            ]
        }
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}


@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        (Choice("auto"), {"mode": "AUTO"}),
        (Choice("any"), {"mode": "ANY"}),
        (Choice("none"), {"mode": "NONE"}),
        (Choice("tool", "Read"), {"mode": "ANY", "allowedFunctionNames": ["Read"]}),
    ],
)
def test_the_choice_of_a_tool(choice: Choice, mode: Any):
    assert body_of(tools=(READ,), choice=choice)["toolConfig"] == {"functionCallingConfig": mode}


def test_a_name_that_gemini_does_not_take_is_one_other_everywhere():
    name = "mcp/" + "x" * 100
    tool = Tool(name, "", {"properties": {"a": {"type": "string"}}})
    sent = ask(
        HELLO,
        model(call("t1", name)),
        user(result("t1", "ok")),
        tools=(tool, Tool("mcp.ok:1", "", {})),
        choice=Choice("tool", name),
    )
    body = json.loads(sent.body)
    (own,) = sent.names
    assert sent.names == {own: name}
    assert len(own) <= 64
    assert [declared["name"] for declared in body["tools"][0]["functionDeclarations"]] == [own, "mcp.ok:1"]
    assert body["contents"][1]["parts"][0]["functionCall"]["name"] == own
    assert body["contents"][2]["parts"][0]["functionResponse"]["name"] == own
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == [own]


def test_web_search_is_googles_unless_there_are_other_tools():
    assert body_of(web_search={"name": "web_search"})["tools"] == [{"googleSearch": {}}]
    mixed = ask(web_search={"name": "web_search"}, tools=(READ,))
    assert list(json.loads(mixed.body)["tools"][0]) == ["functionDeclarations"]
    assert any(note.startswith("tools.web_search") for note in mixed.notes)


def test_too_many_tools_cannot_be_asked():
    with pytest.raises(Unsuited):
        ask(tools=tuple(Tool(f"t{at}", "", {}) for at in range(513)))


def test_lossy_schemas_and_settings_are_noted():
    tool = Tool("T", "", {"properties": {"n": {"type": "number", "multipleOf": 2}}}, strict=True)
    notes = ask(tools=(tool,), choice=Choice(parallel=False)).notes
    assert [note.partition(":")[0] for note in notes] == [
        "tools.T.input_schema",
        "tools.T.strict",
        "tool_choice.disable_parallel_tool_use",
    ]


# -- contents


def test_neighbours_of_one_role_are_merged_and_thoughts_are_not_told():
    assert contents(
        HELLO,
        model(Thinking("hm", "sig")),
        user(Text("you")),
        Turn("system", (Text("Be brief."),)),
        model(Text("Hi"), Thinking("hm", "relay-foreign", foreign=True)),
        model(Text("there")),
    ) == [
        {"role": "user", "parts": [{"text": "Hello"}, {"text": "you"}, {"text": "<system>\nBe brief.\n</system>"}]},
        {"role": "model", "parts": [{"text": "Hi"}, {"text": "there"}]},
    ]


def test_responses_are_as_many_as_the_calls_and_in_their_order():
    found = contents(
        HELLO,
        model(Text("Look"), call("t1", path="a"), call("t2", "Grep"), call("t3")),
        user(Text("By the way"), result("t3", "three"), result("t1", "one", "more"), result("t9", "stray")),
        Turn("system", (Text("Note"),)),
    )
    assert found[1]["parts"][1] == {"functionCall": {"name": "Read", "args": {"path": "a"}}}
    assert [part["functionResponse"] for part in found[2]["parts"][:3]] == [
        {"name": "Read", "response": {"output": "one\nmore"}},
        {"name": "Grep", "response": {"error": "the call has no result"}},
        {"name": "Read", "response": {"output": "three"}},
    ]
    assert [part["text"] for part in found[2]["parts"][3:]] == [
        "Result of an earlier tool call:\nstray",
        "By the way",
        "<system>\nNote\n</system>",
    ]


def test_an_error_hides_no_output_beside_it():
    response = contents(HELLO, model(call("t1")), user(result("t1", "no file", is_error=True)))[2]["parts"][0]
    assert response["functionResponse"]["response"] == {"error": "no file"}


def test_a_result_without_content_is_an_empty_output():
    response = contents(HELLO, model(call("t1")), user(result("t1")))[2]["parts"][0]
    assert response["functionResponse"]["response"] == {"output": ""}


def test_a_call_at_the_very_end_or_beginning_has_its_user_turns():
    found = contents(model(call("t1")))
    assert [content["role"] for content in found] == ["user", "model", "user"]
    assert "functionResponse" in found[2]["parts"][0]


@pytest.mark.parametrize("name", [OLD, NEW])
def test_pictures_in_results_stand_where_the_model_takes_them(name: str):
    found = contents(HELLO, model(call("t1"), call("t2")), user(result("t1", "see", PICTURE), result("t2")), model=name)
    responses, inline = found[2]["parts"], {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert "functionResponse" in responses[1], "a picture stands between two responses"
    if name == NEW:
        assert responses[0]["functionResponse"]["parts"] == [inline]
        assert len(responses) == 2
    else:
        assert "parts" not in responses[0]["functionResponse"]
        assert responses[2] == inline


def test_files_go_inline_or_by_their_url():
    files = user(PICTURE, Document(data="BBBB"), Image(url="https://x.y/a.PNG?b=c"), Document(url="https://x.y/d"))
    assert contents(files)[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "BBBB"}},
        {"fileData": {"fileUri": "https://x.y/a.PNG?b=c", "mimeType": "image/png"}},
        {"fileData": {"fileUri": "https://x.y/d", "mimeType": "application/pdf"}},
    ]


@pytest.mark.parametrize("said", [{"model": "gemini-2.0-flash"}, {"options": {"url_files": False}}])
def test_a_url_that_cannot_be_fetched_is_told_as_text(said: Any):
    sent = ask(user(Image(url="https://x.y/a.png")), **said)
    assert json.loads(sent.body)["contents"][0]["parts"] == [{"text": "[image: https://x.y/a.png]"}]
    assert sent.notes


# -- signatures


def signatures(*turns: Turn, **said: Any) -> list[Any]:
    """The signature of each call, in order."""
    parts = [part for content in contents(*turns, **said) for part in content["parts"]]
    return [part.get("thoughtSignature") for part in parts if "functionCall" in part]


STEPS = (
    HELLO,
    model(call("a1"), call("a2")),
    user(result("a1"), result("a2")),
    model(Text("Done.")),
    user(Text("Again")),
    model(call("b1"), call("b2")),
    user(result("b1"), result("b2"), Text("a reminder")),
    model(Text("And"), call("c1")),
    user(result("c1")),
)


def test_the_first_call_of_each_step_of_this_turn_has_a_placeholder():
    assert signatures(*STEPS, model=NEW) == [None, None, PLACEHOLDER, None, PLACEHOLDER]
    assert signatures(*STEPS, model="gemini-flash-latest") == [None, None, PLACEHOLDER, None, PLACEHOLDER]


def test_older_models_get_no_placeholder():
    assert signatures(*STEPS, model=OLD) == [None] * 5


def test_signatures_go_back_on_their_own_call():
    recall = {"a1": memory("A1"), "b1": memory("B1"), "c1": memory("C1"), "b2": memory("B2")}
    assert signatures(*STEPS, model=NEW, recall=recall) == ["A1", None, "B1", "B2", "C1"]


@pytest.mark.parametrize(
    "kept",
    [
        memory("B1", "id", model="gemini-2.5-pro"),
        memory("B1", "id", model="gemini-3-flash-preview"),
        memory("B1", "id", model=""),
        memory("B1", "id").replace('"gemini"', '"openai-responses"'),
        "no JSON",
        "[1]",
    ],
)
def test_what_another_family_has_signed_is_never_sent(kept: str):
    sent = ask(*STEPS, model=NEW, recall={"b1": kept})
    assert b'"B1"' not in sent.body
    assert b'"id"' not in sent.body
    assert signatures(*STEPS, model=NEW, recall={"b1": kept})[2] == PLACEHOLDER


def test_a_name_of_ones_own_gets_back_what_it_has_signed():
    recall = {"b1": json.dumps({"format": "gemini", "model": "x-1", "asked": NEW, "signature": "B1", "id": None})}
    assert signatures(*STEPS, model=NEW, recall=recall)[2] == "B1"


def test_a_newer_minor_version_understands_the_signature():
    recall = {"b1": memory("B1", model="gemini-3.6-flash")}
    assert signatures(*STEPS, model="gemini-3.5-flash", recall=recall)[2] == "B1"


def test_ids_go_back_where_gemini_gave_them_on_call_and_response():
    found = contents(*STEPS[:3], model=NEW, recall={"a2": memory(id="fc/2")})
    assert [part["functionCall"].get("id") for part in found[1]["parts"]] == [None, "fc/2"]
    assert [part["functionResponse"].get("id") for part in found[2]["parts"]] == [None, "fc/2"]


def test_a_conversation_of_several_turns_keeps_its_signatures():
    one = Translation(
        Format.of(gemini), Writer("claude-x", "r1", stream=True), {"content-type": "text/event-stream"}, stream=True
    )
    data = one.feed((TRANSCRIPTS / "signed_calls.sse").read_bytes()) + one.end()
    calls = [Call(block["id"], block["name"], block["input"]) for block in assert_claude_stream(data)["content"]]
    results = tuple(result(made.id, made.input["path"]) for made in reversed(calls))
    found = contents(HELLO, model(*calls), user(*results), model=NEW, recall=one.memories, tools=(READ,))
    assert found[1:] == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "Read", "args": {"path": "a"}, "id": "fc_1"}, "thoughtSignature": "c2lnMQ=="},
                {"functionCall": {"name": "Read", "args": {"path": "b"}, "id": "fc/2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "Read", "response": {"output": "a"}, "id": "fc_1"}},
                {"functionResponse": {"name": "Read", "response": {"output": "b"}, "id": "fc/2"}},
            ],
        },
    ]


IDS = st.sampled_from(["t1", "t2", "t3"])
PARTS = st.one_of(
    st.builds(Text, st.sampled_from(["x", "y"])),
    st.builds(Thinking, st.just("hm")),
    st.builds(Call, IDS, st.sampled_from(["Read", "a/b"]), st.just({})),
    st.builds(Result, IDS, st.lists(st.sampled_from([Text("r"), PICTURE]), max_size=2).map(tuple), st.booleans()),
)
TURNS = st.builds(Turn, st.sampled_from(["user", "assistant"]), st.lists(PARTS, min_size=1, max_size=4).map(tuple))


@settings(max_examples=50, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=6), st.sampled_from([OLD, NEW]))
def test_any_conversation_becomes_one_that_gemini_takes(turns: list[Turn], name: str):
    # Only a model calls, only a user answers; the reader of Claude's requests sees to that.
    wrong = {"user": Call, "assistant": Result}
    turns = [Turn(t.role, tuple(p for p in t.parts if not isinstance(p, wrong[t.role])) or (Text("z"),)) for t in turns]
    found = contents(*turns, model=name)
    assert all(content["parts"] for content in found)
    assert all(one["role"] != other["role"] for one, other in pairwise(found))
    calls: list[str] = []
    for content in found:
        if content["role"] == "model":
            calls = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        else:
            answers = ["functionResponse" in part for part in content["parts"]]
            assert answers == sorted(answers, reverse=True), "something stands before a response"
            names = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
            assert names == calls
            calls = []
    assert not calls


# -- counting


def test_tokens_are_counted_with_everything_that_is_sent():
    talk = Conversation("claude-x", 1, (HELLO,), system=(Text("Be short."),), tools=(READ,))
    sent = gemini.count(Asked(talk, NEW))
    assert sent.path == f"/models/{NEW}:countTokens"
    whole = json.loads(gemini.request(Asked(talk, NEW)).body)
    kept = {name: whole[name] for name in ("contents", "systemInstruction", "tools")}
    assert json.loads(sent.body) == {"generateContentRequest": {"model": f"models/{NEW}"} | kept}
    assert gemini.counted({"totalTokens": 31}) == 31
    assert gemini.counted({"totalTokens": "x"}) == 0


# -- errors


def told(status: int, error: Any, headers: Any = None) -> tuple[Any, ...]:
    body = error if isinstance(error, bytes) else json.dumps(error).encode()
    problem = gemini.error(status, headers or {}, body)
    return problem.status, problem.type, problem.code


def google(status: str, message: str = "No.", **more: Any) -> dict[str, Any]:
    return {"error": {"code": 1, "message": message, "status": status} | more}


BAD_KEY = google(
    "INVALID_ARGUMENT", "API key not valid.", details=[{"reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
)
HIGH_DEMAND = "This model is currently experiencing high demand. Please try again later."


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, google("INVALID_ARGUMENT"), (400, "invalid_request_error", "INVALID_ARGUMENT")),
        (400, BAD_KEY, (401, "authentication_error", "API_KEY_INVALID")),
        (401, google("UNAUTHENTICATED"), (401, "authentication_error", "UNAUTHENTICATED")),
        (403, google("PERMISSION_DENIED"), (403, "permission_error", "PERMISSION_DENIED")),
        (404, google("NOT_FOUND"), (404, "not_found_error", "NOT_FOUND")),
        (429, google("RESOURCE_EXHAUSTED"), (429, "rate_limit_error", "RESOURCE_EXHAUSTED")),
        (429, [google("RESOURCE_EXHAUSTED")], (429, "rate_limit_error", "RESOURCE_EXHAUSTED")),
        (200, google("RESOURCE_EXHAUSTED"), (429, "rate_limit_error", "RESOURCE_EXHAUSTED")),
        (500, google("INTERNAL"), (500, "api_error", "INTERNAL")),
        (503, google("UNAVAILABLE"), (503, "api_error", "UNAVAILABLE")),
        (503, google("UNAVAILABLE", "The service is currently unavailable."), (503, "api_error", "UNAVAILABLE")),
        (503, google("UNAVAILABLE", "The model is overloaded."), (529, "overloaded_error", "UNAVAILABLE")),
        (503, google("UNAVAILABLE", HIGH_DEMAND), (529, "overloaded_error", "UNAVAILABLE")),
        (200, google("UNAVAILABLE", HIGH_DEMAND), (529, "overloaded_error", "UNAVAILABLE")),
        (200, google("UNAVAILABLE"), (503, "api_error", "UNAVAILABLE")),
        (503, b"<html><title>503</title></html>", (503, "api_error", "")),
        (529, b"", (529, "overloaded_error", "")),
        (
            429,
            google("RESOURCE_EXHAUSTED", "Quota exceeded: overload"),
            (429, "rate_limit_error", "RESOURCE_EXHAUSTED"),
        ),
        (504, google("DEADLINE_EXCEEDED"), (504, "timeout_error", "DEADLINE_EXCEEDED")),
        (502, b"", (502, "api_error", "")),
    ],
)
def test_errors_have_claudes_status_and_type(status: int, error: Any, expected: Any):
    assert told(status, error) == expected


def test_a_daily_quota_is_told_apart_with_its_delay():
    problem = gemini.error(429, {}, (TRANSCRIPTS / "quota.json").read_bytes())
    assert (problem.status, problem.code, problem.retry_after) == (429, "DAILY_QUOTA", 35640.5)


def test_the_headers_tell_the_wait_where_the_body_does_not():
    body = json.dumps(google("RESOURCE_EXHAUSTED")).encode()
    assert gemini.error(429, {"retry-after": "7"}, body).retry_after == 7.0


def test_a_prompt_that_is_too_long_is_told_so_that_clients_shorten_it():
    message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    problem = gemini.error(400, {}, json.dumps(google("INVALID_ARGUMENT", message)).encode())
    assert (problem.status, problem.type) == (400, "invalid_request_error")
    assert problem.message.startswith("prompt is too long: 1200000 tokens > 1048576")
