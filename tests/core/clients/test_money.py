"""What is reserved of a limit of money, against the sum over all reservations that there are."""

from __future__ import annotations

from datetime import UTC
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_relay.core.accounting.accounts import NANO
from claude_relay.core.accounting.budgets import Budgets, Cost
from claude_relay.core.accounting.holds import Hold, Holds
from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.money import ClientPurse, Spending
from claude_relay.core.times import DAY, HOUR

NOON = 1_795_348_800.0
NO_BUDGETS = SimpleNamespace(budgets=Budgets())
NANOS = st.integers(0, 3 * NANO)
ACTS = st.one_of(
    st.tuples(st.just("begin"), NANOS, st.sampled_from([0, HOUR, -HOUR, -2 * HOUR])),
    st.tuples(st.just("change"), NANOS, st.integers(0, 9)),
    st.tuples(st.just("end"), st.booleans(), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1, HOUR / 2, HOUR, DAY]), st.none()),
)


def spending_of(limit: str) -> Spending:
    found = Spending(Bound(parse(limit), "client", "alice", limit), UTC)
    found.restore((), NOON, 0)
    return found


SET_BACK = [("wait", HOUR / 2, None), ("begin", NANO, -HOUR), ("wait", HOUR, None), ("begin", 1, 0), ("end", True, 0)]
"""It began tomorrow."""


@example("$9/day", SET_BACK)
@given(st.sampled_from(["$9/day", "$9/5h", "$9/total"]), st.lists(ACTS, max_size=40))
def test_it_is_the_sum_of_those_that_began_in_the_period(limit: str, acts: list[tuple[str, float, Any]]) -> None:
    spending, holds, now = spending_of(limit), Holds(), NOON + 11 * HOUR
    running: list[tuple[ClientPurse, Hold, float]] = []
    for act, first, second in acts:
        if act == "wait":
            now += first
        elif act == "begin":  # it came some time ago, by a clock that may have been set back, and may be paid for now
            purse, nano = ClientPurse(NO_BUDGETS, holds, (spending,), ""), int(first)
            try:
                (hold,) = purse.take(now, "p", now - second, (Cost("m", nano),))
            except ClientLimitError:
                assert spending.reserved + nano > 9 * NANO
                continue
            running.append((purse, hold, spending.start))
        elif running and act == "change":
            purse, hold, _ = running[int(second) % len(running)]
            purse.change(hold, int(first))
        elif running:
            purse, hold, _ = running.pop(int(second) % len(running))
            if first:  # what it cost is counted
                purse.counted([hold])
            purse.drop(hold, now)
            purse.drop(hold, now)
            purse.change(hold, NANO)
        counts = sum(hold.nano for _, hold, start in running if hold.at >= start == spending.start)
        assert (spending.reserved, spending.holding, len(holds)) == (counts, len(running), len(running))


def test_what_began_yesterday_is_not_reserved_of_today() -> None:
    spending, holds = spending_of("$1/day"), Holds()
    late, early = (ClientPurse(NO_BUDGETS, holds, (spending,), "") for _ in range(2))
    cost = (Cost("m", NANO),)
    (hold,) = late.take(NOON, "p", NOON, (Cost("m", NANO // 2),))
    with pytest.raises(ClientLimitError, match="reserved"):
        early.take(NOON, "p", NOON, cost)
    (other,) = early.take(NOON + DAY, "p", NOON + DAY, cost)
    late.drop(hold, NOON + DAY)
    assert spending.reserved == NANO
    early.drop(other, NOON + DAY)
    assert spending.reserved == 0
