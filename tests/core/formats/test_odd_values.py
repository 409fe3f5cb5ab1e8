"""A provider's answer in which any one value is of another kind than it should be: read, passed over or refused, and no exception."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from claude_relay.core.formats import FORMATS
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from fuzz.replies import GOOD

ODD: tuple[Any, ...] = (None, True, -1, 10**40, 1e308, "", "x", "\ud800", [], [[]], ["x"], {}, {"x": {}}, [None, {}])
FOREIGN = [form for form in GOOD if form != "anthropic"]


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where there is anything in it."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places(value[key], (*above, key))


def spoiled(value: Any) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The value with each one thing in it replaced by each odd one."""
    for *above, last in places(value):
        for odd in ODD:
            found = place = copy.deepcopy(value)
            for key in above:
                place = place[key]
            place[last] = odd
            yield (*above, last, odd), found


def sse(events: list[tuple[str, Any]]) -> bytes:
    return b"".join(
        (f"event: {name}\n" if name else "").encode()
        + f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()
        for name, data in events
    )


def fault_of(form: str, body: bytes, kind: str, *, stream: bool) -> Exception | None:
    format = FORMATS[form]
    found = Translation(format, Writer("claude-x", "1", stream=stream), {"content-type": kind}, stream=stream)
    found.feed(body)
    found.end()
    return found.fault


@pytest.mark.parametrize("form", FOREIGN)
def test_a_whole_answer(form: str) -> None:
    for where, body in spoiled(GOOD[form](False)):
        assert fault_of(form, json.dumps(body).encode(), "application/json", stream=False) is None, where


@pytest.mark.parametrize("form", FOREIGN)
def test_a_stream(form: str) -> None:
    events = GOOD[form](True)
    for number, (name, data) in enumerate(events):
        for where, odd in spoiled(data) if not isinstance(data, str) else ():
            body = sse([*events[:number], (name, odd), *events[number + 1 :]])
            assert fault_of(form, body, "text/event-stream", stream=True) is None, (number, where)
