"""Turns as Gemini takes them; and signatures that come back in the next turn."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.core.formats.base import Format, Unsuited
from claude_relay.core.formats.conversation import (
    Call,
    Document,
    Image,
    Result,
    Text,
    Thinking,
    Turn,
)
from claude_relay.core.formats.gemini import media
from claude_relay.core.formats.gemini import requests as gemini
from claude_relay.core.formats.gemini.contents import GO_ON, PLACEHOLDER
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from core.formats.strict import assert_claude_stream

from .asking import HELLO, NEW, OLD, PICTURE, READ, ask, call, contents, memory, model, result, user

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "gemini"


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


def test_a_url_of_a_picture_that_gemini_does_not_take_is_told_as_text():
    sent = ask(user(Image(url="https://x.y/a.GIF?b=c.png#d"), Image(url="https://x.y/a.svg")))
    assert json.loads(sent.body)["contents"][0]["parts"] == [
        {"text": "[image: https://x.y/a.GIF?b=c.png#d]"},
        {"text": "[image: https://x.y/a.svg]"},
    ]
    assert sent.notes == ("source.url: given as text, as the model cannot fetch it",)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "heic", "heif"])
def test_pictures_that_gemini_takes(kind: str):
    picture = Image(f"image/{kind}", data="AAAA")
    assert contents(user(picture))[0]["parts"] == [{"inlineData": {"mimeType": f"image/{kind}", "data": "AAAA"}}]


def test_the_type_of_a_picture_is_written_as_gemini_knows_it():
    parts = contents(user(Image("image/jpg", data="AAAA"), Image("IMAGE/PNG; a=b", data="AAAA")))[0]["parts"]
    assert [part["inlineData"]["mimeType"] for part in parts] == ["image/jpeg", "image/png"]


@pytest.mark.parametrize("kind", ["image/gif", "image/bmp", "image/tiff", "image/svg+xml", "video/mp4", "x\ny"])
def test_any_other_picture_is_told_as_text(kind: str):
    sent = ask(user(Image(kind, data="AAAA"), Text("What is it?")))
    first, second = json.loads(sent.body)["contents"][0]["parts"]
    shown = kind.replace("\n", "")
    assert first == {"text": f"[a picture of the type {shown}, which cannot be shown]"}
    assert second == {"text": "What is it?"}
    assert sent.notes == (f"source.media_type: {shown} is given as text, Gemini takes no such picture",)


@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_picture_that_gemini_does_not_take_is_told_within_its_result(name: str):
    gif = Image("image/gif", data="AAAA")
    found = contents(HELLO, model(call("t1")), user(result("t1", "see", gif, "there")), model=name)
    (response,) = found[2]["parts"]
    words = "see\n[a picture of the type image/gif, which cannot be shown]\nthere"
    assert response["functionResponse"] == {"name": "Read", "response": {"output": words}}


def test_a_documents_title_stands_before_it():
    found = contents(user(Document(data="BBBB", title="Plan B"), Document(url="https://x.y/d", title="Plan C")))
    assert found[0]["parts"] == [
        {"text": "Plan B"},
        {"inlineData": {"mimeType": "application/pdf", "data": "BBBB"}},
        {"text": "Plan C"},
        {"fileData": {"fileUri": "https://x.y/d", "mimeType": "application/pdf"}},
    ]
    response = contents(HELLO, model(call("t1")), user(result("t1", Document(data="BBBB", title="B"))), model=NEW)[2]
    assert response["parts"][0]["functionResponse"] == {
        "name": "Read",
        "response": {"output": "B"},
        "parts": [{"inlineData": {"mimeType": "application/pdf", "data": "BBBB"}}],
    }


def test_a_file_that_is_too_large_goes_elsewhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(media, "MEDIA", msgspec.structs.replace(media.MEDIA, most_bytes_of_document=6, most_bytes=9))
    assert contents(user(Document(data="A" * 8)))
    with pytest.raises(Unsuited, match=r"^source\.data: .* document of 6 bytes"):
        ask(user(Document(data="A" * 12)))
    assert contents(user(Image("image/png", data="A" * 12)))
    with pytest.raises(Unsuited, match=r"^source\.data: .* 9 bytes at most in a request"):
        ask(user(Image("image/png", data="A" * 12)), model(Text("Yes")), user(PICTURE))


# -- turns that must be the user's


@pytest.mark.parametrize("name", ["gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-flash-latest", "gemini-4-neon"])
def test_newer_models_do_not_continue_their_own_turn(name: str):
    sent = ask(HELLO, model(Text("I be")), model=name)
    assert json.loads(sent.body)["contents"][2] == {"role": "user", "parts": [{"text": GO_ON}]}
    assert [note.partition(":")[0] for note in sent.notes] == ["messages"]


@pytest.mark.parametrize("name", ["gemini-2.5-pro", "gemini-3.1-pro-preview", "gemini-3.5-flash", "gemini-pro-latest"])
def test_older_ones_continue_what_was_begun_for_them(name: str):
    sent = ask(HELLO, model(Text("I be")), model=name)
    assert [content["role"] for content in json.loads(sent.body)["contents"]] == ["user", "model"]
    assert sent.notes == ()


def test_thoughts_that_are_not_told_are_noted():
    assert ask(HELLO, model(Thinking("hm", "sig"), Text("Hi")), HELLO).notes == ("thinking: left out of earlier turns",)


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


SERVER = ({"toolCall": {"id": "s1"}, "thoughtSignature": "c2lnMA=="}, {"toolResponse": {"id": "s1"}})
REMEMBERED = json.dumps({**json.loads(memory("B1", "fc1")), "before": [*SERVER, {"text": "no"}, 7]})


def test_what_googles_own_tools_did_goes_back_before_the_call():
    search = {"web_search": {"name": "web_search"}, "tools": (READ,), "model": NEW}
    found = contents(HELLO, model(Text("So"), call("t1")), user(result("t1")), recall={"t1": REMEMBERED}, **search)
    assert found[1]["parts"] == [
        {"text": "So"},
        *SERVER,
        {"functionCall": {"name": "Read", "args": {}, "id": "fc1"}, "thoughtSignature": "B1"},
    ]


@pytest.mark.parametrize("said", [{}, {"web_search": {"name": "s"}, "options": {"search_beside_tools": False}}])
def test_where_they_are_not_offered_any_more_it_does_not(said: Any):
    found = contents(
        HELLO, model(call("t1")), user(result("t1")), recall={"t1": REMEMBERED}, tools=(READ,), model=NEW, **said
    )
    assert [list(part) for part in found[1]["parts"]] == [["functionCall", "thoughtSignature"]]


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
