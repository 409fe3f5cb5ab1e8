"""What keys were used for, as the ledger has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.key_sums import FailedTry, HourOfKey, KeyUse, by_hour, failures, used

REQUEST = (
    "INSERT INTO requests (id, started_at, method, path, provider, key, stream, status, attempts, input_tokens, output_tokens, "
    "cost_usd, finished) VALUES (?, ?, 'POST', '/v1/messages', ?, ?, 0, 200, 1, 10, 2, 0.5, ?)"
)
TRY = "INSERT INTO attempts (request, n, provider, key, status, verdict, error, started_at) VALUES (?, ?, 'p', ?, ?, ?, ?, ?)"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "relay.db", patience=1)) as connection:
        migrate(connection)
        for n, (at, key, finished) in enumerate(
            [
                ("2026-11-26T07:10:00.000Z", "v1", "complete"),
                ("2026-11-27T08:10:00.000Z", "v1", "complete"),
                ("2026-11-27T08:20:00.000Z", "v1", "error"),
                ("2026-11-27T09:00:00.000Z", "v2", "complete"),
                ("2026-11-27T09:01:00.000Z", None, "complete"),
            ]
        ):
            connection.execute(REQUEST, [f"r{n}", at, "p", key, finished])
        for request, n, key, status, verdict, error, at in [
            ("r0", 1, "v1", 401, "unauthorized", "long ago", "2026-11-26T07:10:00.000Z"),
            ("r1", 1, "v1", 429, "rate_limited", "slow down", "2026-11-27T08:10:00.000Z"),
            ("r1", 2, "v2", 200, "ok", None, "2026-11-27T08:10:01.000Z"),
            ("r2", 1, "v1", 200, "ok", None, "2026-11-27T08:20:00.000Z"),
            ("r3", 1, "v2", 529, "overloaded", "of another key", "2026-11-27T09:00:00.000Z"),
        ]:
            connection.execute(TRY, [request, n, key, status, verdict, error, at])
        connection.commit()
        yield connection


def test_sums_by_key_from_an_hour_on(ledger: sqlite3.Connection) -> None:
    found = used(ledger, "2026-11-27T00")
    assert found[("p", "v1")] == KeyUse(2, 1, 20, 4, 1.0)
    assert found.keys() == {("p", "v1"), ("p", "v2")}
    assert used(ledger, "2026-11-26T00")[("p", "v1")].requests == 3


def test_the_hours_of_one_key(ledger: sqlite3.Connection) -> None:
    assert by_hour(ledger, "p", "v1", "2026-11-26T07") == [
        HourOfKey("2026-11-26T07", 1, 0, 0.5),
        HourOfKey("2026-11-27T08", 2, 1, 1.0),
    ]
    assert by_hour(ledger, "other", "v1", "2026-11-26T07") == []


def test_tries_that_failed_with_it(ledger: sqlite3.Connection) -> None:
    found = failures(ledger, "p", "v1", "2026-11-27T00:00:00.000Z")
    assert found == [FailedTry("2026-11-27T08:10:00.000Z", "r1", 429, "rate_limited", "slow down")]
    assert [one.error for one in failures(ledger, "p", "v1", "2026-11-26T00:00:00.000Z")] == ["slow down", "long ago"]
    assert len(failures(ledger, "p", "v1", "2026-11-26T00:00:00.000Z", most=1)) == 1
