"""Sums by the hour are what their rows come to, whenever hours are closed."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from claude_relay.core.clients.demand import Bound, bounds_of
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.store.db.client_tables import SLOT
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger import tables
from claude_relay.store.ledger.client_hours import CLOSE, SLOTS, close_hours, first_open
from claude_relay.store.ledger.client_sums import ClientSums, Wanted
from claude_relay.store.ledger.tables import CLOSING, Tables
from store.rows import request

HOUR = 500_000
"""Around which everything here happens."""
OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"
CLIENTS, GROUPS = ("alice", "bob", "carol"), ("team", "old", None)
POLICY = Policy(limits=(parse("$9/day"), parse("$9/total model *opus*")))
BOUNDS = [
    *(bound for name in CLIENTS for bound in bounds_of("client", name, POLICY)),
    *(bound for name in GROUPS if name for bound in bounds_of("group", name, POLICY)),
]


def at(hour: float) -> float:
    """The moment, seconds since the epoch."""
    return (HOUR + hour) * 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path, patience=1)) as found:
        migrate(found)
        yield found


@contextmanager
def opened(path: Path) -> Iterator[Tables]:
    sink = Tables(path, patience=0.05)
    sink.open()
    try:
        yield sink
    finally:
        sink.close()


def spend(connection: sqlite3.Connection, hour: float, usd: float = 1.0, **fields: str | None) -> str:
    """A request that cost something; its id."""
    row = request(**{"client": "alice", "client_group": "team", "session": "s", "requested_model": OPUS} | fields)
    connection.execute(
        "INSERT INTO requests (id, started_at, client, client_group, session, requested_model, method, path, stream, attempts, "
        "finished, cost_usd) VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch'), ?, ?, ?, ?, '', '', 0, 1, 'complete', ?)",
        [row.id, at(hour), row.client, row.client_group, row.session, row.requested_model, usd],
    )
    return row.id


def hours(connection: sqlite3.Connection) -> dict[tuple[str, str, int], float]:
    """Kind, owner and hour → what is written down of it."""
    sql = "SELECT kind, owner, hour, sum(usd) FROM client_spending_hours GROUP BY 1, 2, 3"
    return {(kind, owner, hour - HOUR): usd for kind, owner, hour, usd in connection.execute(sql)}


def straight(connection: sqlite3.Connection, bound: Bound, since: int) -> float:
    """What the rows come to."""
    column, like = {"client": "client", "group": "client_group"}[bound.kind], bound.limit.model or "*"
    sql = f"SELECT total(usd) FROM client_spending WHERE {column} = ? AND slot >= ? AND model GLOB ?"
    return float(connection.execute(sql, [bound.owner, since, like]).fetchone()[0])


def summed(connection: sqlite3.Connection) -> dict[tuple[str, str, int], float]:
    """What is to be written down of the hours that are closed."""
    found = {}
    for kind, column in (("client", "client"), ("group", "client_group")):
        sql = f"SELECT {column}, slot / {SLOTS}, sum(usd) FROM client_spending WHERE {column} != '' AND slot < ? GROUP BY 1, 2"
        for owner, hour, usd in connection.execute(sql, [first_open(connection) * SLOTS]):
            found[kind, owner, hour - HOUR] = usd
    return found


@pytest.mark.parametrize("seed", range(6))
def test_hours_come_to_what_their_slots_do(path: Path, connection: sqlite3.Connection, seed: int) -> None:
    """In whatever order rows come, are priced anew and deleted, and hours are closed. Amounts are such that sums of them are exact."""
    chance = random.Random(seed)
    rows: list[str] = []
    now = 0.0

    def add() -> None:
        usd, fields = (
            chance.randrange(1, 99) / 64,
            {"client": chance.choice(CLIENTS), "client_group": chance.choice(GROUPS)},
        )
        fields |= {"session": chance.choice("st"), "requested_model": chance.choice((OPUS, HAIKU))}
        rows.append(spend(connection, now + chance.choice((0, 0, -1.5, 1.5)) + chance.uniform(-2, 2), usd, **fields))

    def price() -> None:
        usd = chance.choice((None, 0.0, chance.randrange(99) / 64))
        connection.execute("UPDATE requests SET cost_usd = ? WHERE id = ?", [usd, chance.choice(rows or [""])])

    def delete() -> None:
        connection.execute("DELETE FROM requests WHERE id = ?", [chance.choice(rows or [""])])

    def close() -> None:
        close_hours(connection, at(now + chance.choice((0, 0, -3, 1))))

    with closing(ClientSums(path)) as sums:
        for _ in range(150):
            now += chance.choice((0.0, 0.0, 0.25))
            chance.choice((add, add, add, add, price, price, delete, close))()
            begins = [int(at(now) // SLOT) + chance.randrange(-60, 60) for _ in range(2)]
            begins += [quarter * 3 for quarter in (int(at(now) // 900) + chance.randrange(-20, 20),)]
            begins += [(int(at(now) // 3600) + chance.randrange(-5, 5)) * SLOTS, first_open(connection) * SLOTS]
            for since in begins:
                found = sums.read([Wanted(bound, since, by_slot=False) for bound in BOUNDS])
                for bound in BOUNDS:
                    assert sum(usd for _, usd in found[bound.key]) == straight(connection, bound, since)
                    assert all(slot >= since for slot, _ in found[bound.key])
            assert hours(connection) == summed(connection)
    assert hours(connection)


def test_an_hour_is_summed_up_once_it_is_over(connection: sqlite3.Connection) -> None:
    for hour, usd in ((0.0, 1.0), (0.99, 2.0), (1.0, 4.0), (2.5, 8.0)):
        spend(connection, hour, usd)
    assert hours(connection) == {}
    close_hours(connection, at(1.999))
    assert hours(connection) == {("client", "alice", 0): 3.0, ("group", "team", 0): 3.0}
    close_hours(connection, at(2.0))
    assert hours(connection) == {
        (kind, owner, hour): usd
        for kind, owner in (("client", "alice"), ("group", "team"))
        for hour, usd in ((0, 3.0), (1, 4.0))
    }


def test_a_late_row_is_added_to_its_hour(connection: sqlite3.Connection) -> None:
    """Also the first one of a client; and what is priced anew."""
    spend(connection, 0.5)
    close_hours(connection, at(1.0))
    late = spend(connection, 0.5, 2.0)
    spend(connection, 0.75, 4.0, client="bob", client_group=None)
    spend(connection, 1.0, 8.0)
    assert hours(connection) == {("client", "alice", 0): 3.0, ("group", "team", 0): 3.0, ("client", "bob", 0): 4.0}
    connection.execute("UPDATE requests SET cost_usd = 0.5 WHERE id = ?", [late])
    assert hours(connection) == {("client", "alice", 0): 1.5, ("group", "team", 0): 1.5, ("client", "bob", 0): 4.0}


def test_an_hour_that_is_closed_twice_is_the_same(path: Path, connection: sqlite3.Connection) -> None:
    """By two relays, of which one has a clock that is behind."""
    spend(connection, 0.5)
    with closing(connect(path, patience=1)) as other:
        for one in (connection, other):
            close_hours(one, at(1.0))
        assert hours(other) == {("client", "alice", 0): 1.0, ("group", "team", 0): 1.0}
        close_hours(other, at(0.0))
        assert first_open(other) == HOUR + 1
        spend(other, 0.5)
        close_hours(other, at(1.5))
    assert hours(connection) == {("client", "alice", 0): 2.0, ("group", "team", 0): 2.0}


@pytest.mark.parametrize("kind", CLOSE)
def test_closing_does_not_read_all_rows(connection: sqlite3.Connection, kind: str) -> None:
    """Neither where SQLite knows nothing of the rows, nor where it knows that there are many of few owners, or of many."""

    def plan() -> list[str]:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {CLOSE[kind]}", {"begin": 0, "end": 1})
        return [row[3] for row in rows if "client_spending" in row[3]]

    found = [plan()]
    for count in (2, 900):
        row = "INSERT INTO client_spending VALUES (?, ?, 's', '', ?, ?, 1.0)"
        owners = range(count)
        connection.executemany(
            row, [(f"c{n}", slot, f"m{count}", f"g{n}") for n in owners for slot in range(2000 // count)]
        )
        connection.execute("ANALYZE")
        found.append(plan())
    for steps in found:
        assert len(steps) == 2
        assert all(step.startswith("SEARCH client_spending USING ") for step in steps)


class Clock(SimpleNamespace):
    """What `tables` asks for the time."""

    now: float

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock(now=at(1.25))
    monkeypatch.setattr(tables, "time", found)
    return found


def test_the_ledger_closes_hours(path: Path, connection: sqlite3.Connection, clock: Clock) -> None:
    """At first, and whenever one is over; in between it does not even look."""
    with opened(path) as sink:
        statements: list[str] = []
        sink.write([(request(client="alice", cost_usd=1.0, started_at=at(0.5)), ())])
        sink.tidy(idle=False)
        assert first_open(connection) == HOUR + 1
        assert hours(connection) == {("client", "alice", 0): 1.0}
        sink.write([(request(client="alice", cost_usd=2.0, started_at=at(1.5)), ())])
        sink.connection().set_trace_callback(statements.append)
        clock.now = at(2) - 1
        sink.tidy(idle=True)
        assert statements == []
        clock.now = at(2)
        sink.tidy(idle=True)
        assert first_open(connection) == HOUR + 2
        assert hours(connection) == {("client", "alice", 0): 1.0, ("client", "alice", 1): 2.0}
        statements.clear()
        sink.tidy(idle=True)
        assert statements == []
        connection.execute("UPDATE client_spending_state SET closed = 0")  # as in another file, for example
        sink.open()
        sink.tidy(idle=True)
        assert first_open(connection) == HOUR + 2


@pytest.mark.parametrize("way", ["busy", "read-only"])
def test_a_database_that_cannot_be_written_is_tried_again(
    path: Path, connection: sqlite3.Connection, clock: Clock, way: str
) -> None:
    """A minute later: it is none of the writer's failures."""
    with opened(path) as sink:
        statements: list[str] = []
        if way == "busy":
            connection.execute("BEGIN IMMEDIATE")
        else:
            sink.connection().execute("PRAGMA query_only = ON")
        sink.tidy(idle=True)
        sink.connection().set_trace_callback(statements.append)
        sink.tidy(idle=True)
        assert statements == []
        connection.execute("COMMIT" if way == "busy" else "SELECT 1")
        sink.connection().execute("PRAGMA query_only = OFF")
        clock.now += CLOSING - 1
        sink.tidy(idle=True)
        assert first_open(connection) == 0
        clock.now += 1
        sink.tidy(idle=True)
        assert first_open(connection) == HOUR + 1


def test_what_is_wrong_with_the_file_is_the_writers_failure(
    path: Path, connection: sqlite3.Connection, clock: Clock
) -> None:
    with opened(path) as sink:
        connection.execute("DROP TABLE client_spending_state")
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            sink.tidy(idle=True)


def test_a_request_of_this_hour_leaves_the_hours_alone(path: Path) -> None:
    with opened(path) as sink:
        sink.tidy(idle=True)
        sink.write([(request(client="alice", client_group="team", cost_usd=1.0, started_at=time.time()), ())] * 2)
        assert hours(sink.connection()) == {}
