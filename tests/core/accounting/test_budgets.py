from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.accounting.budgets import Budgets, Span, Sum, span
from claude_relay.core.config import Budget
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Target
from claude_relay.core.notices import Kind

BERLIN = ZoneInfo("Europe/Berlin")
OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"
A, G, L = Target("anthropic", OPUS), Target("glm", "glm-4.6"), Target("local", "qwen")
MODELS = {target.provider: target.model for target in (A, G, L)}


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


NOON = moment("2026-11-18T12:00")  # a Wednesday


def rule(**fields: object) -> Budget:
    return Budget.model_validate({"per": "day", "usd": 10} | fields)


def budgets(*rules: Budget) -> Budgets:
    return Budgets(rules, BERLIN)


def admitted(made: Budgets, *targets: Target, at: float = NOON) -> list[str]:
    found = made.admitted(targets, at, MODELS.__getitem__)
    assert all(target.model == MODELS[target.provider] for target in found)
    return [target.provider for target in found]


# -- periods


@pytest.mark.parametrize(
    ("per", "at", "start", "end"),
    [
        ("day", "2026-11-18T00:00", "2026-11-18", "2026-11-19"),
        ("day", "2026-10-25T12:00", "2026-10-25", "2026-10-26"),
        ("week", "2026-11-22T23:59", "2026-11-16", "2026-11-23"),
        ("week", "2026-03-23T00:00", "2026-03-23", "2026-03-30"),
        ("month", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_periods_begin_at_midnight_in_the_zone(per: str, at: str, start: str, end: str) -> None:
    assert span(per, moment(at), BERLIN) == Span(moment(start), moment(end))


def test_a_day_when_clocks_change_is_longer_or_shorter() -> None:
    lengths = [span("day", moment(f"2026-{day}T12:00"), BERLIN) for day in ("03-29", "10-25")]
    assert [(one.end - one.start) / 3600 for one in lengths] == [23, 25]


@given(st.sampled_from(["day", "week", "month"]), st.integers(0, 4_000_000_000), st.sampled_from([BERLIN, None]))
def test_every_moment_is_in_its_period_and_periods_touch(per: str, at: int, zone: ZoneInfo | None) -> None:
    found = span(per, at, zone)
    start, end = found.start, found.end
    assert start <= at < end
    assert span(per, end, zone).start == end
    assert span(per, start, zone) == Span(start, end)


# -- what counts


@pytest.mark.parametrize(
    ("fields", "usd"),
    [
        ({}, 7),
        ({"provider": "anthropic"}, 3),
        ({"model": "CLAUDE-OPUS-*"}, 1),
        ({"provider": "glm", "model": "glm-*"}, 4),
        ({"provider": "glm", "model": "claude-*"}, 0),
    ],
)
def test_a_rule_counts_what_it_is_for(fields: dict[str, str], usd: float) -> None:
    made = budgets(rule(**fields))
    for provider, model, cost in (("anthropic", OPUS, 1), ("anthropic", HAIKU, 2), ("glm", "glm-4.6", 4)):
        made.spent(NOON, provider, model, cost)
    made.spent(NOON, "anthropic", OPUS, None)
    assert [spent for _, spent, _ in made.state(NOON)] == [usd]


def test_a_budget_begins_anew_and_late_money_of_the_day_before_is_not_counted() -> None:
    made = budgets(rule())
    midnight = moment("2026-11-19")
    made.spent(NOON, "anthropic", OPUS, 10)
    assert made.verdict(midnight - 1, "anthropic", OPUS)
    assert made.verdict(midnight, "anthropic", OPUS) is None
    made.spent(NOON, "anthropic", OPUS, 10)
    assert made.verdict(midnight, "anthropic", OPUS) is None


def test_the_ledger_is_believed_only_where_it_says_more() -> None:
    made = budgets(rule(name="a"))
    start = span("day", NOON, BERLIN).start
    made.restore([Sum("a", start, 4), Sum("unknown", start, 99)])
    made.spent(NOON, "anthropic", OPUS, 3)
    made.restore([Sum("a", start, 4)])  # read before the last was written
    assert made.state(NOON)[0][1] == 7
    made.restore([Sum("a", start, 9)])  # another relay spent 2
    made.restore([Sum("a", start - 86400, 50)])
    assert made.state(NOON)[0][1] == 9


def test_what_was_counted_before_the_mark_is_what_the_ledger_says_more_or_less() -> None:
    made = budgets(rule(name="a"))
    start = span("day", NOON, BERLIN).start
    made.spent(NOON, "anthropic", OPUS, 3)
    mark = made.mark()
    made.spent(NOON, "anthropic", OPUS, 1)  # while the ledger is read
    made.restore([Sum("a", start, 0.5)], mark)  # priced anew
    assert made.state(NOON)[0][1] == 1.5
    made.restore([Sum("a", start, 7)], made.mark())
    assert made.state(NOON)[0][1] == 7


def test_a_mark_of_the_period_before_takes_nothing_away() -> None:
    made = budgets(rule(name="a"))
    made.spent(NOON, "anthropic", OPUS, 3)
    mark = made.mark()
    tomorrow = NOON + 86400
    made.spent(tomorrow, "anthropic", OPUS, 2)
    made.restore([Sum("a", span("day", tomorrow, BERLIN).start, 1)], mark)
    made.restore([Sum("a", span("day", NOON, BERLIN).start, 9)], mark)
    assert made.state(tomorrow)[0][1] == 3


def test_new_rules_keep_the_sums_of_what_they_still_count() -> None:
    old = budgets(rule(provider="anthropic"), rule(per="month"))
    old.spent(NOON, "anthropic", OPUS, 5)
    new = old.renewed([rule(per="month", usd=4), rule(provider="glm"), rule(provider="anthropic", name="x")])
    assert [spent for _, spent, _ in new.state(NOON)] == [5, 0, 5]
    assert new.verdict(NOON, "glm", "glm-4.6")


# -- what happens at the end


@pytest.mark.parametrize(
    ("rules", "targets", "expected"),
    [
        ([], [A, G], ["anthropic", "glm"]),
        ([rule(provider="anthropic", then="warn")], [A, G], ["anthropic", "glm"]),
        ([rule(provider="anthropic")], [A, G], ["glm"]),
        ([rule(provider="anthropic", then="local")], [A, G], ["local", "glm"]),
        ([rule(provider="anthropic", then="glm")], [A, L, G], ["glm", "local"]),
        ([rule(model="claude-*", then="local")], [A], ["local"]),
        ([rule(model="claude-opus-*", then="local")], [Target("anthropic", OPUS)], ["local"]),
        ([rule(then="local")], [A, G, L], ["local"]),
        ([rule(then="local"), rule(provider="anthropic", name="b")], [A], ["local"]),
        (
            [rule(provider="anthropic", then="glm"), rule(provider="glm", then="local")],
            [A],
            ["local"],
        ),
    ],
)
def test_who_is_left_when_all_budgets_have_ended(
    rules: list[Budget], targets: list[Target], expected: list[str]
) -> None:
    made = budgets(*rules)
    assert admitted(made, *targets) == [target.provider for target in targets]
    for target in [*targets, G]:
        made.spent(NOON, target.provider, target.model, 10)
    assert admitted(made, *targets) == expected


@pytest.mark.parametrize(
    "rules",
    [
        [rule()],
        [rule(provider="anthropic"), rule(provider="glm")],
        [rule(provider="anthropic", then="glm"), rule(provider="glm", then="anthropic")],
        [rule(then="warn", name="w"), rule(), rule(per="week")],
    ],
)
def test_when_nobody_is_left_the_request_is_refused(rules: list[Budget]) -> None:
    made = budgets(*rules)
    for target in (A, G):
        made.spent(NOON, target.provider, target.model, 10)
    with pytest.raises(RelayError) as caught:
        admitted(made, A, G)
    assert (caught.value.status, caught.value.final) == (429, True)


def test_a_refusal_names_the_first_budget_that_begins_anew() -> None:
    made = budgets(rule(provider="anthropic", per="month"), rule(provider="glm", name="little"))
    for target in (A, G):
        made.spent(NOON, target.provider, target.model, 10)
    with pytest.raises(RelayError, match=r"'little' of \$10\.00 is used up until 2026-11-19 00:00") as caught:
        admitted(made, A, G)
    assert caught.value.retry_after == 12 * 3600


def test_a_request_may_come_back_when_the_last_budget_in_its_way_begins_anew() -> None:
    made = budgets(rule(), rule(per="month"), rule(per="week", provider="glm"))
    made.spent(NOON, "anthropic", OPUS, 10)
    over = made.verdict(NOON, "anthropic", OPUS)
    assert over
    assert (over.rule.per, over.until) == ("month", moment("2026-12-01"))


# -- notices


def test_a_warning_and_the_end_are_told_once_a_period() -> None:
    made = budgets(rule(warn=0.5, then="glm"))
    told = []
    for step in range(14):
        made.spent(NOON + step, "anthropic", OPUS, 1)
        told += [(step, notice) for notice in made.due_notices()]
    assert [(step, notice.kind) for step, notice in told] == [(4, Kind.BUDGET_WARN), (9, Kind.BUDGET_END)]
    assert "$5.00 of $10.00" in told[0][1].text
    assert "go to glm until 2026-11-19 00:00" in told[1][1].text
    assert {notice.again for _, notice in told} == {moment("2026-11-19")}
    made.spent(NOON + timedelta(days=1).total_seconds(), "anthropic", OPUS, 11)
    again = made.due_notices()
    assert [notice.kind for notice in again] == [Kind.BUDGET_END]
    assert again[0].key != told[1][1].key


def test_without_a_share_only_the_end_is_told() -> None:
    made = budgets(rule(warn=0, then="warn"))
    made.spent(NOON, "anthropic", OPUS, 9.99)
    assert made.due_notices() == ()
    made.restore([Sum("total per day", span("day", NOON, BERLIN).start, 12)])
    assert [notice.kind for notice in made.due_notices()] == [Kind.BUDGET_END]
