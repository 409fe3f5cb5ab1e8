from __future__ import annotations

from datetime import UTC, datetime

import pytest

from claude_relay.core.accounting.reconciling import Row, Verdict, Why, compare, drift, explained, plain, total
from claude_relay.core.accounting.usage_reports import NOTHING, Entry, Side, Used

DAY = "2026-11-20"
LATER = datetime(2026, 11, 25, tzinfo=UTC).timestamp()
SOON = datetime(2026, 11, 21, 3, tzinfo=UTC).timestamp()


def compared(ours: Used, theirs: Used, *, at: float = LATER, **more: Used) -> Row:
    sides = {Side.RELAY: ours, Side.PROVIDER: theirs} | {Side(name): used for name, used in more.items()}
    entries = [Entry(DAY, "opus", side, used) for side, used in sides.items() if used != NOTHING]
    (row,) = compare(entries, {DAY: at})
    return row


def ours(tokens: int = 1_000_000, usd: float | None = 10.0, **more: object) -> Used:
    return Used(output_tokens=tokens, cost_usd=usd, requests=10, **more)  # type: ignore[arg-type]


def theirs(tokens: int = 1_000_000, usd: float | None = 10.0) -> Used:
    return Used(output_tokens=tokens, cost_usd=usd)


def whys(row: Row) -> list[Why]:
    return [cause.why for cause in row.causes]


@pytest.mark.parametrize("report", [theirs(), theirs(1_009_000, 10.09), theirs(991_000, 9.92), theirs(1_000_000, None)])
def test_what_is_close_agrees(report: Used) -> None:
    row = compared(ours(), report)
    assert (row.verdict, row.causes) == (Verdict.AGREES, ())


def test_few_tokens_and_a_cent_are_nothing() -> None:
    assert compared(ours(10, 0.0001), theirs(900, 0.009)).verdict is Verdict.AGREES


def test_the_report_has_what_did_not_come_through_here() -> None:
    assert whys(compared(ours(), theirs(3_000_000, 30.0))) == [Why.NOT_RELAYED]
    (row,) = compare([Entry(DAY, "opus", Side.PROVIDER, theirs())], {DAY: LATER})
    assert whys(row) == [Why.NOT_RELAYED]


def test_causes_share_the_difference_by_what_each_explains() -> None:
    row = compared(
        ours(estimated=2, estimated_tokens=100_000),
        theirs(3_000_000, 30.0),
        elsewhere=Used(output_tokens=1_000_000),
        own=Used(output_tokens=500_000),
        account=Used(output_tokens=300_000),
    )
    assert whys(row) == [Why.ELSEWHERE, Why.OWN, Why.ACCOUNTS, Why.ESTIMATED, Why.NOT_RELAYED]
    assert [cause.share for cause in row.causes] == pytest.approx([0.5, 0.25, 0.15, 0.05, 0.05])
    assert (
        explained(row.causes[0])
        == "Keys that are not in this relay's pool used 1,000,000 tokens (50 % of the difference)."
    )


def test_what_explains_all_is_the_only_cause() -> None:
    row = compared(ours(), theirs(3_000_000, 30.0), elsewhere=theirs(2_000_000), own=theirs(5_000))
    assert whys(row) == [Why.ELSEWHERE]


def test_own_credentials_are_no_part_of_the_ledgers_side() -> None:
    assert compared(ours(), theirs(), own=theirs(500_000)).verdict is Verdict.AGREES


def test_the_ledger_has_more() -> None:
    assert whys(compared(ours(), theirs(400_000, 4.0))) == [Why.OTHER_ORGANISATION]
    assert whys(compared(ours(), NOTHING)) == [Why.NO_REPORT]
    row = compared(ours(batch_tokens=600_000, batch_usd=3.0), theirs(400_000, 4.0))
    assert whys(row) == [Why.BATCHES]


def test_a_day_that_has_just_ended_may_still_grow() -> None:
    row = compared(ours(), theirs(400_000, 4.0), at=SOON)
    assert whys(row) == [Why.LATE]
    assert drift([row]) is None
    assert drift([compared(ours(), theirs(400_000, 4.0))]) is not None


def test_what_is_above_the_ledger_already_does_not_come_down() -> None:
    assert whys(compared(ours(), theirs(3_000_000, 30.0), at=SOON)) == [Why.NOT_RELAYED]


def test_prices_differ() -> None:
    row = compared(ours(), theirs(usd=11.0))
    assert whys(row) == [Why.PRICE]
    assert "1.10 times ours" in explained(row.causes[0])


def test_the_priority_tier_is_in_no_cost_report() -> None:
    assert whys(compared(ours(priority_usd=4.0), theirs(usd=6.0))) == [Why.PRIORITY]
    assert whys(compared(ours(priority_usd=2.0), theirs(usd=6.0))) == [Why.PRIORITY, Why.PRICE]


def test_without_a_price_here() -> None:
    row = compared(ours(usd=None, unpriced=10), theirs())
    assert whys(row) == [Why.UNPRICED]
    assert explained(row.causes[0]).startswith("10 requests have no price here")
    assert whys(compared(ours(usd=4.0, unpriced=6), theirs())) == [Why.UNPRICED]


def test_money_without_tokens() -> None:
    (row,) = compare([Entry(DAY, "storage", Side.PROVIDER, Used(cost_usd=2.0))], {DAY: LATER})
    assert whys(row) == [Why.UNASSIGNED]


def test_days_that_were_not_fetched_are_left_out_and_the_newest_comes_first() -> None:
    days = ("2026-11-18", "2026-11-20", "2026-11-19")
    entries = [Entry(day, "opus", Side.RELAY, ours()) for day in days]
    rows = compare(entries, dict.fromkeys(days[1:], LATER))
    assert [row.day for row in rows] == ["2026-11-20", "2026-11-19"]


def test_the_total_and_what_a_notice_is_worth() -> None:
    rows = [compared(ours(), theirs()), compared(ours(), theirs(1_300_000, 13.0))]
    both = total(rows)
    assert (both.ours.tokens, both.theirs.cost_usd, both.verdict) == (2_000_000, 23.0, Verdict.DIFFERS)
    found = drift(rows)
    assert found is not None
    assert (found.usd, found.share) == (pytest.approx(3.0), pytest.approx(3 / 23))
    assert drift([compared(ours(), theirs(1_040_000, 10.4))]) is None
    assert drift([compared(ours(10_000, 0.1), theirs(100_000, 1.0))]) is None
    assert drift([]) is None


def test_sums_for_programs_have_no_noise() -> None:
    found = plain(compared(ours(usd=0.1 + 0.2), theirs(usd=0.3)))
    assert (found["usd"], found["ours"]["cost_usd"], found["verdict"]) == (0.0, 0.3, "agrees")


def test_every_cause_has_a_sentence() -> None:
    from claude_relay.core.accounting.reconciling import SENTENCES, Cause

    assert set(SENTENCES) == set(Why)
    for why in Why:
        assert "{" not in explained(Cause(why, 5, 0.5, 2.0, 1.0))
