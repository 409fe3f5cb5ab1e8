"""What relays over one database share and keep over a restart: cooldowns, sessions, loads, probes, who made which
resource, and what providers want back in a conversation.

    state = State(Path("relay.db"))
    cooldowns = state.load_cooldowns()                          at the start: everything
    theirs = state.exchange(collect(pools, sessions, now), now)    often: what changed here, for what changed elsewhere
    state.lift("anthropic", "key-id", now)                   by hand, from any process

How relays agree, without a word between them:

    cooldowns, sessions   facts. A row that comes is joined with the one that is there (`shared_tables`), by rules that do not depend on who
                          came first: a cooldown only gets longer, of two bindings the one that moved more often counts. Whoever writes
                          counts `generation` up and leaves the number in its rows, so that others read what is new to them.
    loads, probes         reports. Each process replaces its own at every exchange, and reads those of the others. Who died cannot
                          take them away: they stop counting after HEARTBEAT.
    the others            notes of single things.

Times are those of the machine's clock, which all relays on one database share. Every method waits for the disk: call it in a thread. Each
thread has a connection of its own; each call is one transaction. All methods raise StoreError.

What this module must not know: what a cooldown or a binding means.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from claude_relay.core.keys.own_credentials import SHARED
from claude_relay.core.keys.replication import Row, Shared
from claude_relay.core.times import DAY, HOUR, MINUTE
from claude_relay.store.db.database import StoreError, connect, explain, identity
from claude_relay.store.db.migrations import migrate
from claude_relay.store.db.shared_tables import (
    COOLDOWNS,
    FORGET_OWN,
    LOADS,
    PROBES,
    SAVE_COOLDOWN,
    SAVE_LOAD,
    SAVE_PROBE,
    SAVE_RESOURCE,
    SAVE_SESSION,
    SESSIONS,
    create_state,
)

__all__ = ["State", "create_state"]

PATIENCE = 2.0
HEARTBEAT = 5.0
"""Seconds after which a process that says nothing has no request under way, and probes nothing. Those that live exchange twice a second."""
SPENT_KEPT = MINUTE
"""For so long what it spent counts, whether it lives or not: the provider counts it, too."""
MOST_MEMORIES = 50_000
"""Calls of tools whose provider wants something back with them; those of longest ago are forgotten first."""
MOST_OWN = 1024
"""Cooldowns of clients' own credentials, which clients may invent; those that changed longest ago are forgotten first."""
ORDER = {"cooldowns": "since", "sessions": "used"}
"""The newest last: where room is short the oldest are forgotten."""
STREAK_KEPT = 2 * DAY
"""An ended cooldown of a key is kept so long, for its next one to be longer; one of a model, whose names clients invent, for an hour."""
STRANGER_KEPT = 30 * DAY
"""A cooldown of a key that nobody knows is kept so long, even one without an end: earlier versions stored ids that tell of the secret."""


class State:
    """The shared tables of the database at `path`.

    process   a name that no other process has
    patience  seconds that a call waits for somebody else's lock
    """

    def __init__(self, path: Path, *, process: str | None = None, patience: float = PATIENCE) -> None:
        """Nothing is touched before the first call."""
        self.path = path
        self.process = process or secrets.token_hex(8)
        self._patience = patience
        self._own = threading.local()
        self._all: set[sqlite3.Connection] = set()
        self._lock = threading.Lock()
        self._seen = 0
        """The generation up to which `exchange` has read."""
        self._carries = False
        """Whether rows of this process are in `loads` or `probes`, to be replaced or taken away."""

    def changed(self) -> int:
        """A number that grows with every change of cooldowns or sessions by anybody; cheap."""
        with self._reading() as connection:
            return _generation(connection)

    def exchange(self, mine: Shared, now: float) -> Shared:
        """Store what changed here; returns what anybody changed since the last exchange, and what other processes carry and probe.

        The first one returns everything. Not for two threads at once.
        """
        carries = bool(mine.loads or mine.probes)
        writes = bool(mine.cooldowns or mine.sessions or carries or self._carries)
        # An idle relay only reads: SQLite has one writer at a time, and each relay does this twice a second.
        with self._writing() if writes else self._reading() as connection:
            if mine.cooldowns or mine.sessions:
                _save(connection, mine.cooldowns, mine.sessions, mine.ttl)
            if carries or self._carries:
                self._carry(connection, mine, now)
            # Read after writing, in the same transaction: what comes back holds what was just joined, as everybody else will see it.
            generation = _generation(connection)
            news = generation != self._seen
            cooldowns = _rows(connection, "cooldowns", COOLDOWNS, self._seen) if news else ()
            sessions = _rows(connection, "sessions", SESSIONS, self._seen) if news else ()
            loads, probes = self._loads_of_others(connection, now), self._probes_of_others(connection, now)
        self._seen, self._carries = generation, carries
        return Shared(cooldowns, sessions, loads, mine.ttl, probes)

    def chosen(self) -> dict[str, str]:
        """Provider → the id of the key that goes before its others, where one was chosen."""
        with self._reading() as connection:
            return dict(connection.execute("SELECT provider, key_id FROM chosen_keys").fetchall())

    def salt(self) -> bytes | None:
        """What makes hashes those of this database alone; None where there is none yet."""
        with self._reading() as connection:
            row = connection.execute("SELECT salt FROM key_salt").fetchone()
        return None if row is None else bytes(row[0])

    def forget_position(self) -> None:
        """The next exchange returns everything: for keys that came back and whose cooldowns were not asked for meanwhile."""
        self._seen = 0

    def load_cooldowns(self, after: int = 0) -> tuple[Row, ...]:
        """The cooldowns that changed after that number of `changed()`; lifted ones too, see `Cooldowns.restore`."""
        with self._reading() as connection:
            return _rows(connection, "cooldowns", COOLDOWNS, after)

    def save_cooldowns(self, rows: Iterable[Row]) -> None:
        """Join these cooldowns (with `provider`) with those that are there."""
        with self._writing() as connection:
            _save(connection, tuple(rows), ())

    def load_sessions(self, after: int = 0) -> tuple[Row, ...]:
        """The bindings that changed after that number of `changed()`."""
        with self._reading() as connection:
            return _rows(connection, "sessions", SESSIONS, after)

    def save_sessions(self, rows: Iterable[Row], ttl: float = HOUR) -> None:
        """Join these bindings with those that are there. `ttl`: seconds after which a silent session does not count."""
        with self._writing() as connection:
            _save(connection, (), rows, ttl)

    def lift(self, provider: str, key_id: str, now: float, scope: str | None = None) -> int:
        """End a key's cooldowns, or the one of a scope, in every process: all that were set until now. Returns how many there were."""
        with self._writing() as connection:
            return connection.execute(
                # The row stays, for others must hear of it. `since` may be ahead of `now`: the clock of each process is steady by itself.
                "UPDATE cooldowns SET lifted = max(since, ?), changed = ? WHERE provider = ? AND key_id = ? AND since > lifted "
                "AND (? IS NULL OR scope = ?)",
                (now, _next_generation(connection), provider, key_id, scope, scope),
            ).rowcount

    def remember_resource(self, resource: str, provider: str, key_id: str, until: float) -> None:
        """This key has made it; worth knowing until then."""
        with self._writing() as connection:
            connection.execute(SAVE_RESOURCE, (resource, provider, key_id, until))

    def resource(self, resource: str, now: float) -> tuple[str, str] | None:
        """Provider and id of the key that has made it, if that is known."""
        with self._reading() as connection:
            row = connection.execute(
                "SELECT provider, key_id FROM resources WHERE id = ? AND until > ?", (resource, now)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def has_resources(self) -> bool:
        """Whether anything at all is remembered."""
        with self._reading() as connection:
            return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM resources)").fetchone()[0])

    def first_results(self, batch: str, until: float) -> bool:
        """Whether nobody has counted this batch's results yet; from now on somebody has, until then."""
        with self._writing() as connection:
            insert = "INSERT OR IGNORE INTO batches (id, until) VALUES (?, ?)"
            return connection.execute(insert, (batch, until)).rowcount > 0

    def remember_calls(self, memories: Mapping[str, str], until: float) -> None:
        """Keep what a provider wants back with these calls of tools, by their ids."""
        with self._writing() as connection:
            rows = ((call, what, until) for call, what in memories.items())
            connection.executemany("INSERT OR REPLACE INTO memories (call, what, until) VALUES (?, ?, ?)", rows)

    def recall(self, calls: Sequence[str], now: float) -> dict[str, str]:
        """What was kept with these calls, for those of which something was."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT call, what FROM memories WHERE call IN (SELECT value FROM json_each(?)) AND until > ?",
                (json.dumps(list(calls)), now),
            )
            return dict(rows.fetchall())

    def prune(self, now: float, *, ttl: float, most: int) -> None:
        """Delete what has ended. `ttl`: seconds that a silent session is kept; `most`: bindings that are kept."""
        with self._writing() as connection:
            connection.execute("DELETE FROM sessions WHERE used < ?", (now - ttl,))
            connection.execute(
                "DELETE FROM sessions WHERE used < (SELECT used FROM sessions ORDER BY used DESC LIMIT 1 OFFSET ?)",
                (most - 1,),
            )
            # A cooldown counts from its end, or from when it was lifted; NULL is one without an end (401), which is never over.
            connection.execute(
                "DELETE FROM cooldowns WHERE max(since, lifted, CASE WHEN since > lifted THEN ifnull(until, 9e999) ELSE 0 END) "
                "< CASE scope WHEN '' THEN ? ELSE ? END",
                (now - STREAK_KEPT, now - HOUR),
            )
            # Neither the vault nor relay.yaml has that key any more.
            connection.execute(
                "DELETE FROM cooldowns WHERE max(since, lifted) < ? AND key_id NOT IN (SELECT id FROM keys) "
                "AND (provider, key_id) NOT IN (SELECT provider, id FROM key_aliases)",
                (now - STRANGER_KEPT,),
            )
            connection.execute("DELETE FROM loads WHERE at < ?", (now - HOUR,))
            connection.execute("DELETE FROM probes WHERE at < ?", (now - HOUR,))
            connection.execute("DELETE FROM resources WHERE until <= ?", (now,))
            connection.execute("DELETE FROM batches WHERE until <= ?", (now,))
            connection.execute("DELETE FROM memories WHERE until <= ?", (now,))
            connection.execute(
                "DELETE FROM memories WHERE until < (SELECT until FROM memories ORDER BY until DESC LIMIT 1 OFFSET ?)",
                (MOST_MEMORIES,),
            )

    def close(self) -> None:
        """Let go of the file; a process that ends has nothing under way any more. What it spent stays for the next one."""
        if self._carries:
            with suppress(StoreError), self._writing() as connection:
                connection.execute("UPDATE loads SET busy = 0 WHERE process = ?", (self.process,))
                connection.execute("DELETE FROM probes WHERE process = ?", (self.process,))
        with self._lock:
            connections, self._all = self._all, set()
        for connection in connections:
            connection.close()
        self._own = threading.local()

    # --- inside ---

    def _carry(self, connection: sqlite3.Connection, mine: Shared, now: float) -> None:
        """Say anew what is carried and probed here."""
        said = {"process": self.process, "at": now}
        connection.execute("DELETE FROM loads WHERE process = ?", (self.process,))
        connection.execute("DELETE FROM probes WHERE process = ?", (self.process,))
        connection.executemany(SAVE_LOAD, ({**row, **said} for row in mine.loads))
        connection.executemany(SAVE_PROBE, ({**_storable(row), **said} for row in mine.probes))

    def _loads_of_others(self, connection: sqlite3.Connection, now: float) -> tuple[Row, ...]:
        """Of a process that is silent: no requests under way, but what it spent in its last minute."""
        rows = connection.execute(
            "SELECT provider, key_id, CASE WHEN at > ? THEN busy ELSE 0 END, requests, tokens FROM loads "
            "WHERE process != ? AND at > ?",
            (now - HEARTBEAT, self.process, now - SPENT_KEPT),
        )
        return _dicts(LOADS, rows)

    def _probes_of_others(self, connection: sqlite3.Connection, now: float) -> tuple[Row, ...]:
        rows = connection.execute(
            f"SELECT {', '.join(PROBES)} FROM probes WHERE process != ? AND at > ? AND until > ?",
            (self.process, now - HEARTBEAT, now),
        )
        return _dicts(PROBES, rows)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """One transaction; after a failure the connection is opened anew, for nobody knows what is left of it."""
        connection = None
        try:
            connection = self._connection()
            connection.execute(begin)
            yield connection
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error
        finally:
            if connection is not None and connection.in_transaction:
                self._drop(connection)

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._own, "connection", None)
        # Somebody may have put another file in its place (a backup, say), to which an open connection would never come.
        if connection is not None and identity(self.path) != self._own.identity:
            self._drop(connection)
            connection, self._seen = None, 0
        if connection is None:
            connection = connect(self.path, patience=self._patience, any_thread=True, returning=True)
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._own.connection, self._own.identity = connection, identity(self.path)
            with self._lock:
                self._all.add(connection)
        return connection

    def _drop(self, connection: sqlite3.Connection) -> None:
        self._own.connection = None
        with self._lock:
            self._all.discard(connection)
        connection.close()


def _generation(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT generation FROM state").fetchone()[0])


def _next_generation(connection: sqlite3.Connection) -> int:
    """Writers come one after another, so who has read up to a number has seen all before it."""
    return int(connection.execute("UPDATE state SET generation = generation + 1 RETURNING generation").fetchone()[0])


def _save(
    connection: sqlite3.Connection, cooldowns: Collection[Row], sessions: Iterable[Row], ttl: float = HOUR
) -> None:
    changed = _next_generation(connection)
    connection.executemany(SAVE_COOLDOWN, (_storable(row) | {"changed": changed} for row in cooldowns))
    if any(str(row["key_id"]).startswith(SHARED) for row in cooldowns):
        connection.execute(FORGET_OWN, {"own": f"{SHARED}*", "most": MOST_OWN})
    connection.executemany(SAVE_SESSION, (_storable(row) | {"changed": changed, "ttl": ttl} for row in sessions))


def _rows(connection: sqlite3.Connection, table: str, columns: tuple[str, ...], after: int) -> tuple[Row, ...]:
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table} WHERE changed > ? ORDER BY {ORDER[table]}", (after,)
    )
    return _dicts(columns, rows)


def _storable(row: Row) -> dict[str, object]:
    """What clients and upstreams say may hold halves of characters, which no database takes."""
    return {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) and not value.isascii() else value
        for name, value in row.items()
    }


def _dicts(columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> tuple[Row, ...]:
    return tuple(dict(zip(columns, row, strict=True)) for row in rows)
