"""Requests to Gemini, row by row; and its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.formats.base import Asked, Unsuited
from claude_relay.core.formats.conversation import (
    Choice,
    Conversation,
    Effort,
    Text,
    Tool,
)
from claude_relay.core.formats.gemini import requests as gemini
from claude_relay.core.formats.gemini.models import FAMILIES

from .asking import HELLO, NEW, OLD, READ, ask, body_of, call, config, model, result, user

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "gemini"
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
    sent = ask(
        temperature=0.0, top_p=0.5, top_k=40, stops=("a", "b", "c", "d", "e", "f"), user="me", tier="standard_only"
    )
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


OFF, ADAPTIVE, HIGH = Effort(off=True), Effort(asked=True), Effort(asked=True, level="high")
THOUGHTS = {"includeThoughts": True}


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
        ("gemini-pro-latest", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-flash-lite-latest", OFF, {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.7-flash", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-3.5-flash", OFF, {"thinkingLevel": "MINIMAL"}),
        ("gemini-4-argon", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-4-argon", Effort(True, level="max"), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-4-carbon", Effort(True, level="xhigh"), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-4-neon", Effort(True, level="max"), {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-4-hydrogen", Effort(True, level="xhigh"), {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-4-hydrogen", Effort(True, budget=31_999), {"includeThoughts": True, "thinkingLevel": "XHIGH"}),
        ("gemini-4-ultra", Effort(True, level="max"), {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("gemini-5.1-flash", OFF, {"thinkingLevel": "LOW"}),
        ("gemini-robotics-er-2-preview", Effort(True, level="low"), {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("gemini-2.5-flash-image", ADAPTIVE, None),
        ("gemini-2.0-flash", Effort(True, budget=8000), None),
        ("gemini-1.5-pro", OFF, None),
        ("gemma-3-27b-it", ADAPTIVE, None),
    ],
)
def test_thinking_follows_the_generation_of_the_model(name: str, effort: Effort, thinking: Any):
    assert config(model=name, effort=effort).get("thinkingConfig") == thinking


def notes(**said: Any) -> list[str]:
    return list(ask(**said).notes)


@pytest.mark.parametrize(
    ("name", "effort", "note"),
    [
        ("gemini-4-argon", Effort(True, level="max"), "output_config.effort: max becomes high"),
        ("gemini-3-pro-preview", Effort(True, level="medium"), "output_config.effort: medium becomes high"),
        ("gemini-4-neon", Effort(True, level="max"), "output_config.effort: max becomes xhigh"),
        ("gemini-4-neon", Effort(True, level="xhigh"), None),
        ("gemini-4-neon", Effort(True, level="high"), None),
        ("gemini-4-neon", ADAPTIVE, None),
        ("gemini-4-neon", Effort(True, budget=8000), "thinking.budget_tokens: 8000 becomes level MEDIUM"),
        ("gemini-4-neon", OFF, "thinking: cannot be switched off in this model, level LOW"),
        ("gemini-4-neon", Effort(True, budget=800, level="low"), "thinking.budget_tokens: left out, as output_config.effort counts"),
        ("gemini-2.5-flash", Effort(True, level="high"), "output_config.effort: high becomes 24576 tokens of thinking"),
        ("gemini-2.5-flash", Effort(True, budget=800, level="low"), "output_config.effort: left out, as thinking.budget_tokens counts"),
        ("gemini-2.5-flash", Effort(True, budget=800), None),
        ("gemini-2.5-flash", OFF, None),
        ("gemini-2.5-flash", Effort(off=True, level="low"), "output_config.effort: left out, as thinking is off"),
        ("gemini-2.5-pro", Effort(True, budget=40_000), "thinking.budget_tokens: 40000 becomes 32768 tokens of thinking"),
        ("gemini-2.5-pro", OFF, "thinking: cannot be switched off in this model, 128 tokens"),
        ("gemini-2.0-flash", OFF, "thinking: left out, this model has none"),
        ("gemini-2.0-flash", ADAPTIVE, "thinking: left out, this model has none"),
        ("gemma-3-27b-it", OFF, "thinking: left out, this model has none"),
    ],
)  # fmt: skip
def test_what_becomes_of_an_effort_is_noted(name: str, effort: Effort, note: str | None):
    assert notes(model=name, effort=effort, max_tokens=60_000 if "2.5" in name else 8000) == ([note] if note else [])


@pytest.mark.parametrize(
    ("name", "stream", "most"),
    [
        ("gemini-2.0-flash", True, 8192),
        ("gemini-2.5-pro", False, 65_536),
        ("gemini-3.8-flash", False, 65_536),
        ("gemini-4-hydrogen", False, 65_536),
        ("gemini-4-argon", True, 65_536),
        ("gemini-4-argon", False, 32_768),
        ("gemini-9-x", True, 65_536),
    ],
)
def test_a_limit_is_at_most_what_the_model_gives(name: str, stream: bool, most: int):
    assert config(model=name, stream=stream, max_tokens=most)["maxOutputTokens"] == most
    sent = ask(model=name, stream=stream, max_tokens=most + 1)
    assert json.loads(sent.body)["generationConfig"]["maxOutputTokens"] == most
    assert f"max_tokens: {most + 1} becomes {most}, the most of this model" in sent.notes


def test_the_limit_of_a_model_that_is_not_known_stays():
    assert config(model="gemma-3-27b-it", max_tokens=10**6) == {"maxOutputTokens": 10**6}


@pytest.mark.parametrize(
    ("name", "effort", "limit", "expected", "noted"),
    [
        ("gemini-2.5-flash", Effort(), 1, (1, {"thinkingBudget": 0}), ["thinking"]),
        ("gemini-2.5-flash", Effort(), 512, (512, None), []),
        ("gemini-2.5-flash", OFF, 1, (1, {"thinkingBudget": 0}), []),
        ("gemini-2.5-flash", ADAPTIVE, 100, (1124, THOUGHTS | {"thinkingBudget": -1}), ["max_tokens"]),
        ("gemini-2.5-pro", Effort(), 64, (1088, {"thinkingBudget": 128}), ["thinking", "max_tokens"]),
        ("gemini-2.5-pro", Effort(True, budget=2000), 600, (2600, THOUGHTS | {"thinkingBudget": 2000}), ["max_tokens"]),
        ("gemini-2.5-flash-lite", Effort(True, budget=512), 512, (1536, THOUGHTS | {"thinkingBudget": 512}), ["max_tokens"]),
        ("gemini-2.5-flash", HIGH, 9000, (9000, THOUGHTS | {"thinkingBudget": 4500}), ["output_config.effort", "thinking"]),
        ("gemini-2.5-flash", HIGH, 600, (1624, THOUGHTS | {"thinkingBudget": 1024}), ["output_config.effort", "thinking", "max_tokens"]),
        ("gemini-4-neon", Effort(), 1, (1025, {"thinkingLevel": "LOW"}), ["thinking", "max_tokens"]),
        ("gemini-3.6-flash", Effort(), 1, (1025, {"thinkingLevel": "MINIMAL"}), ["thinking", "max_tokens"]),
        ("gemini-4-neon", HIGH, 1, (1025, THOUGHTS | {"thinkingLevel": "HIGH"}), ["max_tokens"]),
        ("gemini-2.0-flash", Effort(), 1, (1, None), []),
    ],
)  # fmt: skip
def test_a_limit_leaves_room_for_thoughts(name: str, effort: Effort, limit: int, expected: Any, noted: list[str]):
    sent = ask(model=name, effort=effort, max_tokens=limit)
    found = json.loads(sent.body)["generationConfig"]
    assert (found["maxOutputTokens"], found.get("thinkingConfig")) == expected
    assert [note.partition(":")[0] for note in sent.notes] == noted


def test_tokens_are_counted_without_a_limit():
    talk = Conversation("claude-x", 0, (HELLO,))
    assert gemini.count(Asked(talk, "gemini-4-neon")).notes == ()


@pytest.mark.parametrize("name", ["gemini-3.6-flash", "gemini-flash-lite-latest", "gemini-4-carbon", "gemini-7-x"])
def test_models_that_take_no_heed_of_sampling_are_not_given_any(name: str):
    sent = ask(model=name, temperature=0.0, top_p=0.5, top_k=40)
    assert json.loads(sent.body)["generationConfig"] == {"maxOutputTokens": 1000}
    assert [note.partition(":")[0] for note in sent.notes if "no heed" in note] == ["temperature", "top_p", "top_k"]


@pytest.mark.parametrize(("tier", "noted"), [("", False), ("auto", False), ("standard_only", True), ("flex", True)])
def test_a_service_tier_is_noted_when_it_says_something(tier: str, noted: bool):
    assert bool(notes(tier=tier)) is noted


# -- models


@pytest.mark.parametrize("name", ["gemini-5-pro", "gemini-4-xenon", "gemini-3.9-flash", "models/gemini-omni-9-flash"])
def test_a_model_that_is_not_known_has_the_rules_of_the_newest_and_a_note(name: str):
    found = notes(model=name)
    assert found == [f"model: {name.removeprefix('models/')} is not known, taken for one of the newest family"]


@pytest.mark.parametrize(
    "name", ["gemini-4-neon", "gemini-2.5-flash-preview-05-20", "gemini-pro-latest", "gemma-4-31b-it", "mine"]
)
def test_other_models_have_no_note(name: str):
    assert notes(model=name) == []


def test_a_name_of_ones_own_may_name_its_family():
    sent = ask(model="my-deployment", options={"family": "gemini-4-neon"}, effort=Effort(True, level="max"))
    assert sent.path == "/models/my-deployment:generateContent"
    assert json.loads(sent.body)["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "XHIGH"


def test_every_family_has_its_source_and_is_reached():
    for names, family in FAMILIES:
        assert family.source
        assert family.date >= "2026-11-22"
        assert not (family.levels and family.budget)
        assert family.newest is (names.pattern == "gemini-.*")
    assert [family.names for _, family in FAMILIES[-2:]] == ["gemini-.*", ".*"]


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


SEARCH: dict[str, Any] = {"name": "web_search"}


def test_web_search_is_googles():
    body = body_of(web_search=SEARCH)
    assert body["tools"] == [{"googleSearch": {}}]
    assert "toolConfig" not in body


@pytest.mark.parametrize("name", ["gemini-2.5-flash", "gemini-2.5-pro", "mine"])
def test_older_models_do_not_search_beside_other_tools(name: str):
    sent = ask(web_search=SEARCH, tools=(READ,), model=name)
    assert [list(tool) for tool in json.loads(sent.body)["tools"]] == [["functionDeclarations"]]
    assert sent.notes == ("tools.web_search: left out, this model does not search beside other tools",)


@pytest.mark.parametrize("name", ["gemini-3-flash-preview", "gemini-3.8-flash", "gemini-4-neon"])
def test_from_gemini_3_on_the_search_works_beside_other_tools(name: str):
    body = body_of(web_search=SEARCH, tools=(READ,), model=name)
    assert [list(tool) for tool in body["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert body["toolConfig"] == {
        "functionCallingConfig": {"mode": "VALIDATED"},
        "includeServerSideToolInvocations": True,
    }
    forced = body_of(web_search=SEARCH, tools=(READ,), model=name, choice=Choice("tool", "Read"))["toolConfig"]
    assert forced["functionCallingConfig"] == {"mode": "ANY", "allowedFunctionNames": ["Read"]}


def test_whether_the_search_works_beside_other_tools_is_an_option():
    off = body_of(web_search=SEARCH, tools=(READ,), model=NEW, options={"search_beside_tools": False})
    assert (len(off["tools"]), "includeServerSideToolInvocations" in off["toolConfig"]) == (1, False)
    on = body_of(web_search=SEARCH, tools=(READ,), options={"search_beside_tools": True})
    assert (len(on["tools"]), on["toolConfig"]["includeServerSideToolInvocations"]) == (2, True)


@pytest.mark.parametrize("name", [OLD, NEW])
@pytest.mark.parametrize("tools", [(), (READ,)])
def test_a_search_that_is_demanded_is_all_that_is_offered(name: str, tools: Any):
    sent = ask(web_search=SEARCH, tools=tools, model=name, choice=Choice("search"), system=(Text("Be short."),))
    body = json.loads(sent.body)
    assert body["tools"] == [{"googleSearch": {}}]
    assert "toolConfig" not in body
    assert [part["text"] for part in body["systemInstruction"]["parts"]][1].startswith("Search the web")
    fields = [note.partition(":")[0] for note in sent.notes]
    assert fields == (["tools", "tool_choice"] if tools else ["tool_choice"])


@pytest.mark.parametrize("setting", ["allowed_domains", "blocked_domains", "user_location"])
def test_a_search_that_is_restricted_goes_elsewhere(setting: str):
    restricted = SEARCH | {setting: {"city": "Rome"} if setting == "user_location" else ["a.org"]}
    for said in ({}, {"tools": (READ,), "model": NEW}, {"choice": Choice("search")}):
        with pytest.raises(Unsuited, match=rf"^tools\.web_search\.{setting}: "):
            ask(web_search=restricted, **said)


def test_domains_are_excluded_where_that_is_known():
    body = body_of(web_search=SEARCH | {"blocked_domains": ["a.org"]}, options={"exclude_domains": True})
    assert body["tools"] == [{"googleSearch": {"excludeDomains": ["a.org"]}}]
    with pytest.raises(Unsuited):
        ask(web_search=SEARCH | {"allowed_domains": ["a.org"]}, options={"exclude_domains": True})


def test_how_often_may_be_searched_is_noted():
    assert notes(web_search=SEARCH | {"max_uses": 3}) == ["tools.web_search.max_uses: left out"]


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


def test_tools_are_counted_as_they_are_sent():
    talk = Conversation("claude-x", 1, (HELLO,), tools=(READ,), web_search=SEARCH)
    counted = json.loads(gemini.count(Asked(talk, NEW)).body)["generateContentRequest"]
    assert counted["toolConfig"]["includeServerSideToolInvocations"] is True


# -- errors


def problem_of(status: int, error: Any, headers: Any = None) -> tuple[Any, ...]:
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
    assert problem_of(status, error) == expected


def test_a_daily_quota_is_sorted_out_with_its_delay():
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
