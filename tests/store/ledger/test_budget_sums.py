from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from claude_relay.core.accounting.budgets import Budgets, span
from claude_relay.core.config import Budget
from claude_relay.store.db.database import StoreError
from claude_relay.store.ledger.budget_sums import AGAIN, BudgetSums, sums
from claude_relay.store.ledger.ledger import ChargeRow, Ledger
from store.rows import attempt, request

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = datetime(2026, 11, 18, 12, tzinfo=TOKYO).timestamp()  # a Wednesday
DAY, WEEK, MONTH = (span(per, NOW, TOKYO).start for per in ("day", "week", "month"))


def rule(name: str, **fields: object) -> Budget:
    return Budget.model_validate({"name": name, "usd": 10} | fields)


RULES = [
    rule("day", per="day"),
    rule("week", per="week"),
    rule("month", per="month"),
    rule("glm", per="month", provider="glm"),
    rule("opus", per="week", model="claude-opus-*"),
]


def fill(path: Path, *more: tuple[float, str, str, float]) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for at, provider, model, usd in more or (
        (DAY, "anthropic", "claude-opus-4-5", 1.0),
        (DAY - 0.001, "anthropic", "claude-opus-4-5", 2.0),
        (WEEK, "glm", "glm-4.6", 4.0),
        (WEEK - 1, "anthropic", "claude-haiku-4-5", 8.0),
        (MONTH, "glm", "glm-4.6", 16.0),
        (MONTH - 1, "glm", "glm-4.6", 32.0),
        (DAY, "anthropic", "claude-opus-4-5", None),
    ):
        row = request(started_at=at, attempts=2, provider=provider)
        # What a first attempt cost elsewhere counts too; attempts may begin after midnight.
        tries = [
            attempt(row, 1, started_at=at + 2, provider="local", model="qwen", cost_usd=usd and usd / 64),
            attempt(row, 2, started_at=at + 5, provider=provider, model=model, cost_usd=usd),
        ]
        ledger.put(row, tries)
    ledger.close()


def test_sums_of_each_rule_in_its_present_period(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    found = sums(path, RULES, NOW, TOKYO)
    share = 65 / 64
    assert [(name, usd) for name, _, usd in found] == [
        ("day", 1 * share),
        ("week", 7 * share),
        ("month", 31 * share),
        ("glm", 20),
        ("opus", 3),
    ]
    assert [start for _, start, _ in found] == [DAY, WEEK, MONTH, MONTH, WEEK]
    budgets = Budgets(RULES, TOKYO)
    budgets.restore(found)
    assert [usd for _, usd, _ in budgets.state(NOW)] == [usd for *_, usd in found]


MONTHLY = [rule("month", per="month", provider="glm")]


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def monthly(reader: BudgetSums, now: float = NOW) -> float:
    [(_, _, usd)] = reader.read(MONTHLY, now)
    return usd


def test_a_day_that_is_over_is_read_once_an_hour_and_today_every_time(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    reader = BudgetSums(path, TOKYO)
    assert monthly(reader) == 20
    # what nothing in the sums by the hour tells of
    change(path, "UPDATE attempts SET cost_usd = cost_usd + 100 WHERE provider = 'glm'")
    assert monthly(reader, NOW + 60) == 20
    fill(path, (DAY, "glm", "glm-4.6", 1000.0))
    assert monthly(reader, NOW + 60) == 1020
    assert monthly(reader, NOW + AGAIN) == 1220


def test_a_late_row_of_a_day_that_is_over(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    reader = BudgetSums(path, TOKYO)
    assert monthly(reader) == 20
    fill(path, (WEEK, "glm", "glm-4.6", 100.0))
    assert monthly(reader, NOW + 60) == 120


@pytest.mark.parametrize("factor", [0.25, 4])
def test_days_that_are_over_are_priced_anew(tmp_path: Path, factor: float) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    reader = BudgetSums(path, TOKYO)
    assert monthly(reader) == 20
    for table in ("requests", "attempts"):
        change(path, f"UPDATE {table} SET cost_usd = coalesce(cost_usd, 0.1) * {factor}")
    assert monthly(reader, NOW + 60) == 20 * factor


def test_what_was_spent_stays_spent_when_its_rows_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    fill(path)
    reader = BudgetSums(path, TOKYO)
    assert monthly(reader) == 20
    old = f"strftime('%Y-%m-%dT%H:%M:%fZ', {WEEK}, 'unixepoch')"
    change(path, "PRAGMA foreign_keys = ON", f"DELETE FROM requests WHERE started_at < {old}")
    assert monthly(reader, NOW + 60) == 20
    assert monthly(reader, NOW + 2 * AGAIN) == 20
    fill(path, (DAY, "glm", "glm-4.6", 1000.0))
    assert monthly(reader, NOW + 2 * AGAIN) == 1020
    path.unlink()
    assert monthly(reader, NOW + 3 * AGAIN) == 1020
    fill(path, (DAY, "glm", "glm-4.6", 3.0))
    assert monthly(reader, NOW + 3 * AGAIN) == 1023
    assert monthly(BudgetSums(path, TOKYO)) == 3


def test_yesterday_counts_as_over_only_after_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    reader = BudgetSums(path, TOKYO)
    month = [rule("month", per="month", provider="glm")]
    midnight = DAY + 86400
    fill(path)
    assert [usd for *_, usd in reader.read(month, midnight + 60)] == [20]
    fill(path, (midnight - 5, "glm", "glm-4.6", 100.0))
    assert [usd for *_, usd in reader.read(month, midnight + 120)] == [120]


def test_no_ledger_means_that_nothing_was_spent(tmp_path: Path) -> None:
    assert [usd for *_, usd in BudgetSums(tmp_path / "no.db").read(RULES[:1], NOW)] == [0]
    with closing(sqlite3.connect(tmp_path / "empty.db")) as connection:
        connection.execute("CREATE TABLE other (x)")
    assert [usd for *_, usd in BudgetSums(tmp_path / "empty.db").read(RULES[:1], NOW)] == [0]
    assert BudgetSums(tmp_path / "no.db").read([], NOW) == []


def test_a_damaged_ledger_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match=r"relay\.db"):
        BudgetSums(path).read(RULES, NOW)


def test_what_was_billed_beside_an_answer_counts_under_its_own_model(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    row = request(started_at=DAY + 1)
    beside = [
        ChargeRow(request=row.id, attempt=1, n=n, kind="advisor", model=model, cost_usd=usd)
        for n, (model, usd) in enumerate((("claude-opus-5", 2.0), ("claude-haiku-5-5", 4.0)), 1)
    ]
    ledger.put(row, [attempt(row, 1, model="claude-sonnet-5", cost_usd=1.0, charges=tuple(beside))])
    ledger.close()
    found = {one.rule: one.usd for one in BudgetSums(path, TOKYO).read(RULES, NOW)}
    assert (found["day"], found["opus"]) == (7.0, 2.0)
