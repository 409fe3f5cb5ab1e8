"""Web searches of providers: how they are asked for, what restricts them, and what they found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude_relay.core.formats.base import Format, Unsuited
from claude_relay.core.formats.conversation import Choice
from claude_relay.core.formats.openai import chat
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_body, assert_claude_stream

from .chats import READ, noted, requested

PLACE = {"type": "approximate", "city": "Bonn", "country": "DE"}
BONN = {"type": "approximate", "approximate": {"city": "Bonn", "country": "DE"}}
SEARCH = Choice("search")


def asked(
    settings: dict[str, Any], preset: str = "openrouter", model: str = "some/model", **said: Any
) -> dict[str, Any]:
    body = requested(preset=preset, model=model, web_search=settings, **said)
    names = ("tools", "tool_choice", "plugins", "web_search_options", "search_settings")
    return {name: body[name] for name in names if name in body}


def router(**parameters: Any) -> dict[str, Any]:
    return {"tools": [{"type": "openrouter:web_search"} | ({"parameters": parameters} if parameters else {})]}


def glm(**more: Any) -> dict[str, Any]:
    about = {"enable": True, "search_engine": "search_pro", "search_result": True} | more
    return {"tools": [{"type": "web_search", "web_search": about}]}


@pytest.mark.parametrize(
    ("preset", "model", "settings", "fields"),
    [
        ("openai-chat", "gpt-4o-search-preview", {}, {"web_search_options": {}}),
        ("openai-chat", "gpt-5-search-api", {"user_location": PLACE}, {"web_search_options": {"user_location": BONN}}),
        ("openai-chat", "gpt-4.1", {}, {}),
        ("openrouter", "some/model", {}, router()),
        ("openrouter", "some/model", {"allowed_domains": ["a.org"]}, router(allowed_domains=["a.org"], engine="exa")),
        ("openrouter", "some/model", {"blocked_domains": ["a.org"]}, router(excluded_domains=["a.org"], engine="exa")),
        ("openrouter", "some/model", {"user_location": PLACE, "max_uses": 3}, router(user_location=PLACE, max_uses=3)),
        ("zhipu-openai", "glm-5.1", {}, glm()),
        ("zhipu-openai", "glm-5.1", {"allowed_domains": ["a.org"]}, glm(search_domain_filter="a.org")),
        ("groq", "groq/compound", {}, {}),
        ("groq", "groq/compound", {"allowed_domains": ["a.org"]}, {"search_settings": {"include_domains": ["a.org"]}}),
        (
            "groq",
            "groq/compound-mini",
            {"blocked_domains": ["a.org"]},
            {"search_settings": {"exclude_domains": ["a.org"]}},
        ),
        ("groq", "openai/gpt-oss-120b", {}, {"tools": [{"type": "browser_search"}]}),
        ("groq", "llama-3.3-70b-versatile", {}, {}),
        ("deepseek-openai", "deepseek-v4-pro", {}, {}),
    ],
)
def test_a_search_is_asked_for_in_the_providers_words(
    preset: str, model: str, settings: dict[str, Any], fields: dict[str, Any]
):
    assert asked(settings, preset, model) == fields


@pytest.mark.parametrize(
    ("preset", "model", "settings"),
    [
        ("openai-chat", "gpt-4o-search-preview", {"allowed_domains": ["a.org"]}),
        ("openai-chat", "gpt-4o-mini-search-preview", {"blocked_domains": ["a.org"]}),
        ("zhipu-openai", "glm-5.1", {"blocked_domains": ["a.org"]}),
        ("zhipu-openai", "glm-5.1", {"allowed_domains": ["a.org", "b.org"]}),
        ("zhipu-openai", "glm-5.1", {"user_location": PLACE}),
        ("groq", "openai/gpt-oss-120b", {"allowed_domains": ["a.org"]}),
        ("groq", "groq/compound", {"user_location": PLACE}),
    ],
)
def test_a_restriction_that_is_not_heeded_makes_a_provider_unsuited(preset: str, model: str, settings: dict[str, Any]):
    with pytest.raises(Unsuited, match=rf"web_search\.{next(iter(settings))}"):
        asked(settings, preset, model)


def test_a_demanded_search_is_one_that_always_runs():
    plugin = {"id": "web", "include_domains": ["a.org"], "engine": "exa"}
    assert asked({"allowed_domains": ["a.org"]}, choice=SEARCH) == {"plugins": [plugin]}
    with_tools = asked({}, choice=SEARCH, tools=(READ,))
    assert with_tools["plugins"] == [{"id": "web"}]
    assert with_tools["tool_choice"] == "auto"
    browser = asked({}, "groq", "openai/gpt-oss-120b", choice=SEARCH)
    assert browser == {"tools": [{"type": "browser_search"}], "tool_choice": "required"}
    assert "tool_choice" not in asked({}, "openai-chat", "gpt-4o-search-preview", choice=SEARCH)


def test_a_search_stands_beside_the_clients_tools():
    tools = asked({}, tools=(READ,))
    assert [tool["type"] for tool in tools["tools"]] == ["function", "openrouter:web_search"]
    assert tools["tool_choice"] == "auto"


@pytest.mark.parametrize(
    ("preset", "model", "settings", "choice", "note"),
    [
        ("deepseek-openai", "deepseek-v4-pro", {}, Choice(), "tools.web_search: left out"),
        ("deepseek-openai", "deepseek-v4-pro", {}, SEARCH, "tool_choice: auto"),
        ("openai-chat", "gpt-4o-search-preview", {"max_uses": 3}, Choice(), "tools.web_search.max_uses: left out"),
        ("zhipu-openai", "glm-5.1", {}, SEARCH, "tool_choice: auto"),
    ],
)
def test_what_a_search_loses_is_noted(preset: str, model: str, settings: dict[str, Any], choice: Choice, note: str):
    assert [
        line for line in noted(preset=preset, model=model, web_search=settings, choice=choice) if line.startswith(note)
    ]


# -- what was found


def cited(url: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {"url": url, "title": url[8:].upper(), "start_index": 0, "end_index": 2} | more,
    }


def whole(body: dict[str, Any]) -> dict[str, Any]:
    writer = Writer("claude-x", "1", stream=False)
    chat.answer(body, writer)
    return assert_claude_body(writer.whole())


def streamed(*events: dict[str, Any]) -> dict[str, Any]:
    writer = Writer("claude-x", "1", stream=True)
    one = Translation(Format.of(chat), writer, {"content-type": "text/event-stream"}, stream=True)
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    message = assert_claude_stream(one.feed(data) + one.end())
    assert one.fault is None
    return message


def said(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message, "finish_reason": "stop"}]} | more


def delta(found: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"delta": found, "finish_reason": finish}]} | more


def in_short(message: dict[str, Any]) -> list[Any]:
    """Kinds of blocks; of a result, what was found; of a text, what it cites."""
    shown = {
        "text": lambda block: (block["text"], [one["url"] for one in block.get("citations") or []]),
        "server_tool_use": lambda block: block["input"]["query"],
        "web_search_tool_result": lambda block: [one["url"] for one in block["content"]],
        "thinking": lambda block: "thinking",
        "tool_use": lambda block: block["name"],
    }
    return [shown[block["type"]](block) for block in message["content"]]


def searches(message: dict[str, Any]) -> int:
    return (message["usage"].get("server_tool_use") or {}).get("web_search_requests", 0)


A, B = "https://a.org", "https://b.org"


def test_annotations_are_results_before_the_text_and_citations_of_it():
    message = whole(said({"content": "Hi", "annotations": [cited(A, content="What it says."), cited(B), cited(A)]}))
    assert in_short(message) == ["", [A, B], ("Hi", [A, B])]
    assert message["content"][2]["citations"][0]["cited_text"] == "What it says."
    assert message["content"][1]["content"][0]["title"] == "A.ORG"
    assert searches(message) == 1
    assert message["stop_reason"] == "end_turn"


@pytest.mark.parametrize("flat", [False, True])
def test_annotations_in_a_stream_are_told_at_its_end(flat: bool):
    annotation = {"type": "url_citation", **cited(A)["url_citation"]} if flat else cited(A)
    message = streamed(
        delta({"content": "H"}),
        delta({"content": "i", "annotations": [annotation]}),
        delta({"annotations": [cited(B)]}),
        delta({}, "stop"),
    )
    assert in_short(message) == [("Hi", [A, B]), "", [A, B]]
    assert searches(message) == 1


def test_annotations_that_come_before_the_text_are_told_before_it():
    message = streamed(delta({"annotations": [cited(A)]}), delta({"content": "Hi"}), delta({}, "stop"))
    assert in_short(message) == ["", [A], ("Hi", [A])]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (
            said({"content": "Hi"}, web_search=[{"link": A, "title": "A", "content": "x"}, {"title": "none"}]),
            ["", [A], ("Hi", [])],
        ),
        (
            said({"content": "Hi"}, search_results=[{"url": A, "title": "A"}], citations=[A, B]),
            ["", [A, B], ("Hi", [])],
        ),
        (
            said(
                {
                    "content": "Hi",
                    "executed_tools": [{"arguments": '{"query": "q"}', "search_results": {"results": [{"url": A}]}}],
                }
            ),
            ["q", [A], ("Hi", [])],
        ),
        (said({"content": "Hi", "annotations": [{"type": "file_citation", "url": A}, 7, None]}), [("Hi", [])]),
        (said({"content": "Hi", "annotations": "odd", "executed_tools": [{}]}, web_search={}), [("Hi", [])]),
    ],
)
def test_each_providers_results_are_read(body: dict[str, Any], found: list[Any]):
    assert in_short(whole(body)) == found


def test_searches_without_a_page_are_counted():
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "server_tool_use": {"web_search_requests": 2}}
    message = whole(said({"content": "Hi"}, usage=usage))
    assert in_short(message) == [("Hi", [])]
    assert searches(message) == 1
    assert searches(whole(said({"content": "Hi"}))) == 0


def test_calls_come_after_what_was_found():
    calls = [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]
    message = whole(said({"content": "Hi", "annotations": [cited(A)], "tool_calls": calls}))
    assert in_short(message) == ["", [A], ("Hi", [A]), "f"]
    assert message["stop_reason"] == "tool_use"
