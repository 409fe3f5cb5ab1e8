"""What missed the prompt cache, by cause."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from claude_relay.store.db.database import StoreError, read_only
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.missed import CacheMisses, cache_misses
from store.rows import STARTED, request

DAY = timedelta(days=1)
BEGAN = datetime.fromtimestamp(STARTED, UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for cause, tokens, usd, session, days in (
        ("tools[3]", 1_000, 0.5, "a", 0),
        ("tools[3]", 2_000, 0.25, "a", 1),
        ("tools[0]", 4_000, None, "b", 1),
        ("messages[12].content[0]", 8_000, 2.0, "b", 1),
        ("ttl 5m", 16_000, None, None, 1),
        (None, None, None, "c", 1),
    ):
        missed = {"cache_miss": cause, "cache_miss_tokens": tokens, "cache_miss_usd": usd}
        ledger.put(request(session=session, started_at=STARTED + days * 86_400, **missed), [])
    ledger.close()
    return path


TOOLS = CacheMisses("tools", "tools[3]", 3, 2, 7_000, 0.75, 1)
MESSAGES = CacheMisses("messages", "messages[12].content[0]", 1, 1, 8_000, 2.0, 0)
TTL = CacheMisses("ttl 5m", "ttl 5m", 1, 0, 16_000, None, 1)


def test_causes_stand_by_what_they_cost(path: Path) -> None:
    with closing(read_only(path)) as connection:
        assert cache_misses(connection, Only()) == [MESSAGES, TOOLS, TTL]
        assert cache_misses(connection, Only(session="b"), since=BEGAN + DAY) == [
            MESSAGES,
            CacheMisses("tools", "tools[0]", 1, 1, 4_000, None, 1),
        ]
        assert cache_misses(connection, Only(), until=BEGAN + DAY) == [
            CacheMisses("tools", "tools[3]", 1, 1, 1_000, 0.5, 0)
        ]
        assert cache_misses(connection, Only(provider="nobody")) == []


def test_they_are_found_by_an_index(path: Path) -> None:
    with closing(read_only(path)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT * FROM requests WHERE cache_miss IS NOT NULL AND started_at >= '2026'"
        ).fetchall()
    assert "requests_by_cache_miss" in str(plan)


def test_a_ledger_of_an_older_relay_is_explained(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.execute("CREATE TABLE requests (id TEXT, started_at TEXT)")
        with pytest.raises(StoreError):
            cache_misses(old, Only())
