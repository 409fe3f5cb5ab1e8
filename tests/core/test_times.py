from __future__ import annotations

import doctest
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core import times
from claude_relay.core.times import LAST, ago, duration, iso, seconds_of, shown, stated, utc


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


# -- lengths of time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h", 3600),
        ("15d", 1296000),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1w", 604800),
        (" 2 S ", 2),
        ("7", 7),
        (7, 7),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_lengths_of_time(text: object, expected: float) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1s", "5x", "1 2", "１s", "1e3", None, True, -1, float("inf"), float("nan"), [1], "9" * 400, "1 day"],
)
def test_what_is_no_length_of_time(text: object) -> None:
    with pytest.raises(ValueError, match="must be a length of time"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6m0s", 360.0),
        (" 20 ms ", 0.02),
        ("1h2.5s", 3602.5),
        ("1 Minute 5 seconds", 65.0),
        ("2 hours, 10 mins", 7800.0),
        ("1d", 86400.0),
        ("500 milliseconds", 0.5),
        ("0s", 0.0),
        *(
            (text, None)
            for text in (
                "",
                "5",
                "soon",
                "5 moments",
                "in 5s",
                "5s 3s",
                "3s 1m",
                "-5s",
                "1e3s",
                "1.2.3s",
                "５s",
                "9" * 400 + "s",
            )
        ),
    ],
)
def test_lengths_of_time_that_providers_state(text: str, expected: float | None) -> None:
    assert stated(text) == (None if expected is None else pytest.approx(expected))


@given(st.floats(0.0, 86_399.0))
def test_what_is_shown_is_about_what_was_given(seconds: float) -> None:
    text = shown(seconds)
    assert len(text) <= 6
    rounded = 0.0006 if text.endswith("ms") else 0.0501 if "." in text else 0.501
    assert duration(text) == pytest.approx(seconds, rel=0, abs=rounded)


def test_lengths_of_time_in_a_table() -> None:
    assert [shown(at) for at in (0.0, 0.9994, 0.9996, 9.96, 99.94, 99.96, 3600)] == [
        *("0ms", "999ms", "1.0s", "10.0s", "99.9s", "100s", "3600s"),
    ]


def test_how_long_ago() -> None:
    times = (-1.0, 0.0, 59.9, 60.0, 3599.0, 3600.0, 86_399.0, 86_400.0, 30 * 86_400.0)
    assert [ago(at) for at in times] == [
        *["just now"] * 3,
        "1m ago",
        "59m ago",
        "1h ago",
        "23h ago",
        "1d ago",
        "30d ago",
    ]
