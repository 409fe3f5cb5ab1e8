"""Members of large objects are found in steps where a decoder finds them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import spans
from claude_relay.core.bodies import facts as body
from claude_relay.core.estimate import estimate_tokens
from claude_relay.core.exchange import Endpoint
from claude_relay.core.formats.claude.bodies import has_foreign_thinking

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(['a"b', "\\\\", "]}", "{["]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(["model", "messages", "stream", 'a"', "system"]), VALUES, max_size=5)


@given(OBJECTS, st.sampled_from([None, 1]), st.integers(2, 40))
def test_members_are_where_the_decoder_finds_them(value: dict[str, Any], indent: int | None, step: int) -> None:
    text = json.dumps(value, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "STEP", step)
        assert list(spans.members(text)) == list(body.members(text))


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]), st.integers(2, 40))
def test_elements_are_where_the_decoder_finds_them(value: list[Any], indent: int | None, step: int) -> None:
    text = b"x " + json.dumps(value, indent=indent).encode() + b", 1"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "STEP", step)
        assert [json.loads(text[slice(*place)]) for place in spans.elements(text, 2)] == value
    assert list(spans.elements(b"5", 0)) == []


@given(OBJECTS, st.booleans())
def test_facts_of_a_large_body_are_those_of_a_small_one(value: dict[str, Any], leniently: bool) -> None:
    text = json.dumps(value).encode()
    told = body.read_facts(Endpoint.MESSAGES, {}, text, leniently=leniently)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "HUGE", 0)
        assert body.read_facts(Endpoint.MESSAGES, {}, text, leniently=leniently) == told


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"a"', b'{"a":1', b'{"a":"', b'{"a":"\\', b'{"a":[}', b'{"a":1}x', b"{1:2}", b'{"a":}']
)
def test_what_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        list(spans.members(text))


@given(st.binary(max_size=60), st.binary(min_size=1, max_size=3), st.integers(0, 70))
def test_a_needle_is_found_across_steps(text: bytes, needle: bytes, start: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "HUGE", 0)
        patch.setattr(spans, "STEP", 1)
        assert spans.find(text, needle, start) == text.find(needle, start)


@pytest.mark.parametrize("work", [
    lambda text: body.read_facts(Endpoint.MESSAGES, {}, text),
    lambda text: body.rename_model(text, "m"),
    estimate_tokens,
    has_foreign_thinking,
])  # fmt: skip
def test_others_may_work_while_a_large_body_is_read(
    work: Callable[[bytes], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = json.dumps(
        {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x" * (4 * spans.HUGE)}]}
    ).encode()
    cooldowns: list[None] = []
    monkeypatch.setattr(spans, "yield_thread", lambda: cooldowns.append(None))
    work(text)
    assert len(cooldowns) >= len(text) // spans.HUGE
