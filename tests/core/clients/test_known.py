"""What one relay knows of how far limits are used; as requests need it: test_admission."""

from __future__ import annotations

from datetime import UTC

from claude_relay.core.clients.demand import Bound, bounds_of
from claude_relay.core.clients.known import KEPT, Knowledge
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.money import slot_of
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import DAY, HOUR, seconds_of

NOW = seconds_of("2026-11-25T12:00:00Z") or 0.0


def bounds(*limits: str) -> tuple[Bound, ...]:
    return tuple(bounds_of("client", "alice", Policy(limits=tuple(parse(limit) for limit in limits))))


def test_rates_and_money_are_missing_until_they_are_learned() -> None:
    knowledge = Knowledge(UTC)
    rate, money, places = wanted = bounds("10 requests/minute", "$1/day", "2 concurrent")
    assert knowledge.missing(wanted) == [rate, money]
    knowledge.learned(rate.key, NOW + 30)
    spending = knowledge.spending(money, NOW)
    assert knowledge.missing(wanted) == [money]
    spending.restore([], NOW, 0)
    assert knowledge.missing(wanted) == []
    assert knowledge.rates[rate.key].used(10, NOW) == 5
    assert places.key not in knowledge.rates


def test_what_was_used_meanwhile_stays() -> None:
    knowledge = Knowledge(UTC)
    (bound,) = bounds("10 requests/minute")
    knowledge.learned(bound.key, NOW)
    knowledge.rates[bound.key].charge(10, 2, NOW)
    knowledge.learned(bound.key, 0.0)
    assert knowledge.rates[bound.key].used(10, NOW) == 2


def test_an_edited_limit_has_the_same_money() -> None:
    knowledge = Knowledge(UTC)
    (before,), (after,) = bounds("$1/day"), bounds("$5/day")
    spending = knowledge.spending(before, NOW)
    assert knowledge.spending(after, NOW) is spending
    assert spending.bound.limit is after.limit


def test_money_is_kept_for_a_while_without_a_request() -> None:
    knowledge = Knowledge(UTC)
    (bound,) = bounds("$1/day")
    knowledge.spending(bound, NOW)
    knowledge.forget(NOW + KEPT)
    assert bound.key in knowledge.spendings
    knowledge.forget(NOW + KEPT + 1)
    assert knowledge.spendings == {}


def test_a_clock_that_was_ahead_for_a_while() -> None:
    (bound,) = bounds("$9/5h")
    spending = Knowledge(UTC).spending(bound, NOW)
    spending.restore([], NOW, 0)
    assert spending.spent(NOW + 30 * DAY) == 0
    spending.restore([(slot_of(NOW - 4 * HOUR), 2.0)], NOW, spending.mark())
    assert [spending.spent(NOW + hours * HOUR) for hours in (0, 2)] == [2.0, 0.0]
