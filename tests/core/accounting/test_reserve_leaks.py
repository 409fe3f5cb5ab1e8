"""However requests come, move, run and end: nothing stays reserved, and each sum is that of what runs."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from claude_relay.core.accounting.needs import Need, Part
from claude_relay.core.accounting.reserve import Reserve
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.config import Budget
from claude_relay.core.errors import BudgetError

from .desk import HAIKU, OPUS, Desk, budget


class Requests(RuleBasedStateMachine):
    """Requests come, move, run and end in any order and in any way, while budgets are exchanged and days pass."""

    places = st.tuples(st.sampled_from(["anthropic", "glm"]), st.sampled_from([OPUS, HAIKU, "free"]))
    rules = st.lists(
        st.builds(
            budget,
            name=st.uuids().map(str),
            usd=st.floats(0.01, 20),
            per=st.sampled_from(["day", "week", "month"]),
            provider=st.sampled_from([None, "anthropic", "glm"]),
            model=st.sampled_from([None, "claude-*", "claude-opus-*"]),
            then=st.sampled_from(["stop", "warn", "glm"]),
        ).filter(lambda made: made.then != made.provider),
        max_size=4,
    )

    @initialize(rules=rules)
    def begin(self, rules: list[Budget]) -> None:
        self.desk = Desk(*rules)
        self.running: list[Reserve] = []

    @rule(usd=st.floats(0.1, 3), batch=st.booleans())
    def comes(self, usd: float, batch: bool) -> None:
        part = Part(OPUS if batch else "", round(usd * 1000), 50, 2)
        self.running.append(self.desk.of(Need((part, Part(HAIKU, 7, 7)) if batch else (part,), batch)))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), place=places, spent=st.sampled_from([0.0, 0.05]))
    def moves(self, data: st.DataObject, place: tuple[str, str], spent: float) -> None:
        request = data.draw(st.sampled_from(self.running))
        with suppress(BudgetError):
            request.move(*place, spent)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), size=st.integers(0, 10**6), output=st.integers(0, 10**5))
    def runs(self, data: st.DataObject, size: int, output: int) -> None:
        data.draw(st.sampled_from(self.running)).passed(size, size // 200, Usage(output_tokens=output))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), place=places, cost=st.sampled_from([None, 0.0, 0.2]), again=st.booleans())
    def ends(self, data: st.DataObject, place: tuple[str, str], cost: float | None, again: bool) -> None:
        request = data.draw(st.sampled_from(self.running))
        self.running.remove(request)
        self.desk.budgets.spent(self.desk.now, *place, cost)
        request.release()
        if again:  # by another way of ending; or by a hook that still runs
            request.move(*place)
            request.passed(10**6, 0, Usage(output_tokens=10**5))
            request.release()

    @rule(rules=rules)
    def is_edited(self, rules: list[Budget]) -> None:
        self.desk.budgets = self.desk.budgets.renewed(rules)

    @rule(seconds=st.sampled_from([1.0, 3600.0, 90_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.desk.now += seconds

    @invariant()
    def each_sum_is_that_of_what_runs(self) -> None:
        live = [hold for request in self.running for hold in (*request._running, *request._spent)]
        assert set(live) == set(self.desk.holds._live)
        for made, _, span in self.desk.budgets.state(self.desk.now):
            mine = [
                hold.nano
                for hold in live
                if hold.at >= span.start
                and made.provider in (None, hold.provider)
                and (made.model is None or hold.model.startswith(made.model.rstrip("*")))
            ]
            assert self.desk.holds.under(made, span.start) == sum(mine)

    def teardown(self) -> None:
        for request in getattr(self, "running", ()):
            request.release()
        assert not hasattr(self, "desk") or len(self.desk.holds) == 0


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
