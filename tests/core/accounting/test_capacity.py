"""How long windows last, and how many more agents fit."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claude_relay.core.accounting.capacity import Row, forecast, pace_of, row
from claude_relay.core.bodies.ratelimits import Window
from claude_relay.core.times import DAY, HOUR, MINUTE

NOW = 1_795_000_000.0


def window(used: float | None, reset: float | None = NOW + 2 * HOUR, name: str = "5h") -> Window:
    return Window(name, "allowed", reset, used)


def samples(*seen: tuple[float, float], reset: float = NOW + 2 * HOUR) -> list[tuple[float, float, float | None]]:
    """So many minutes ago, so much."""
    return [(NOW - minutes * MINUTE, used, reset) for minutes, used in seen]


@pytest.mark.parametrize(
    ("seen", "used", "pace"),
    [
        (samples((90, 0.1), (50, 0.3), (1, 0.4)), 0.4, 0.3),  # what was known an hour ago counts from an hour ago
        (samples((30, 0.2), (1, 0.3)), 0.3, 0.2),
        (samples((1, 0.2), (0.5, 0.3)), 0.3, 0.6),  # of a minute: as if of ten
        (samples((1, 0.3)), 0.3, None),
        (samples((90, 0.3)), 0.3, 0.0),  # nothing for an hour
        (samples((90, 0.9), reset=NOW - HOUR), 0.3, None),  # of the window before
        ([], 0.3, None),
    ],
)
def test_the_pace(seen: list[tuple[float, float, float | None]], used: float, pace: float | None) -> None:
    found = pace_of(window(used), seen, NOW)
    assert found == (None if pace is None else pytest.approx(pace))


def test_a_window_that_began_within_the_hour_began_with_nothing() -> None:
    young = window(0.2, reset=NOW + 4.5 * HOUR)
    assert pace_of(young, samples((1, 0.2), reset=NOW + 4.5 * HOUR), NOW) == pytest.approx(0.4)


def test_a_window_whose_reset_is_over_is_whole_again() -> None:
    found = row("anthropic", "v1", window(0.9, reset=NOW - 60), samples((5, 0.9), reset=NOW - 60), NOW)
    assert found == Row("anthropic", "v1", "5h", 1.0, None, 5 * HOUR, 0.0, None)


def test_when_it_ends() -> None:
    seen = samples((60, 0.2), (1, 0.5))
    found = row("anthropic", "v1", window(0.5), seen, NOW)
    assert found is not None
    assert (found.left, found.pace, found.ends_at) == (0.5, pytest.approx(0.3), pytest.approx(NOW + HOUR * 5 / 3))
    slower = row("anthropic", "v1", window(0.3), samples((60, 0.2), (1, 0.3)), NOW)
    assert slower is not None
    assert slower.ends_at is None, "it begins anew before"
    assert row("anthropic", "v1", window(None), seen, NOW) is None


def test_agents_that_fit() -> None:
    """Half is left for two hours; two agents use a tenth an hour."""
    rows = [Row("a", "v1", "5h", 0.5, NOW + 2 * HOUR, 2 * HOUR, 0.1, None)]
    found = forecast(rows, 2, NOW)
    assert found is not None
    assert (found.sustainable, found.more_agents, found.ends_at) == (0.25, 3, None)
    assert forecast([], 2, NOW) is None


def test_nobody_at_work_says_nothing_of_a_pace() -> None:
    rows = [Row("a", "v1", "7d", 0.5, NOW + DAY, DAY, 0.0, None)]
    found = forecast(rows, 0, NOW)
    assert found is not None
    assert found.more_agents is None


def test_a_pace_of_which_nothing_is_known_is_none() -> None:
    unknown, known = (Row("a", "v1", "7d", 0.5, NOW + DAY, DAY, pace, None) for pace in (None, 0.25))
    for rows, pace in (([unknown], None), ([unknown, known], 0.25)):
        found = forecast(rows, 1, NOW)
        assert found is not None
        assert found.pace == pace


SHARES = st.floats(0.0, 1.0)
ROWS = st.lists(
    st.builds(
        lambda left, span, pace: Row("a", "v", "5h", left, NOW + span, span, pace, None),
        SHARES,
        st.floats(60.0, 7 * DAY),
        st.one_of(st.none(), st.floats(0.0, 5.0)),
    ),
    min_size=1,
    max_size=8,
)


@given(ROWS, st.integers(1, 200))
def test_so_many_fit_and_one_more_does_not(rows: list[Row], agents: int) -> None:
    found = forecast(rows, agents, NOW)
    assert found is not None
    assume(found.pace is not None and found.pace > 1e-6)
    assert found.pace is not None
    assert found.more_agents is not None
    one = found.pace / agents
    assert found.more_agents == 0 or one * (agents + found.more_agents) <= found.sustainable * (1 + 1e-6)
    assert one * (agents + found.more_agents + 1) > found.sustainable * (1 - 1e-6)


@given(ROWS, st.integers(1, 200))
def test_it_ends_only_when_no_more_agents_fit(rows: list[Row], agents: int) -> None:
    found = forecast(rows, agents, NOW)
    assert found is not None
    if found.ends_at is not None:
        assert found.ends_at >= NOW
        assert found.more_agents == 0
        assert found.pace is not None
        assert found.pace > found.sustainable


@given(ROWS, st.integers(1, 50), st.integers(0, 7), SHARES)
def test_more_left_is_never_room_for_fewer(rows: list[Row], agents: int, which: int, left: float) -> None:
    before = forecast(rows, agents, NOW)
    place = which % len(rows)
    more = Row(
        "a", "v", "5h", max(left, rows[place].left), rows[place].resets_at, rows[place].span, rows[place].pace, None
    )
    after = forecast([*rows[:place], more, *rows[place + 1 :]], agents, NOW)
    assert before is not None
    assert after is not None
    assert (after.more_agents or 0) >= (before.more_agents or 0)


@given(
    SHARES,
    st.lists(st.tuples(st.floats(0.0, 200.0), SHARES), max_size=10),
    st.floats(-HOUR, 8 * DAY),
    st.sampled_from(["5h", "7d", "7d_opus", "unified", ""]),
)
def test_whatever_was_seen_gives_a_row(used: float, seen: list[tuple[float, float]], ahead: float, name: str) -> None:
    reset = NOW + ahead
    found = row("a", "v", window(used, reset, name), samples(*sorted(seen, reverse=True), reset=reset), NOW)
    assert found is not None
    assert 0.0 <= found.left <= 1.0
    assert found.pace is None or found.pace >= 0.0
    assert found.ends_at is None or NOW <= found.ends_at < NOW + (found.span or 1e12)
