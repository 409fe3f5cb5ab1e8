"""What pages of answers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from claude_relay.proxy.views.answers import Answers, gap
from claude_relay.proxy.views.excerpts import SHOWN, Stream
from claude_relay.proxy.views.seen import Seen


def assembled(stream: Stream) -> tuple[dict[str, Any], bool]:
    events = [data for _, data in stream]
    return {"events": events}, any("end" in data for data in events)


def page_of(found: Mapping[str, Any], seen: Seen) -> dict[str, object]:
    return dict(found)


ANSWERS = Answers("an answer", ("usage",), assembled, page_of)


def test_one_that_came_at_once() -> None:
    assert ANSWERS.show(b' {"a": 1}', Seen()) == ("an answer, 9 B", {"a": 1})


def test_one_that_came_in_events() -> None:
    text = b'data: {"a": 1}\n\ndata: {"end": 1}\n\n'
    assert ANSWERS.show(text, Seen()) == ("an answer, streamed in 2 events, 34 B", {"events": [{"a": 1}, {"end": 1}]})
    found = ANSWERS.show(text[:16], Seen())
    assert found is not None
    assert found[0] == "an answer, streamed in 1 events, 16 B; it breaks off before its end"


def test_one_that_came_as_an_array() -> None:
    assert ANSWERS.show(b'[{"a": 1},\n{"end": 1}]', Seen()) == (
        "an answer, streamed in 2 events, 22 B", {"events": [{"a": 1}, {"end": 1}]},
    )  # fmt: skip


def test_the_end_of_a_large_one() -> None:
    text = json.dumps({"a": "x" * (2 * SHOWN), "usage": {"n": 1}}).encode()
    found = ANSWERS.show(text, Seen())
    assert found is not None
    assert found[1]["usage"] == {"n": 1}
    found = ANSWERS.show(b'data: {"a": "x"}\n\n' * 40_000 + b'data: {"usage": {"n": 2}}\n\n', Seen())
    assert found is not None
    assert found[0].startswith("an answer, streamed in many events, 720")
    assert found[1]["usage"] == {"n": 2}


def test_what_is_none() -> None:
    assert ANSWERS.show(b"", Seen()) is None
    assert ANSWERS.show(b"<html>", Seen()) is None
    assert ANSWERS.show(b"{", Seen()) is None
    assert "1.0 MB" in gap(1_000_000)
