"""Reservations: what has room, when it is told, and that nothing stays reserved."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from statistics import quantiles

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from claude_relay.core.accounting.accounts import NANO
from claude_relay.core.accounting.budgets import Budgets
from claude_relay.core.accounting.holds import LEAST, MOST, SOON, Hold, Holds
from claude_relay.core.accounting.needs import UNKNOWN, Need, Outputs, Part
from claude_relay.core.accounting.pricing import Prices
from claude_relay.core.accounting.reserve import LOOK, Reserve, Terms
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.config import Budget
from claude_relay.core.errors import BudgetError
from claude_relay.core.exchange import Hop

NOON = 1_795_000_000.0
OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"


def budget(**fields: object) -> Budget:
    return Budget.model_validate({"per": "day", "usd": 1} | fields)


def price(provider: str, model: str, usage: Usage, batch: bool) -> float | None:
    """1 USD for a thousand tokens, half of it in a batch; `free` has no price."""
    tokens = sum(number or 0 for number in (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens))
    return None if model == "free" else tokens / 1000 * (0.5 if batch else 1)


class Desk:
    """Budgets, and requests that reserve under them."""

    def __init__(self, *rules: Budget) -> None:
        self.now = NOON
        self.holds, self.outputs = Holds(), Outputs()
        self.budgets = Budgets(rules, holds=self.holds)

    def request(self, usd: float = 0.4, *, most: int | None = 100, at: float | None = None) -> Reserve:
        """One of a message that may cost so much: 100 tokens of output, the rest of input."""
        need = Need((Part("", round(usd * 1000) - (UNKNOWN if most is None else most), most),))
        return self.of(need, at)

    def of(self, need: Need, at: float | None = None) -> Reserve:
        begun = self.now if at is None else at
        terms = Terms(price, self.outputs)
        return Reserve(lambda: self.budgets, self.holds, need, terms, at=begun, clock=lambda: self.now)

    def reserved(self, which: int = 0) -> float:
        rule, _, span = self.budgets.state(self.now)[which]
        return self.holds.under(rule, span.start) / NANO


def test_what_is_reserved_counts() -> None:
    desk = Desk(budget())
    first, second, third = desk.request(), desk.request(), desk.request()
    first.move("anthropic", OPUS)
    second.move("anthropic", OPUS)
    assert desk.reserved() == 0.8
    with pytest.raises(
        BudgetError, match=r"'total per day' of \$1\.00 has no room .* \$0\.80 of it are reserved"
    ) as caught:
        third.move("anthropic", OPUS)
    assert (caught.value.status, caught.value.final, caught.value.retry_after) == (429, False, SOON)
    first.release()
    third.move("anthropic", OPUS)
    assert desk.reserved() == 0.8


def test_a_budget_that_is_spent_is_told_as_one() -> None:
    desk = Desk(budget())
    desk.request().move("anthropic", OPUS)
    desk.budgets.spent(NOON, "anthropic", OPUS, 1.0)
    with pytest.raises(BudgetError, match="is used up until") as caught:
        desk.request().move("anthropic", OPUS)
    assert caught.value.final
    assert caught.value.retry_after
    assert caught.value.retry_after > MOST


def test_what_is_left_may_be_used_by_one_alone() -> None:
    desk = Desk(budget())
    desk.budgets.spent(NOON, "anthropic", OPUS, 0.9)
    first, second = desk.request(5.0), desk.request(0.2)
    first.move("anthropic", OPUS)
    with pytest.raises(BudgetError):
        second.move("anthropic", OPUS)
    first.release()
    second.move("anthropic", OPUS)


def test_what_has_no_price_is_never_in_the_way() -> None:
    desk = Desk(budget())
    desk.request(5.0).move("anthropic", OPUS)
    desk.request().move("anthropic", "free")
    assert desk.reserved() == 5.0


def test_a_budget_that_only_warns_reserves_nothing() -> None:
    desk = Desk(budget(then="warn"))
    assert not desk.budgets.reserves
    for _ in range(9):
        desk.request().move("anthropic", OPUS)
    assert Desk(budget(then="warn"), budget(per="month")).budgets.reserves


def test_only_budgets_that_cover_it_reserve() -> None:
    desk = Desk(budget(provider="glm"), budget(model="claude-opus-*"), budget(per="week"))
    desk.request().move("anthropic", HAIKU)
    desk.request().move("glm", OPUS)
    assert [desk.reserved(n) for n in range(3)] == [0.4, 0.4, 0.8]


def test_admission_asks_for_room() -> None:
    desk = Desk(budget(provider="anthropic", then="local"))
    hops = [Hop("anthropic", OPUS), Hop("glm", "glm-4.6")]

    def admitted(usd: float, able: bool = True) -> list[Hop]:
        asks = desk.request(usd).asks
        return list(desk.budgets.admitted(hops, NOON, lambda name: "qwen", asks, lambda name: able))

    assert admitted(3.0) == hops  # alone
    desk.request(0.7).move("anthropic", OPUS)
    assert admitted(0.3) == hops
    assert admitted(0.4) == [Hop("local", "qwen"), hops[1]]
    assert admitted(0.4, able=False) == hops[1:]


def test_the_reservation_follows_the_attempt() -> None:
    desk = Desk(budget(provider="anthropic"), budget(provider="glm"))
    request = desk.request()
    request.move("anthropic", OPUS)
    request.move("anthropic", OPUS)  # another key
    assert (desk.reserved(0), desk.reserved(1)) == (0.4, 0)
    request.move("glm", "glm-4.6", spent=0.1)  # used for an answer that nobody got
    assert (desk.reserved(0), desk.reserved(1)) == (0.1, 0.4)
    request.release()
    request.move("anthropic", OPUS)
    assert (desk.reserved(0), desk.reserved(1), len(desk.holds)) == (0, 0, 0)


def test_an_attempt_without_room_leaves_nothing_behind() -> None:
    desk = Desk(budget(provider="glm"))
    desk.request(0.9).move("glm", "glm-4.6")
    request = desk.request()
    request.move("anthropic", OPUS)
    with pytest.raises(BudgetError):
        request.move("glm", "glm-4.6", spent=0.1)
    assert desk.reserved() == 0.9
    assert len(desk.holds) == 2  # what was spent at the first
    request.release()
    assert len(desk.holds) == 1


# -- while the answer runs


def test_a_longer_answer_is_topped_up() -> None:
    desk = Desk(budget(usd=100))
    request = desk.request(5.0, most=None)
    request.move("anthropic", OPUS)
    request.passed(LOOK // 2, 1, Usage(input_tokens=1000, output_tokens=1))
    assert (desk.reserved(), request.look_at) == (5.0, 1.5 * LOOK)
    request.passed(2 * LOOK, 1, Usage(input_tokens=1000, output_tokens=1))  # more than was expected, by its size
    assert desk.reserved() == pytest.approx(1 + 8.163 + LOOK / 4 / 1000)
    before = desk.reserved()
    request.passed(2 * LOOK + 1, 1, Usage(input_tokens=1000, output_tokens=1))
    assert desk.reserved() == before
    request.passed(3 * LOOK, 1, Usage(input_tokens=1000, output_tokens=20_000))  # as the answer says
    assert desk.reserved() == pytest.approx(1 + 20 + LOOK / 4 / 1000)


def test_input_that_is_dearer_than_its_size_is_topped_up_at_once() -> None:
    desk = Desk(budget(usd=100))
    request = desk.request(0.4)
    request.move("anthropic", OPUS)
    assert request.look_at == 0
    request.passed(200, 1, Usage(input_tokens=30, cache_read_tokens=12_000, output_tokens=1))
    assert desk.reserved() == 12.13
    request.passed(300, 2, Usage(input_tokens=3, output_tokens=1))
    assert desk.reserved() == 12.13


def test_events_are_not_taken_for_text_nor_more_for_possible_than_was_asked() -> None:
    desk = Desk(budget(usd=100))
    request = desk.request(0.4, most=100)
    request.move("anthropic", OPUS)
    request.passed(100_000, 1_000, Usage(input_tokens=300, output_tokens=1))
    assert desk.reserved() == 0.4


def test_a_batch_reserves_for_each_model_at_its_own_price() -> None:
    desk = Desk(budget(usd=100, model="claude-opus-*"), budget(usd=100))
    need = Need((Part(OPUS, 100, 900, 10), Part(HAIKU, 100, 100, 5), Part("free", 5, 5)), batch=True)
    desk.of(need).move("anthropic", "")
    assert [desk.reserved(n) for n in range(2)] == [5.0, 5.5]


# -- periods, and the wait


def test_a_request_of_the_day_before_takes_no_room_today() -> None:
    desk = Desk(budget(), budget(usd=9, per="month"))
    desk.request(0.9).move("anthropic", OPUS)
    desk.now = desk.budgets.state(NOON)[0][2].end
    assert (desk.reserved(0), desk.reserved(1)) == (0, 0.9)
    late = desk.request(0.5)
    late.move("anthropic", OPUS)
    assert (desk.reserved(0), desk.reserved(1)) == (0.5, 1.4)


def test_the_wait_is_as_long_as_until_one_of_them_usually_ends() -> None:
    holds = Holds()
    assert holds.wait() == SOON
    one = Hold("p", "m", NOON, 1)
    holds.add(one, 0.0)
    holds.drop(one, 20.0)
    holds.drop(one, 90.0)
    for n, expected in enumerate((20.0, 10.0, 20 / 3)):
        holds.add(Hold("p", "m", NOON + n, 1), 0.0)
        assert holds.wait() == expected
    for _ in range(99):
        holds.add(Hold("p", "m", NOON, 1), 0.0)
    assert holds.wait() == LEAST


def test_sums_of_rules_that_are_gone_are_not_kept() -> None:
    desk = Desk(budget(provider="glm"))
    desk.request().move("glm", "glm-4.6")
    desk.budgets = desk.budgets.renewed([budget()])
    assert desk.holds._sums == {}
    assert desk.reserved() == 0.4


# -- no leak


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


def test_admission_costs_microseconds() -> None:
    """With three budgets and real prices, 100 requests running."""
    prices = Prices()
    holds, outputs = Holds(), Outputs()
    rules = [
        budget(usd=1000),
        budget(per="month", usd=9000),
        budget(provider="anthropic", model="claude-opus-*", usd=500),
    ]
    budgets = Budgets(rules, holds=holds)

    def cost(provider: str, model: str, usage: Usage, batch: bool) -> float | None:
        found = prices.cost(model, provider, "https://api.anthropic.com", usage, datetime.now(UTC), batch=batch)
        return None if found is None else found.usd

    terms, need = Terms(cost, outputs), Need((Part("", 20_000, 32_000),))
    hops = [Hop("anthropic", OPUS)]
    for _ in range(200):
        outputs.learn("anthropic", OPUS, 700)
    took = []
    for _ in range(600):
        begun = time.perf_counter()
        request = Reserve(lambda: budgets, holds, need, terms, at=NOON, clock=lambda: NOON)
        budgets.admitted(hops, NOON, lambda name: OPUS, request.asks)
        request.move("anthropic", OPUS)
        took.append(time.perf_counter() - begun)
        if len(holds) < 100:
            continue
        request.release()
    p50 = quantiles(took[100:], n=2)[0]
    print(f"admission: p50 {p50 * 1e6:.0f} µs")
    assert p50 < 500e-6
