"""Rates: never more than a minute's amount at once and as much again each minute, over one relay and over several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.clients.gcra import PERIOD, Rate, joined

START = 1_700_000_000.0
arrivals = st.lists(st.tuples(st.floats(0, 40), st.integers(1, 30)), max_size=60)


@given(amount=st.integers(1, 100), arrivals=arrivals)
def test_no_window_has_more_than_burst_and_rate(amount: int, arrivals: list[tuple[float, int]]) -> None:
    rate, now, let_through = Rate(), START, []
    for pause, cost in arrivals:
        now += pause
        if cost <= amount and not rate.wait(amount, cost, now):
            rate.charge(amount, cost, now)
            let_through.append((now, cost))
    for first, (begin, _) in enumerate(let_through):
        total = 0
        for end, cost in let_through[first:]:
            total += cost
            assert total <= amount + (end - begin) * amount / PERIOD + 1e-3


@given(amount=st.integers(1, 100), arrivals=arrivals)
def test_the_wait_is_true(amount: int, arrivals: list[tuple[float, int]]) -> None:
    rate, now = Rate(), START
    for pause, cost in arrivals:
        now += pause
        if wait := rate.wait(amount, cost, now):
            assert rate.wait(amount, cost, now + wait / 2) > 0
            now += wait
        assert not rate.wait(amount, cost, now)
        rate.charge(amount, cost, now)


def test_a_minutes_amount_at_once_and_then_one_each_share() -> None:
    rate = Rate()
    for _ in range(10):
        assert not rate.wait(10, 1, START)
        rate.charge(10, 1, START)
    assert rate.wait(10, 1, START) == pytest.approx(6.0)
    assert rate.wait(10, 5, START) == pytest.approx(30.0)
    assert rate.used(10, START) == pytest.approx(10)


def test_what_is_larger_than_the_limit_has_room_when_nothing_is_used_and_is_made_good() -> None:
    rate = Rate()
    assert not rate.wait(100, 250, START)
    rate.charge(100, 250, START)
    assert rate.wait(100, 100, START) == pytest.approx(150.0)


def test_a_correction_gives_back_what_is_not_made_good_yet() -> None:
    rate = Rate()
    rate.charge(1_000, 900, START)
    rate.charge(1_000, -800, START)
    assert rate.used(1_000, START) == pytest.approx(100)
    rate.charge(1_000, 400, START)
    assert rate.used(1_000, START) == pytest.approx(500)
    rate.charge(1_000, -800, START + PERIOD)
    assert not rate.moved < 0
    assert rate.used(1_000, START + PERIOD) == 0


class Exchange:
    """What is stored of one rate."""

    def __init__(self) -> None:
        self.tat: float | None = None

    def trade(self, rate: Rate) -> None:
        change = rate.report()
        if change is not None:
            self.tat = change.tat if self.tat is None else joined(self.tat, change)
        if self.tat is not None and (change is None or self.tat != change.tat):
            rate.absorb(self.tat)


@given(arrivals=arrivals, amount=st.integers(1, 50))
def test_one_relay_stores_what_it_knows(amount: int, arrivals: list[tuple[float, int]]) -> None:
    rate, alone, stored, now = Rate(), Rate(), Exchange(), START
    for pause, cost in arrivals:
        now += pause
        rate.charge(amount, cost, now)
        alone.charge(amount, cost, now)
        stored.trade(rate)
        assert stored.tat == rate.tat == alone.tat


@given(arrivals=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 10)), max_size=60), amount=st.integers(3, 60))
def test_several_relays_that_exchange_after_each_request_are_as_strict_as_one(
    amount: int, arrivals: list[tuple[int, float]]
) -> None:
    relays, stored, now, let_through = [Rate(), Rate(), Rate()], Exchange(), START, []
    for which, pause in arrivals:
        now += pause
        stored.trade(relays[which])
        if not relays[which].wait(amount, 1, now):
            relays[which].charge(amount, 1, now)
            stored.trade(relays[which])
            let_through.append(now)
    for first, begin in enumerate(let_through):
        for last, end in enumerate(let_through[first:], 1):
            assert last <= amount + (end - begin) * amount / PERIOD + 1e-3


def test_what_two_use_between_two_exchanges_is_added_up() -> None:
    one, two, stored = Rate(), Rate(), Exchange()
    for rate in (one, two):
        for _ in range(5):
            rate.charge(10, 1, START)
    stored.trade(one)
    stored.trade(two)
    stored.trade(one)
    assert one.used(10, START) == two.used(10, START) == pytest.approx(10)
