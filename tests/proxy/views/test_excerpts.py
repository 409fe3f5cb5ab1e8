"""Bodies that are cut off, broken or huge."""

from __future__ import annotations

import doctest
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.cli.fake import messages as fake
from claude_relay.core.bodies.lenient import value
from claude_relay.proxy.views import excerpts
from claude_relay.proxy.views.excerpts import SHOWN, SKIMMED, listed, mended, read_item, read_json, read_stream

SAYS = {
    "model": "m",
    "n": [1, -2.5e3, True, None, {}],
    "messages": [{"role": "user", "content": 'a "b" \\ \u00e9 \U0001f600\n'}, {"deep": [[["x"]]]}],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=4), inside, max_size=4),
    max_leaves=10,
)


def agrees(part: Any, whole: Any) -> bool:
    """Whether a value is what the beginning of another one may say."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(one is None or (key in whole and agrees(one, whole[key])) for key, one in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) <= len(whole) and all(map(agrees, part, whole))
    if isinstance(part, str) and isinstance(whole, str):
        return whole.startswith(part.rstrip("\ufffd"))
    return part is None or part == whole or isinstance(part, int | float)


def test_the_example_is_true() -> None:
    assert doctest.testmod(excerpts).failed == 0


# -- JSON


@pytest.mark.parametrize("ascii", [True, False])
def test_a_cut_at_any_place(ascii: bool) -> None:
    text = json.dumps(SAYS, ensure_ascii=ascii).encode()
    for at in range(1, len(text)):
        found = read_json(text[:at])
        assert isinstance(found, dict), text[:at]
        assert agrees(found, SAYS), (text[:at], found)
    assert read_json(text) == SAYS


@given(JSON, st.data())
def test_a_cut_of_anything(says: Any, data: st.DataObject) -> None:
    text = json.dumps({"a": says}).encode()
    at = data.draw(st.integers(1, len(text)))
    found = read_json(text[:at])
    assert isinstance(found, dict)
    assert agrees(found, {"a": says})


@given(st.binary() | st.binary().map(lambda data: b'{"a": [' + data))
def test_nothing_raises(data: bytes) -> None:
    read_json(data)
    mended(data)
    listed(data, "a")
    read_stream(data)


def test_what_stands_before_a_fault_is_read() -> None:
    assert read_json(b'{"a": [1, 2], "b": oops, "c": 3}') == {"a": [1, 2], "b": None}
    assert read_json(b'{"a": 1} and more') == {"a": 1}
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


def test_what_strict_readers_do_not_take() -> None:
    assert read_json(b'{"a": "x\xffy", "b": "\\ud800", "c": "\\ud83d\\ude00", "d": "a\x00b"}') == {
        "a": "x\ufffdy", "b": "\ufffd", "c": "\U0001f600", "d": "a b",
    }  # fmt: skip
    assert read_json("{}".encode("utf-16")) is None
    assert read_json(b"") is None


def test_of_what_is_made_of_small_values_less_is_read() -> None:
    found = read_json(b"[" + b"1," * 100_000 + b"1]")
    assert isinstance(found, list)
    assert 5_000 < len(found) < 50_000


# -- objects with a list


def conversation(turns: int, length: int = 100, **members: object) -> bytes:
    said = [{"role": "user" if n % 2 else "assistant", "content": f"turn {n} " + "x" * length} for n in range(turns)]
    return json.dumps({"model": "m", "messages": said, "system": "be kind", **members, "max_tokens": 7}).encode()


def says(raw: Any) -> str:
    found = value(raw)
    assert isinstance(found, dict)
    return str(found["content"])[:9].strip()


def test_members_and_items() -> None:
    found = listed(conversation(3), "messages")
    assert found is not None
    assert {name: bytes(raw) for name, raw in found.members.items()} == {
        "model": b'"m"',
        "system": b'"be kind"',
        "max_tokens": b"7",
    }
    assert [says(raw) for raw in found.items] == ["turn 0 xx", "turn 1 xx", "turn 2 xx"]
    assert found.skipped == 0


@pytest.mark.parametrize("text", [b'{"messages": "x", "a": 1}', b'{"messages": [], "a": 1}'])
def test_a_list_that_is_none_stays(text: bytes) -> None:
    found = listed(text, "messages")
    assert found is not None
    assert list(found.members) == ["messages", "a"]
    assert listed(b"[1]", "messages") is None
    assert listed(b"<html>", "messages") is None


def test_a_large_one_is_looked_through() -> None:
    text = conversation(600, 2000)
    assert SHOWN < len(text) < SKIMMED
    found = listed(text, "messages")
    assert found is not None
    assert len(found.items) == 600
    assert found.skipped == 0


@pytest.mark.parametrize("tools", [0, 50])
def test_of_a_huge_one_both_ends_are_read(tools: int) -> None:
    text = conversation(3000, 2000, tools=[{"name": f"t{n}", "description": "d" * 1000} for n in range(tools)])
    assert len(text) > SKIMMED
    found = listed(text, "messages")
    assert found is not None
    assert says(found.first[0]) == "turn 0 xx"
    assert says(found.last[-1]) == "turn 2999"
    assert found.skipped > 5_000_000
    assert {"model", "system", "max_tokens"} <= found.members.keys()
    assert len(found.first) + len(found.last) < 200


def test_the_newest_turn_of_a_huge_one_may_be_large() -> None:
    text = conversation(6, 1_000_000)
    found = listed(text, "messages")
    assert found is not None
    assert [says(raw) for raw in found.last] == ["turn 5 xx"]
    assert bytes(found.members["max_tokens"]) == b"7"


def test_a_huge_one_that_is_cut_off() -> None:
    found = listed(conversation(3000, 2000)[:-5000], "messages")
    assert found is not None
    assert says(found.first[0]) == "turn 0 xx"


def test_items_are_read_whole() -> None:
    found = listed(conversation(1, 500_000), "messages")
    assert found is not None
    item = read_item(found.items[0])
    assert isinstance(item, dict)
    assert len(item["content"]) > 500_000


# -- streams


def test_events_and_their_data() -> None:
    found = read_stream(b"".join(fake.events("Hi")))
    assert [name for name, _ in found.events][:3] == ["message_start", "content_block_start", "ping"]
    assert found.skipped == 0
    assert found.ending == ()


def test_events_without_names_and_without_data() -> None:
    found = read_stream(b'data: {"type": "a"}\n\ndata: {"error": "e"}\n\ndata: {}\n\ndata: [DONE]\n\n: c\n\n')
    assert [name for name, _ in found.events] == ["a", "error", ""]


def test_a_stream_that_is_cut_at_any_place() -> None:
    text = b"".join(fake.events("Hello", "there"))
    whole = read_stream(text).events
    for at in range(len(text)):
        events = read_stream(text[:at]).events
        assert len(events) <= len(whole)
        assert all(name == other for (name, _), (other, _) in zip(events, whole, strict=False) if name)


def test_the_last_event_is_read_as_far_as_it_came() -> None:
    found = read_stream(b'data: {"a": 1}\n\ndata: {"a": {"b": "wor')
    assert [data for _, data in found.events] == [{"a": 1}, {"a": {"b": "wor"}}]


def test_one_broken_event_spoils_no_other() -> None:
    found = read_stream(b'data: {"a": 1}\n\ndata: {"a": \n\ndata: {"a": 3}\n\n')
    assert [data for _, data in found.events] == [{"a": 1}, {}, {"a": 3}]


def test_of_a_huge_stream_both_ends_are_read() -> None:
    text = b"".join(fake.events(*["word "] * 30_000))
    found = read_stream(text)
    assert found.events[0][0] == "message_start"
    assert found.ending[-1][0] == "message_stop"
    assert found.ending[-2][1]["usage"] == {"output_tokens": 15}
    assert len(text) - SHOWN - 20_000 < found.skipped < len(text) - SHOWN


def test_a_huge_event_does_not_hide_the_end() -> None:
    huge = fake.event("content_block_start", {"index": 0, "content_block": {"type": "x", "content": "y" * 900_000}})
    found = read_stream(fake.start() + huge + fake.BLOCK_STOP + fake.message_delta() + fake.STOP)
    names = [name for name, _ in found]
    assert (names[0], names[-1]) == ("message_start", "message_stop")


def test_noise() -> None:
    noise = random.Random(1).randbytes(100_000)
    for data in (noise, b"data: " + noise, b"{" + noise, b"[" * 300_000, b'{"a":' * 50_000, b'"' * 300_000):
        read_json(data)
        listed(data, "messages")
        read_stream(data)
