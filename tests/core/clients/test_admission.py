"""One request under several limits: all or nothing, in the right order, and what it took is given back once."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from claude_relay.core.clients.admission import Admission, Limiter, domain_of
from claude_relay.core.clients.agents import Trees
from claude_relay.core.clients.demand import Bound, Weight
from claude_relay.core.clients.directory import Client, Group
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.known import Plan
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.money import Spending, slot_of
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.times import DAY, HOUR, MINUTE, seconds_of
from core.accounting.desk import Desk as Money

NOW = seconds_of("2026-11-25T12:00:00Z") or 0.0
"""A Wednesday."""
ONE = Weight(tokens=100)


def client(*limits: str, name: str = "alice", group: tuple[str, ...] = (), priority: int = 1) -> Client:
    policy = Policy(limits=tuple(parse(limit) for limit in limits))
    team = Group("team", Policy(limits=tuple(parse(limit) for limit in group))) if group else None
    return Client(id=name, name=name, policy=policy, group=team, priority=priority)


class Desk:
    """A limiter whose leases are granted at once, and who asks."""

    def __init__(self) -> None:
        self.limiter, self.now = Limiter(UTC), NOW

    def plan(self, who: Client, model: str = "claude-opus-4-5", session: str = "s", tree: str | None = None) -> Plan:
        known = self.limiter.plan_of(who, model, session, tree)
        for bound in self.limiter.missing(self.limiter.demands.of(who, model, session, tree)):
            if bound.limit.measure == "usd":
                self.limiter.spending(bound, self.now).restore([], self.now, 0)
            else:
                self.limiter.learned(bound.key, 0.0)
        found = known or self.limiter.new_plan(who, model, session, tree, self.now)
        assert self.limiter.plan_of(who, model, session, tree) is found
        self.limiter.slots.full(found.places, self.now)
        self.limiter.slots.leased({bound.key: int(bound.limit.amount) for bound in found.places}, NOW + 30 * DAY)
        return found

    def bounds(self, who: Client, **what: Any) -> tuple[Bound, ...]:
        return self.plan(who, **what).bounds

    def enter(self, who: Client, weight: Weight = ONE, **what: Any) -> Admission | None:
        return self.limiter.enter(self.plan(who, **what), weight, self.now, self.now)

    def error(self, who: Client, weight: Weight = ONE, **what: Any) -> ClientLimitError:
        with pytest.raises(ClientLimitError) as caught:
            self.enter(who, weight, **what)
        return caught.value


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_client_without_limits_has_no_bounds(desk: Desk) -> None:
    assert desk.bounds(client()) == ()


def test_requests_a_minute(desk: Desk) -> None:
    who = client("2 requests/minute")
    assert desk.enter(who)
    assert desk.enter(who)
    error = desk.error(who)
    assert (error.status, error.type, error.final, error.retry_after) == (429, None, False, pytest.approx(30))
    assert "The limit '2 requests/minute' of the client 'alice'" in error.message
    assert "2026-11-25 12:00:30 UTC" in error.message
    desk.now += 30
    assert desk.enter(who)


def test_whom_to_turn_to(desk: Desk) -> None:
    desk.limiter.contact = "ops@example.com"
    who = client("1 requests/minute")
    desk.enter(who)
    assert "ask ops@example.com" in desk.error(who).message


def test_the_group_refuses_and_the_client_keeps_what_is_its_own(desk: Desk) -> None:
    alice = client("9 requests/minute", "3 concurrent", group=("2 requests/minute",))
    for _ in range(2):
        assert desk.enter(alice)
    for _ in range(5):
        assert desk.error(alice).subject == "group"
    own, _, _ = desk.bounds(alice)
    assert desk.limiter.rates[own.key].used(9, desk.now) == pytest.approx(2)
    assert desk.limiter.slots.used("client:alice concurrent/ all *") == 2


def test_tokens_are_corrected_by_what_was_used(desk: Desk) -> None:
    who = client("1k tokens/minute")
    admission = desk.enter(who, Weight(tokens=900))
    assert admission is not None
    desk.error(who, Weight(tokens=900))
    admission.settle(50, desk.now, desk.now)
    admission.settle(0, desk.now, desk.now)
    assert desk.enter(who, Weight(tokens=900))
    error = desk.error(who, Weight(tokens=100))
    assert error.retry_after == pytest.approx(3.0)


def test_what_asks_no_model_is_a_request_and_nothing_else(desk: Desk) -> None:
    who = client("2 requests/minute", "1k tokens/minute", "1 concurrent", "$1/day")
    count = Weight(runs=False)
    first, second = desk.enter(who, count), desk.enter(who, count)
    assert first is not None
    assert second is not None
    assert desk.limiter.slots.used("client:alice concurrent/ all *") == 0
    first.settle(None, desk.now, desk.now)
    assert desk.limiter.slots.used("client:alice concurrent/ all *") == 0
    assert desk.error(who, count).limit == parse("2 requests/minute")


def test_models_sessions_and_agents_are_counted_apart(desk: Desk) -> None:
    who = client("1 requests/minute per session model *opus*", "1 requests/minute per agent model *haiku*")
    assert desk.enter(who, session="a")
    assert desk.enter(who, session="b")
    assert desk.enter(who, model="claude-sonnet-5", session="a")
    assert " in this session" in desk.error(who, session="a").message
    haiku = {"model": "claude-haiku-4-5", "session": "a"}
    assert desk.enter(who, **haiku)
    assert desk.enter(who, tree="one", **haiku)
    assert desk.enter(who, tree="two", **haiku)
    assert desk.error(who, tree="one", **haiku).scope == "agent"
    assert desk.error(who, **haiku)


def test_the_smaller_of_two_alike_holds_and_an_edit_keeps_what_is_used(desk: Desk) -> None:
    for _ in range(2):
        assert desk.enter(client("5 requests/minute", "2 requests/minute"))
    assert desk.error(client("5 requests/minute", "2 requests/minute")).retry_after == pytest.approx(30)
    assert desk.error(client("5 requests/minute")).retry_after == pytest.approx(
        12
    )  # all of it is used, and comes back sooner


def test_agents_belong_to_the_one_they_came_from() -> None:
    trees = Trees(most=3)
    assert trees.root("alice", "s", "one", None) == "one"
    assert trees.root("alice", "s", "two", "one") == "one"
    assert trees.root("alice", "s", "three", "two") == "one"
    assert trees.root("bob", "s", "three", "two") == "two"
    assert trees.root("alice", "s", "one", "one") == "one"


def test_concurrent_ones_wait_their_turn_within_the_group(desk: Desk) -> None:
    one = ("1 concurrent",)
    high, low = client(name="high", priority=3, group=one), client(name="low", group=one)
    running = desk.enter(low)
    assert running is not None
    turns: list[int] = []
    waiting = []
    for n, who in enumerate((low, low, low, high, high, high)):
        plan = desk.plan(who)
        assert desk.limiter.enter(plan, ONE, desk.now, desk.now) is None
        found = desk.limiter.queue(plan, desk.now, desk.now, lambda n=n: turns.append(n))
        waiting.append((found, plan))
    assert desk.limiter.waits_for(high)
    assert desk.limiter.waits_for(low)
    desk.limiter.serve(desk.now)
    assert turns == []
    desk.limiter.left(waiting.pop(2)[0], desk.now)
    assert desk.limiter.position(waiting[0][0]) in {(n, 5) for n in range(1, 6)}
    for done in range(1, 6):
        running.settle(None, desk.now, desk.now)
        assert len(turns) == done
        _, plan = waiting[turns[-1] - (turns[-1] > 2)]
        running = desk.limiter.enter(plan, ONE, desk.now, desk.now, served=True)
        assert running is not None
        assert desk.limiter.slots.used("group:team concurrent/ all *") == 1
    assert sorted(turns[:4]) == [0, 3, 4, 5]
    assert turns[4] == 1
    running.settle(None, desk.now, desk.now)
    assert desk.limiter.slots.used("group:team concurrent/ all *") == 0
    assert not desk.limiter.waits_for(high)
    assert domain_of(high) == domain_of(low)


def test_who_leaves_with_a_place_that_it_was_given_gives_it_to_the_next(desk: Desk) -> None:
    who = client("1 concurrent")
    running = desk.enter(who)
    assert running is not None
    plan, woken = desk.plan(who), []
    waiting = [desk.limiter.queue(plan, desk.now, desk.now, lambda n=n: woken.append(n)) for n in range(2)]
    running.settle(None, desk.now, desk.now)
    assert woken == [0]
    desk.limiter.left(waiting[0], desk.now)
    assert woken == [0, 1]
    desk.limiter.left(waiting[1], desk.now)
    assert desk.enter(who)


def test_the_wait_was_in_vain(desk: Desk) -> None:
    who = client("1 concurrent")
    desk.enter(who)
    places = desk.plan(who).places
    error = desk.limiter.gave_up(places, desk.now, desk.now, "30 s in the queue were not enough")
    assert (error.status, error.type, error.final) == (429, None, False)
    assert (error.retry_after or 0) >= 1
    assert "30 s in the queue" in error.message


# -- money


def count(admission: Admission, at: float, usd: float) -> list[Spending]:
    """Those that it brings near their end."""
    return [spending for spending in admission.plan.spendings if spending.spend(at, usd)]


def spend(desk: Desk, who: Client, usd: float, at: float | None = None, **what: Any) -> Admission:
    admission = desk.enter(who, **what)
    assert admission is not None
    count(admission, desk.now if at is None else at, usd)
    admission.settle(None, desk.now, desk.now)
    return admission


@pytest.mark.parametrize(
    ("per", "end"),
    [("day", "2026-11-26"), ("week", "2026-11-30"), ("month", "2026-12-01")],
)
def test_money_until_the_end_of_a_period(desk: Desk, per: str, end: str) -> None:
    who = client(f"$2/{per}")
    spend(desk, who, 1.5)
    spend(desk, who, 0.5)
    error = desk.error(who)
    assert (error.status, error.type, error.final, error.spent) == (429, "billing_error", True, 2.0)
    assert error.resets_at == seconds_of(f"{end}T00:00:00Z")
    assert error.retry_after == pytest.approx((error.resets_at or 0) - desk.now)
    assert f"{end} 00:00:00 UTC" in error.message
    desk.now = error.resets_at or 0
    assert desk.enter(who)


def test_money_in_total_has_no_end(desk: Desk) -> None:
    who = client("$2/total")
    spend(desk, who, 2.5)
    desk.now += 400 * DAY
    error = desk.error(who)
    assert (error.resets_at, error.retry_after) == (None, None)


def test_five_hours_roll(desk: Desk) -> None:
    who = client("$2/5h")
    spend(desk, who, 1.2)
    desk.now += 2 * HOUR
    spend(desk, who, 1.0)
    error = desk.error(who)
    assert error.resets_at == pytest.approx(NOW + 5 * HOUR, abs=300)
    desk.now = error.resets_at or 0
    assert desk.enter(who)
    spend(desk, who, 1.1)
    assert desk.error(who).resets_at == pytest.approx(NOW + 7 * HOUR, abs=300)


def test_one_runaway_agent_stops_and_the_others_go_on(desk: Desk) -> None:
    who = client("$1/day per agent")
    spend(desk, who, 5.0, tree="mad")
    assert desk.error(who, tree="mad")
    assert desk.enter(who, tree="other")
    assert desk.enter(who)


def test_what_is_not_known_is_not_spent(desk: Desk) -> None:
    who = client("$1/day")
    plan = desk.limiter.new_plan(who, "m", "s", None, desk.now)
    with pytest.raises(ClientLimitError, match="cannot be read") as caught:
        desk.limiter.look(plan, ONE, desk.now)
    assert not caught.value.readable
    assert desk.limiter.plan_of(who, "m", "s", None) is None


def test_reservations_are_kept_as_for_budgets(desk: Desk) -> None:
    """As long as something is left one has room alone; two have as much as fits."""
    who = client("$1/day")
    admission = desk.enter(who)
    assert admission is not None
    money = Money()
    money.now = desk.now
    spendings = admission.plan.spendings
    first, second = (money.request(0.6, spendings=spendings) for _ in range(2))
    first.move("p", "m")
    with pytest.raises(ClientLimitError, match="reserved") as caught:
        second.move("p", "m")
    assert (caught.value.type, caught.value.final) == (None, False)
    assert len(money.holds) == admission.plan.spendings[0].reserved.holds == 1
    first.counted()
    second.move("p", "m")
    assert len(money.holds) == 2
    second.counted()
    for request in (first, second):
        request.release()
    assert len(money.holds) == 0
    assert admission.plan.spendings[0].reserved.holds == 0


def test_what_the_ledger_says_is_believed(desk: Desk) -> None:
    who = client("$9/day", "$9/5h")
    spend(desk, who, 1.0)
    for bound in desk.bounds(who):
        spending = desk.limiter.spending(bound, desk.now)
        mark = spending.mark()
        spending.spend(desk.now, 0.25)  # while it was read: it may be in it
        spending.restore([(slot_of(desk.now - HOUR), 2.0), (slot_of(desk.now), 1.25)], desk.now, mark)
        assert spending.spent(desk.now) == pytest.approx(3.25)
        spending.restore([(slot_of(desk.now), 0.5)], desk.now, None)
        assert spending.spent(desk.now) == pytest.approx(3.25)
        spending.restore([(slot_of(desk.now), 0.5)], desk.now, spending.mark())
        assert spending.spent(desk.now) == pytest.approx(0.5)


def test_near_is_said_once(desk: Desk) -> None:
    who = client("$1/day")
    admission = desk.enter(who)
    assert admission is not None
    assert [len(count(admission, desk.now, usd)) for usd in (0.7, 0.15, 0.1)] == [0, 1, 0]
    assert "is near: $0.95 spent" in admission.plan.spendings[0].notice(desk.now).text


def test_standings(desk: Desk) -> None:
    who = client("10 requests/minute", "2 concurrent", "$4/day", group=("$9/month",))
    running = desk.enter(who)
    assert running is not None
    count(running, desk.now, 1.5)
    found = list(desk.limiter.standings(desk.bounds(who), desk.now))
    assert [(str(one.limit), one.subject, round(one.used, 6)) for one in found] == [
        ("10 requests/minute", "client", 1.0),
        ("2 concurrent", "client", 1),
        ("$4/day", "client", 1.5),
        ("$9/month", "group", 1.5),
    ]
    assert found[2].resets_at == seconds_of("2026-11-26T00:00:00Z")


def test_what_is_as_never_used_is_forgotten(desk: Desk) -> None:
    desk.enter(client("10 requests/minute", "$1/day"))
    desk.limiter.forget(desk.now)
    assert (len(desk.limiter.rates), len(desk.limiter.spendings)) == (1, 1)
    next(iter(desk.limiter.rates.values())).report()
    desk.now += 2 * HOUR
    desk.limiter.forget(desk.now)
    assert desk.limiter.rates == desk.limiter.spendings == {}


@pytest.mark.parametrize("weight", [Weight(100), Weight(runs=False)])
def test_rates_that_were_asked_for_lately_are_kept(desk: Desk, weight: Weight) -> None:
    """Also those that are made good at once, and those of which nothing was used: else each minute would read them anew."""
    desk.enter(client("600k requests/minute", "600M tokens/minute"), weight)
    for rate in desk.limiter.rates.values():
        rate.report()
    for wait, count in ((MINUTE - 1, 2), (2, 0)):
        desk.now += wait
        desk.limiter.forget(desk.now)
        assert len(desk.limiter.rates) == count


def test_what_was_forgotten_is_found_anew(desk: Desk) -> None:
    who = client("10 requests/minute", "$1/day")
    desk.enter(who)
    next(iter(desk.limiter.rates.values())).report()
    desk.now += 2 * HOUR
    desk.limiter.forget(desk.now)
    again = desk.enter(who)
    assert again is not None
    assert [rate.used(10, desk.now) for rate in desk.limiter.rates.values()] == [1.0]
    assert again.plan.spendings == tuple(desk.limiter.spendings.values())


def test_requests_of_before_an_edit_have_the_limit_of_before(desk: Desk) -> None:
    spend(desk, client("$1/day"), 2.0)
    before, after = desk.plan(client("$1/day")), desk.plan(client("$5/day"))
    for _ in range(2):
        with pytest.raises(ClientLimitError, match=r"'\$1/day'"):
            desk.limiter.enter(before, ONE, desk.now, desk.now)
        assert desk.limiter.enter(after, ONE, desk.now, desk.now)


def test_what_was_told_is_told_again_once_it_moves(desk: Desk) -> None:
    who = client("10 requests/minute")
    for _ in range(2):
        desk.enter(who)
        desk.enter(who)
        (rate,) = desk.limiter.moved
        desk.limiter.moved = set()
        change = rate.report()
        assert change is not None
        assert change.moved == pytest.approx(12)


def test_what_is_being_read_is_kept(desk: Desk) -> None:
    plan = desk.limiter.new_plan(client("$1/day"), "m", "s", None, desk.now)
    (spending,) = plan.spendings
    desk.limiter.forget(desk.now)
    spending.restore([], desk.now, 0)
    desk.limiter.forget(desk.now)  # who wants it may wait for a place
    assert list(desk.limiter.spendings.values()) == [spending]
    desk.limiter.look(plan, ONE, desk.now)
