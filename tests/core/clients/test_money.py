"""What is reserved of a limit of money, against the sum over all reservations that there are."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_relay.core.accounting.accounts import NANO
from claude_relay.core.accounting.holds import Hold
from claude_relay.core.accounting.needs import Need, Part
from claude_relay.core.accounting.reserve import Reserve
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.money import Spending
from claude_relay.core.times import DAY, HOUR
from core.accounting.desk import Desk

NOON = 1_795_348_800.0
TOKENS = st.integers(0, 3000)
"""A thousand cost a USD."""
ACTS = st.one_of(
    st.tuples(st.just("begin"), TOKENS, st.sampled_from([0, HOUR, -HOUR, -2 * HOUR])),
    st.tuples(st.just("grow"), TOKENS, st.integers(0, 9)),
    st.tuples(st.just("end"), st.booleans(), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1, HOUR / 2, HOUR, DAY]), st.none()),
)


def spending_of(limit: str) -> Spending:
    found = Spending(Bound(parse(limit), "client", "alice", limit), UTC)
    found.restore((), NOON, 0)
    return found


SET_BACK = [("wait", HOUR / 2, None), ("begin", 1000, -HOUR), ("wait", HOUR, None), ("begin", 1, 0), ("end", True, 0)]
"""It began tomorrow."""


@example("$9/day", SET_BACK)
@given(st.sampled_from(["$9/day", "$9/5h", "$9/total"]), st.lists(ACTS, max_size=40))
def test_it_is_the_sum_of_those_that_began_in_the_period(limit: str, acts: list[tuple[str, float, Any]]) -> None:
    spending, desk = spending_of(limit), Desk()
    desk.now = NOON + 11 * HOUR
    running: list[tuple[Reserve, Hold, float]] = []
    for act, first, second in acts:
        if act == "wait":
            desk.now += first
        elif act == "begin":  # it came some time ago, by a clock that may have been set back, and may be paid for now
            request = desk.of(Need((Part("", int(first), 0),)), desk.now - second, (spending,))
            try:
                request.move("p", "m")
            except ClientLimitError:
                assert spending.reserved.nano + first * NANO / 1000 > 9 * NANO
                continue
            running.append((request, request._running[0], spending.start))
        elif running and act == "grow":
            running[int(second) % len(running)][0].passed(0, 0, Usage(input_tokens=int(first)))
        elif running:
            request, hold, _ = running.pop(int(second) % len(running))
            if first:  # what it cost is counted
                request.counted()
            request.release()
            request.release()
            assert not hold.counted
        counts = [hold.nano for _, hold, start in running if hold.at >= start == spending.start]
        assert (spending.reserved.nano, spending.reserved.holds, len(desk.holds)) == (
            sum(counts),
            len(counts),
            len(running),
        )


def test_what_began_yesterday_is_not_reserved_of_today() -> None:
    spending, desk = spending_of("$1/day"), Desk()
    desk.now = NOON
    late = desk.request(0.5, spendings=(spending,))
    late.move("p", "m")
    with pytest.raises(ClientLimitError, match="reserved"):
        desk.request(1, spendings=(spending,)).move("p", "m")
    desk.now += DAY
    early = desk.request(1, spendings=(spending,))
    early.move("p", "m")
    late.release()
    assert spending.reserved.nano == NANO
    early.release()
    assert (spending.reserved.nano, spending.idle) == (0, True)
