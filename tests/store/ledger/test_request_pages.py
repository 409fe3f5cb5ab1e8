"""Pages of requests, and of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from sqlite3 import Connection

import pytest

from claude_relay.core.times import iso
from claude_relay.store.db.database import read_only
from claude_relay.store.ledger.conversations import conversation, latest
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.ledger import Ledger
from claude_relay.store.ledger.request_pages import Wanted, listed
from store.rows import STARTED, request

BEGAN = datetime.fromtimestamp(STARTED, UTC)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred requests, one each twenty minutes, in ten sessions that take turns; two share a moment."""
    path = tmp_path_factory.mktemp("listing") / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for n in range(100):
        bad = n % 10 == 3
        row = request(
            id=f"req_relay_{n:03}",
            started_at=STARTED + 1200 * (n - (n == 50)),
            session=f"s{n // 20 * 2 + n % 2}",
            client="alice" if n % 2 else "bob",
            client_group="team" if n == 7 else None,
            key="rare" if n in (5, 77) else "usual",
            provider="anthropic",
            status=429 if bad else 200,
            error_type="rate_limit_error" if bad else None,
            finished="error" if bad else "complete",
            cost_usd=1.0,
            agent=("a1", "a2", None)[n % 3],
            agent_tree=("a1", "a1", None)[n % 3],
        )
        ledger.put(row, [])
    ledger.close()
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[Connection]:
    with closing(read_only(path)) as connection:
        yield connection


def numbers(rows: list[dict[str, object]]) -> list[int]:
    return [int(str(row["id"])[-3:]) for row in rows]


WANTED = {
    "all": (Wanted(), lambda n: True),
    "a rare key": (Wanted(only=Only(key="anthropic/rare")), lambda n: n in (5, 77)),
    "no such key": (Wanted(only=Only(key="none")), lambda n: False),
    "failed": (Wanted(failed=True), lambda n: n % 10 == 3),
    "a status": (Wanted(status=429), lambda n: n % 10 == 3),
    "an error": (Wanted(error="rate_limit_error"), lambda n: n % 10 == 3),
    "a client that failed": (Wanted(only=Only(client="bob"), failed=True), lambda n: False),
    "a group": (Wanted(group="team"), lambda n: n == 7),
    "a session": (Wanted(only=Only(session="s3")), lambda n: 20 <= n < 40 and n % 2 == 1),
    "a span": (
        Wanted(only=Only(provider="anthropic"), since=BEGAN + timedelta(minutes=30), until=BEGAN + timedelta(hours=5)),
        lambda n: 2 <= n < 15,
    ),
}


@pytest.mark.parametrize("name", WANTED)
def test_pages_hold_all_of_it_once(ledger: Connection, name: str) -> None:
    wanted, fits = WANTED[name]
    found, after = [], None
    while rows := listed(ledger, wanted, after=after, limit=10):
        found += rows
        after = (rows[-1]["started_at"], rows[-1]["id"])
    assert sorted(numbers(found)) == [n for n in range(100) if fits(n)]
    assert all((one["started_at"], one["id"]) > (two["started_at"], two["id"]) for one, two in pairwise(found))


def test_what_is_rare_is_found_by_an_index(ledger: Connection) -> None:
    for where in ("status >= 400 AND status = ?", "client_group = ?"):
        plan = ledger.execute(f"EXPLAIN QUERY PLAN SELECT * FROM requests WHERE {where} AND started_at >= ''", [1])
        assert "requests_by_" in str(plan.fetchall())


def test_sessions_stand_where_their_last_request_does(ledger: Connection) -> None:
    found, after = [], None
    while page := latest(ledger, after=after, limit=3):
        found += page
        after = (page[-1].last, page[-1].id)
    assert [one.id for one in found] == ["s9", "s8", "s7", "s6", "s5", "s4", "s3", "s2", "s1", "s0"]
    assert (found[0].requests, found[0].cost_usd, found[0].client) == (10, 10.0, "alice")
    assert found[0].last == iso(STARTED + 1200 * 99)


def test_sessions_of_one_client(ledger: Connection) -> None:
    assert [one.id for one in latest(ledger, client="bob", limit=2)] == ["s8", "s6"]
    assert latest(ledger, client="nobody") == []


def test_agents_of_a_session(ledger: Connection) -> None:
    found = conversation(ledger, "s1")
    assert found is not None
    assert found.session.requests == sum(agent.requests for agent in found.agents) == 10
    assert [(agent.id, agent.tree) for agent in found.agents] == [(None, None), ("a2", "a1"), ("a1", "a1")]
    assert conversation(ledger, "s") is None
