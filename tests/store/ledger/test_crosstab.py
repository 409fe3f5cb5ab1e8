"""Sums by two dimensions, from requests one by one and from hours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from zoneinfo import ZoneInfo

import pytest

from claude_relay.store.db.database import read_only
from claude_relay.store.ledger import crosstab, reports
from claude_relay.store.ledger.crosstab import Crossed, Dimension, Times, crossed
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.rows import AttemptRow, ChargeRow
from store.rows import request

BEGAN = datetime(2026, 11, 1, 22, 30, tzinfo=UTC)
AUCKLAND = ZoneInfo("Pacific/Auckland")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("crosstab") / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for n in range(48):
        at = (BEGAN + timedelta(minutes=30 * n)).timestamp()
        model, client = ("opus", "haiku")[n % 2], ("alice", "bob", None)[n % 3]
        row = request(
            started_at=at,
            client=client,
            requested_model=model,
            served_model=model,
            provider="p",
            cost_usd=0.5,
            ttft_ms=100.0 * n,
        )
        charges = (
            (ChargeRow(request=row.id, attempt=1, n=1, kind="advisor", model="advisor", cost_usd=0.125),)
            if n == 0
            else ()
        )
        ledger.put(row, [AttemptRow(request=row.id, n=1, provider="p", started_at=at, charges=charges)])
    ledger.close()
    return path


@pytest.fixture(params=["one by one", "by hours"])
def ledger(path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    if request.param == "by hours":
        monkeypatch.setattr(crosstab, "is_few", lambda *_: False)
    with closing(read_only(path)) as connection:
        yield connection


def counts(found: Crossed) -> dict[tuple[object, ...], int]:
    return {cell.names: cell.line.requests for cell in found.cells if cell.line.requests}


def test_two_dimensions(ledger: Connection) -> None:
    found = crossed(ledger, ("client", "model"))
    assert counts(found) == {(client, model): 8 for client in ("alice", "bob", None) for model in ("opus", "haiku")}
    assert found.total.requests == 48
    assert found.total.cost_usd == pytest.approx(24.0)
    assert found.along(0)["alice"].requests == 16
    assert found.along(1)["opus"].cost_usd == pytest.approx(12.0 - 0.125)


def test_what_another_model_was_billed_for_is_its_own(ledger: Connection) -> None:
    found = crossed(ledger, ("client", "model"))
    cost = {cell.names: cell.line.cost_usd for cell in found.cells}
    assert cost["alice", "advisor"] == pytest.approx(0.125)
    assert cost["alice", "opus"] == pytest.approx(8 * 0.5 - 0.125)


def test_spans_and_filters_cut_exactly(ledger: Connection) -> None:
    since, until = BEGAN + timedelta(minutes=30), BEGAN + timedelta(hours=6)
    found = crossed(ledger, ("model",), since=since, until=until, only=Only(client="bob"))
    assert counts(found) == {("haiku",): 2, ("opus",): 2}


def test_days_are_those_of_a_zone(ledger: Connection) -> None:
    day: Dimension = Times(lambda at: f"{at.astimezone(AUCKLAND):%d}")
    assert counts(crossed(ledger, (day,))) == {("02",): 25, ("03",): 23}


def test_minutes_are_read_one_by_one(ledger: Connection) -> None:
    half = Times(lambda at: at.minute // 30, fine=True)
    assert counts(crossed(ledger, (half, "provider"))) == {(0, "p"): 24, (1, "p"): 24}


def test_without_a_dimension_there_is_the_total(ledger: Connection) -> None:
    found = crossed(ledger, (), since=BEGAN + timedelta(days=30))
    assert (found.total.requests, found.total.cost_usd) == (0, None)
    assert crossed(ledger, ()).total.requests == 48


def test_it_says_what_reports_say(ledger: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    if not crossed(ledger, ("model",)).exact:
        monkeypatch.setattr(reports, "is_few", lambda *_: False)
    lines = {line.name: line for line in reports.summarise(ledger, by="model").lines}
    for cell in crossed(ledger, ("model",)).cells:
        theirs = lines[cell.names[0]]
        assert (cell.line.requests, cell.line.ttft_p50_ms) == (theirs.requests, theirs.ttft_p50_ms)
        assert cell.line.cost_usd == pytest.approx(theirs.cost_usd)
