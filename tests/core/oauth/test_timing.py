"""When tokens are due, also where clocks jump."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.oauth.timing import (
    JITTER,
    LONGEST_PAUSE,
    UNKNOWN,
    Due,
    pause_after,
    state_of,
    time_to_renew,
)
from claude_relay.core.times import DAY, HOUR, MINUTE

NOW = 1_795_000_000.0
CHANCE = st.floats(0.0, 1.0)


class Clocks:
    def __init__(self, chance: float = 0.0) -> None:
        self.ticks, self.wall = 5000.0, NOW
        self.due = Due(lambda: self.ticks, lambda: self.wall, lambda: chance)

    def passes(self, seconds: float) -> None:
        self.ticks += seconds
        self.wall += seconds

    def is_due(self, expires_at: float | None, life: float | None = 8 * HOUR, generation: int = 1) -> bool:
        return self.due.at("a", generation, expires_at, life, NOW) <= self.ticks


@given(st.floats(1.0, 400 * DAY), CHANCE)
def test_ahead_of_the_end(life: float, chance: float) -> None:
    """At least a tenth of the life before it, at most ten minutes earlier than that."""
    left = time_to_renew(NOW + life, life, NOW, NOW, chance)
    ahead = life - left
    assert 0.1 * life - 1e-3 <= ahead <= 0.1 * life + JITTER + 1e-3
    assert left >= 0.79 * life


@given(st.floats(-DAY, DAY), CHANCE)
def test_of_unknown_life_at_least_every_six_hours(ahead: float, chance: float) -> None:
    assert 0.0 <= time_to_renew(None, None, NOW + ahead, NOW, chance) <= UNKNOWN


def test_over_time() -> None:
    clocks = Clocks()
    assert not clocks.is_due(NOW + 8 * HOUR)
    clocks.passes(7.1 * HOUR)
    assert not clocks.is_due(NOW + 8 * HOUR)
    clocks.passes(0.11 * HOUR)
    assert clocks.is_due(NOW + 8 * HOUR)
    assert not clocks.is_due(clocks.wall + 8 * HOUR, generation=2)


@pytest.mark.parametrize("jump", [-400 * DAY, -HOUR, HOUR, 400 * DAY])
def test_the_system_clock_jumps(jump: float) -> None:
    """It makes nobody renew at once, and nobody too late."""
    clocks = Clocks()
    assert not clocks.is_due(NOW + 8 * HOUR)
    clocks.wall += jump
    assert not clocks.is_due(NOW + 8 * HOUR)
    clocks.passes(7.3 * HOUR)
    assert clocks.is_due(NOW + 8 * HOUR)


def test_a_clock_that_was_set_back_before_the_start_delays_no_longer_than_a_life() -> None:
    clocks = Clocks()
    clocks.wall -= 400 * DAY
    assert not clocks.is_due(NOW + 8 * HOUR)
    clocks.passes(7.3 * HOUR)
    assert clocks.is_due(NOW + 8 * HOUR)


def test_many_do_not_come_together() -> None:
    times = {time_to_renew(NOW + 8 * HOUR, 8 * HOUR, NOW, NOW, n / 10) for n in range(10)}
    assert len(times) == 10
    assert max(times) - min(times) <= JITTER


def test_accounts_that_are_gone_are_forgotten() -> None:
    clocks = Clocks()
    clocks.is_due(NOW + 8 * HOUR)
    clocks.due.forget_all_but(set())
    clocks.wall += 400 * DAY
    assert clocks.is_due(NOW + 8 * HOUR)


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0.0, 1e9)), CHANCE)
def test_pauses(failures: int, retry_after: float | None, chance: float) -> None:
    pause = pause_after(failures, retry_after, chance)
    assert 12.0 <= pause <= max(1.2 * LONGEST_PAUSE, HOUR)
    assert pause >= min(retry_after or 0.0, HOUR)


@pytest.mark.parametrize(
    ("ends_in", "revoked", "failures", "state"),
    [
        (8 * HOUR, False, 0, "active"),
        (8 * HOUR, False, 3, "active"),
        (40 * MINUTE, False, 0, "expiring"),
        (-1.0, False, 0, "expired"),
        (8 * HOUR, True, 0, "revoked"),
        (-1.0, True, 0, "revoked"),
        (None, False, 0, "active"),
        (None, False, 1, "expiring"),
    ],
)
def test_states(ends_in: float | None, revoked: bool, failures: int, state: str) -> None:
    ends = None if ends_in is None else NOW + ends_in
    assert state_of(revoked=revoked, expires_at=ends, life=8 * HOUR, failures=failures, now=NOW) == state
