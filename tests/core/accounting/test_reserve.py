"""Reservations: what has room, when it is told, and that nothing stays reserved."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from statistics import quantiles
from types import SimpleNamespace

import pytest

from claude_relay.core.accounting.budgets import Budgets
from claude_relay.core.accounting.holds import LEAST, MOST, SOON, Hold, Holds
from claude_relay.core.accounting.needs import Need, Outputs, Part
from claude_relay.core.accounting.pricing import Prices, Tariff
from claude_relay.core.accounting.reserve import LOOK, Reserve, Terms
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.errors import BudgetError
from claude_relay.core.exchange import Target

from .desk import HAIKU, NOON, OPUS, Desk, budget


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
    targets = [Target("anthropic", OPUS), Target("glm", "glm-4.6")]

    def admitted(usd: float, able: bool = True) -> list[Target]:
        costs = desk.request(usd).costs
        return list(desk.budgets.admitted(targets, NOON, lambda name: "qwen", costs, lambda name: able))

    assert admitted(3.0) == targets  # alone
    desk.request(0.7).move("anthropic", OPUS)
    assert admitted(0.3) == targets
    assert admitted(0.4) == [Target("local", "qwen"), targets[1]]
    assert admitted(0.4, able=False) == targets[1:]


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


def test_searches_are_topped_up() -> None:
    """Also where all else is as it was expected."""
    desk = Desk(budget(usd=100))
    request = desk.request(1.0)
    request.move("anthropic", OPUS)
    for searches, expected in ((None, 1.0), (2, 3.0)):
        request.passed(100, 1, Usage(input_tokens=900, output_tokens=1, server_tool_requests=searches))
        assert desk.reserved() == pytest.approx(expected)


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

    def quote(provider: str, model: str, batch: bool) -> Tariff | None:
        return prices.tariff(model, provider, "https://api.anthropic.com", datetime.now(UTC), batch=batch)

    terms, need = Terms(cost, quote, outputs), Need((Part("", 20_000, 32_000),))
    targets = [Target("anthropic", OPUS)]
    for _ in range(200):
        outputs.learn("anthropic", OPUS, 700)
    took = []
    for _ in range(600):
        begun = time.thread_time()
        request = Reserve(SimpleNamespace(budgets=budgets), holds, need, terms, at=NOON, clock=lambda: NOON)
        budgets.admitted(targets, NOON, lambda name: OPUS, request.costs)
        request.move("anthropic", OPUS)
        took.append(time.thread_time() - begun)
        if len(holds) < 100:
            continue
        request.release()
    p50 = quantiles(took[100:], n=2)[0]
    print(f"admission: p50 {p50 * 1e6:.0f} µs")
    assert p50 < 1e-3
