"""Gemini's answers, whole and in pieces, as Claude's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.core.formats.base import Format
from claude_relay.core.formats.gemini import requests as gemini
from claude_relay.core.formats.gemini.answers import MOST_KEPT, Reader, problem_of
from claude_relay.core.formats.gemini.finish_reasons import ENDINGS
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body, assert_claude_stream, feed_all_ways, splits

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "gemini"
SSE = {"content-type": "text/event-stream"}
FORMAT = Format.of(gemini)
NAMES = {"mcp_files_list": "mcp/files/list"}


def translation(stream: bool = True) -> Translation:
    return Translation(
        FORMAT, Writer("claude-x", "r1", stream=stream, names=NAMES), SSE if stream else {}, stream=stream
    )


def streamed(name: str) -> dict[str, Any]:
    """The message of a transcript, which is the same however its bytes are cut."""
    messages = list(feed_all_ways(translation, (TRANSCRIPTS / name).read_bytes()))
    assert all(message == messages[0] for message in messages)
    return messages[0]


def read(*events: Any) -> dict[str, Any]:
    """The message of these events, sent as a stream."""
    one = translation()
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
    return assert_claude_stream(one.feed(data) + one.end())


def finished(reason: str, *parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": reason} | more]}


def texts(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def test_text_is_joined_without_anything_between():
    message = streamed("text.sse")
    assert message["content"] == [{"type": "text", "text": "Hello,\u2028wörld."}]
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] == 12
    assert message["usage"]["output_tokens"] == 4


def test_stop_in_every_event_does_not_end_the_answer():
    message = streamed("stop_everywhere.sse")
    assert texts(message) == "One two three"
    assert message["usage"]["output_tokens"] == 3


def test_thoughts_are_counted_and_a_signed_text_is_text():
    message = streamed("thinking.sse")
    thought, answer = message["content"]
    assert (thought["type"], thought["thinking"]) == ("thinking", "Let me see.")
    assert answer == {"type": "text", "text": "42"}
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (9, 15)
    assert (usage["output_tokens"], usage["output_tokens_details"]["thinking_tokens"]) == (32, 30)


def test_several_calls_of_one_name_each_have_their_own_id():
    message = streamed("calls.sse")
    _, *calls = message["content"]
    assert [(call["name"], call["input"]) for call in calls] == [
        ("Read", {"path": "a"}),
        ("Read", {"path": "b"}),
        ("mcp/files/list", {}),
    ]
    assert len({call["id"] for call in calls}) == 3
    assert message["stop_reason"] == "tool_use"


def test_signatures_and_ids_are_remembered_under_the_id_of_the_call():
    for pieces in splits((TRANSCRIPTS / "signed_calls.sse").read_bytes()):
        one = translation()
        message = assert_claude_stream(b"".join(map(one.feed, pieces)) + one.end())
        first, second = message["content"]
        memories = {id: json.loads(memory) for id, memory in one.memories.items()}
        common = {"format": "gemini", "model": "gemini-3.1-pro-preview", "asked": ""}
        assert memories == {
            first["id"]: common | {"signature": "c2lnMQ==", "id": "fc_1"},
            second["id"]: common | {"signature": None, "id": "fc/2"},
        }


def test_calls_without_signature_and_id_leave_nothing_to_remember():
    one = translation()
    one.feed((TRANSCRIPTS / "calls.sse").read_bytes())
    one.end()
    assert not one.memories


def test_an_answer_of_thoughts_alone_may_be_empty():
    message = streamed("max_tokens.sse")
    assert (message["content"], message["stop_reason"]) == ([], "max_tokens")
    assert message["usage"]["output_tokens"] == 64


def test_what_a_filter_withheld_is_a_refusal_whatever_comes_after_it():
    message = streamed("safety.sse")
    assert (texts(message), message["stop_reason"]) == ("Well, ", "refusal")


def test_a_refused_prompt_is_a_refusal_that_says_why():
    message = streamed("blocked.sse")
    assert message["stop_reason"] == "refusal"
    assert texts(message) == "Gemini refused the prompt (PROHIBITED_CONTENT): Not this."


def test_a_call_that_the_model_got_wrong_is_no_end_of_the_turn():
    message = streamed("malformed.sse")
    assert message["error"] == {
        "type": "api_error",
        "message": "Gemini stopped (MALFORMED_FUNCTION_CALL): Malformed function call: Read(path=",
    }
    assert texts(message) == "I call."


def test_what_googles_own_tools_did_is_told_as_text():
    assert texts(streamed("code.sse")) == "So:\n```python\nprint(1)\n```\n\n```\n1\n```\n[image/png]"


@pytest.mark.parametrize(("name", "type"), [("error.sse", "overloaded_error"), ("bare_error.sse", "rate_limit_error")])
def test_an_error_in_the_stream_is_the_last_of_it(name: str, type: str):
    message = streamed(name)
    assert message["type"] == "error"
    assert message["error"]["type"] == type
    assert texts(message) == "Half"


def test_a_stream_without_a_reason_to_finish_has_no_end():
    one = translation()
    message = assert_claude_stream(one.feed((TRANSCRIPTS / "cut.sse").read_bytes()) + one.end(), cut=True)
    assert texts(message) == "Half an answer"


def test_odd_values_are_passed_over():
    message = streamed("odd.sse")
    assert [(block["name"], block["input"]) for block in message["content"]] == [("Read", {})]
    assert message["stop_reason"] == "tool_use"


# fmt: off
REFUSALS = [
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
]
# fmt: on
STOPS = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "max_tokens": "max_tokens",
    "CONTINUATION": "pause_turn",
    "TOO_MANY_TOOL_CALLS": "pause_turn",
    **dict.fromkeys(REFUSALS, "refusal"),
}
FAULTS = {
    "MALFORMED_FUNCTION_CALL": "api_error",
    "UNEXPECTED_TOOL_CALL": "api_error",
    "MALFORMED_RESPONSE": "api_error",
    "MISSING_THOUGHT_SIGNATURE": "invalid_request_error",
    "PUP_LIMITED_DISABLED": "permission_error",
    "OTHER": "api_error",
    "NO_IMAGE": "api_error",
    "IMAGE_OTHER": "api_error",
    "INVENTED_TOMORROW": "api_error",
}


@pytest.mark.parametrize(("reason", "stop"), STOPS.items())
def test_reasons_to_finish(reason: str, stop: str):
    assert read(finished(reason, {"text": "Hi"}))["stop_reason"] == stop


@pytest.mark.parametrize(("reason", "type"), FAULTS.items())
@pytest.mark.parametrize("part", [{"text": "Hi"}, {"functionCall": {"name": "Read", "args": {}}}])
def test_what_is_no_end_is_an_error(reason: str, type: str, part: Any):
    message = read(finished(reason, part, finishMessage="Because."))
    assert message["error"] == {"type": type, "message": f"Gemini stopped ({reason}): Because."}
    writer = Writer("claude-x", "r1", stream=False)
    gemini.answer(finished(reason, part), writer)
    assert assert_claude_body(writer.whole())["error"]["type"] == type


def test_every_reason_of_googles_sdk_is_known():
    assert STOPS.keys() | FAULTS.keys() == ENDINGS.keys() | {"INVENTED_TOMORROW", "max_tokens"}


@pytest.mark.parametrize("reason", ["CONTINUATION", "TOO_MANY_TOOL_CALLS"])
def test_whole_calls_are_for_the_client_even_where_the_model_would_go_on(reason: str):
    message = read(finished(reason, {"functionCall": {"name": "Read", "args": {}}}))
    assert [block["type"] for block in message["content"]] == ["tool_use"]
    assert message["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    "reason",
    ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "NEW_ONE"],
)
def test_a_blocked_prompt_is_a_refusal_whatever_the_reason(reason: str):
    message = read({"promptFeedback": {"blockReason": reason}})
    assert (message["stop_reason"], texts(message)) == ("refusal", f"Gemini refused the prompt ({reason})")


@pytest.mark.parametrize("reason", ["BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"])
def test_a_prompt_is_blocked_for_a_reason(reason: str):
    writer = Writer("claude-x", "r1", stream=False)
    gemini.answer({"promptFeedback": {"blockReason": reason}}, writer)
    assert assert_claude_body(writer.whole())["error"]["type"] == "api_error"


def test_a_reason_that_is_not_told_is_none():
    one = translation()
    data = b"data: " + json.dumps(finished("FINISH_REASON_UNSPECIFIED", {"text": "Hi"})).encode() + b"\n\n"
    assert_claude_stream(one.feed(data) + one.end(), cut=True)


# -- searches


def result(url: str, title: str) -> dict[str, Any]:
    return {"type": "web_search_result", "url": url, "title": title, "encrypted_content": FOREIGN}


def cited(message: dict[str, Any]) -> list[list[str]]:
    """The addresses that each text cites."""
    blocks = [block for block in message["content"] if block["type"] == "text"]
    return [[citation["url"] for citation in block.get("citations") or ()] for block in blocks]


REDIRECT = "https://vertexaisearch.cloud.google.com/grounding-api-redirect"


def test_what_a_whole_answer_has_searched_stands_before_its_text():
    one = translation(stream=False)
    message = assert_claude_body(one.feed((TRANSCRIPTS / "grounded.json").read_bytes()) + one.end())
    assert [block["type"] for block in message["content"]] == [
        "server_tool_use",
        "web_search_tool_result",
        "thinking",
        "text",
    ]
    search, found, _, said = message["content"]
    assert search["input"] == {"query": "people of rome; age of rome"}
    assert found["content"] == [
        result(f"{REDIRECT}/A", "istat.it") | {"page_age": None},
        result(f"{REDIRECT}/B", "unesco.org") | {"page_age": None},
    ]
    assert said["text"] == "Größe: Rome has 2.8 million people. It is old."
    assert cited(message) == [[f"{REDIRECT}/A", f"{REDIRECT}/B"]]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2
    assert message["usage"]["input_tokens"] == 39


def test_what_a_stream_has_searched_is_written_once_and_its_text_cites_it():
    message = streamed("grounded.sse")
    assert [block["type"] for block in message["content"]] == ["text", "server_tool_use", "web_search_tool_result"]
    assert [entry["url"] for entry in message["content"][2]["content"]] == [
        "https://a.example/A",
        "https://b.example/B",
    ]
    assert message["content"][1]["input"] == {"query": "people of rome; rome"}
    assert cited(message) == [["https://a.example/A", "https://b.example/B"]]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2
    assert message["stop_reason"] == "end_turn"


def grounded(queries: Any = None, urls: Any = (), **more: Any) -> dict[str, Any]:
    chunks = [{"web": {"uri": url}} for url in urls]
    return {"groundingMetadata": {"webSearchQueries": queries, "groundingChunks": chunks} | more}


def test_in_a_stream_a_search_that_is_known_early_stands_before_the_text():
    first = {"candidates": [{"content": {"parts": [{"text": "One."}]}} | grounded(["a"], ["https://a.example"])]}
    last = finished("STOP", {"text": " Two."}, **grounded(["a", "b"], ["https://a.example", "https://b.example"]))
    message = read(first, last)
    kinds = [block["type"] for block in message["content"]]
    assert kinds == ["server_tool_use", "web_search_tool_result", "text", "server_tool_use", "web_search_tool_result"]
    assert message["content"][3]["input"] == {"query": "b"}
    assert [entry["url"] for entry in message["content"][4]["content"]] == ["https://b.example"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2


def test_each_part_cites_its_own_pages_by_bytes():
    parts = [{"text": "Größe A."}, {"functionCall": {"name": "Read", "args": {}}}, {"text": "Größe B."}]
    supports = [
        {"segment": {"startIndex": 8, "text": "B."}, "groundingChunkIndices": [1]},
        {"segment": {"startIndex": 8, "text": "A."}, "groundingChunkIndices": [0]},
    ]
    grounding = grounded(["q"], ["https://a.example", "https://b.example"], groundingSupports=supports)
    assert cited(read(finished("STOP", *parts, **grounding))) == [["https://a.example"], ["https://b.example"]]


def test_a_search_that_found_nothing_is_counted_alone():
    message = read(finished("STOP", {"text": "Hi"}, **grounded(["a", "b"])))
    assert [block["type"] for block in message["content"]] == ["text"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2


@pytest.mark.parametrize("metadata", [None, {}, {"webSearchQueries": []}, {"groundingChunks": [{}, None]}, 7])
def test_no_search_is_none(metadata: Any):
    message = read(finished("STOP", {"text": "Hi"}, groundingMetadata=metadata))
    assert [block["type"] for block in message["content"]] == ["text"]
    assert "server_tool_use" not in message["usage"]


def test_what_googles_own_tools_did_is_kept_with_the_call_after_it():
    one = translation()
    data = (TRANSCRIPTS / "server_side.sse").read_bytes()
    message = assert_claude_stream(one.feed(data) + one.end())
    assert [block["type"] for block in message["content"]] == ["text", "tool_use"]
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 1
    memory = json.loads(one.memories["fc1"])
    assert (memory["signature"], memory["id"]) == ("c2lnMg==", "fc1")
    assert [part["thoughtSignature"] for part in memory["before"]] == ["c2lnMA==", "c2lnMQ=="]
    assert [next(iter(part)) for part in memory["before"]] == ["toolCall", "toolResponse"]


def test_what_is_too_much_to_keep_goes_without_the_signature_that_hangs_on_the_call():
    response = {"toolResponse": {"id": "s1", "response": {"page": "x" * MOST_KEPT}}}
    call = {"functionCall": {"name": "Read", "args": {}, "id": "fc1"}, "thoughtSignature": "c2ln"}
    one = translation()
    one.feed(b"data: " + json.dumps(finished("STOP", response, call)).encode() + b"\n\n")
    one.end()
    memory = json.loads(one.memories["fc1"])
    assert (memory["signature"], "before" in memory) == ("c2ln", False)


# -- usage


def test_usage_that_does_not_tell_the_prompt_keeps_the_estimate():
    writer = Writer("claude-x", "r1", stream=False, estimate=77)
    gemini.answer(finished("STOP", {"text": "Hi"}) | {"usageMetadata": {"candidatesTokenCount": 3}}, writer)
    usage = assert_claude_body(writer.whole())["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (77, 3)


def test_numbers_of_earlier_events_count_until_they_are_told_again():
    usages = ({"promptTokenCount": 9, "cachedContentTokenCount": 4}, {"promptTokenCount": 9, "candidatesTokenCount": 2})
    usage = read(*(finished("STOP", {"text": "Hi"}) | {"usageMetadata": one} for one in usages))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (5, 4, 2)


def test_a_whole_answer_says_the_same_as_a_streamed_one():
    data = (TRANSCRIPTS / "message.json").read_bytes()
    one = translation(stream=False)
    message = assert_claude_body(one.feed(data) + one.end())
    thought, text, call = message["content"]
    assert thought["thinking"] == "I think."
    assert text["text"] == "One. Two."
    assert (call["id"], call["name"], call["input"]) == ("a1", "Read", {"path": "a"})
    assert message["stop_reason"] == "tool_use"
    assert message["usage"]["input_tokens"] == 40
    assert message["usage"]["output_tokens"] == 15
    assert one.served_model == "gemini-3-flash-preview"
    assert json.loads(one.memories["a1"])["signature"] == "c2ln"


@pytest.mark.parametrize("body", [{}, {"candidates": []}, {"promptFeedback": {}}, {"candidates": [{"content": {}}]}])
def test_an_answer_with_nothing_in_it_is_no_success(body: Any):
    writer = Writer("claude-x", "r1", stream=False)
    gemini.answer(body, writer)
    assert assert_claude_body(writer.whole())["error"]["type"] == "api_error"


@pytest.mark.parametrize(("wait", "told"), [("55s", 55.0), ("1.5s", 1.5), ("soon", None), (5, None), ("-3s", None)])
def test_the_delay_that_google_names_is_told(wait: Any, told: float | None):
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": wait}]
    problem = problem_of(429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "Slow down", "details": details}})
    assert (problem.retry_after, problem.code) == (told, "RESOURCE_EXHAUSTED")


# fmt: off
NAMES_IN_EVENTS = [
    "candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "id", "thoughtSignature",
    "finishReason", "error", "promptFeedback", "blockReason", "usageMetadata", "promptTokenCount", "details",
    "violations", "quotaId", "status", "groundingMetadata", "webSearchQueries", "groundingChunks", "groundingSupports", "web", "uri",
    "segment", "startIndex", "groundingChunkIndices", "toolCall", "queries",
]
# fmt: on
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES_IN_EVENTS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["candidates", "error", "promptFeedback", "usageMetadata"]), ANY, max_size=3),
        max_size=4,
    )
)
def test_no_event_can_break_the_reader(events: list[dict[str, Any]]):
    writer = Writer("claude-x", "r1", stream=True)
    reader = Reader(writer)
    for event in events:
        reader.event("", event)
    reader.end(done=False)
    if writer.finished:
        assert_claude_stream(writer.take())
