from __future__ import annotations

import doctest
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import times
from claude_relay.core.times import LAST, iso, seconds_of, utc


def test_examples_in_the_documentation() -> None:
    assert doctest.testmod(times).failed == 0


@given(st.integers(0, int(LAST) * 1000).map(lambda milliseconds: milliseconds / 1000))
def test_there_and_back(at: float) -> None:
    text = iso(at)
    assert len(text) == len("2023-11-14T22:13:20.500Z")
    found = seconds_of(text)
    assert found == pytest.approx(at, abs=0.0011)
    assert utc(text).tzinfo is UTC
    assert iso(utc(text)) == text


def test_what_says_no_time() -> None:
    assert [seconds_of(text) for text in (None, "", "now", "2026-13-01")] == [None] * 4
    assert iso(datetime(9999, 12, 31, tzinfo=UTC)) == "9999-12-31T00:00:00.000Z"
    with pytest.raises((ValueError, OverflowError)):
        iso(LAST + 10)
