"""What has changed in the database since one looked last, for whoever shows it: cheap enough to look twice a second.

    changes = Changes(Path("relay.db"))
    changes.look()      -> [Change("requests", 4711, […]), Change("keys", 4711)]      nothing the first time

    requests  rows that settled, the oldest first, MOST at most
    keys      a key was added, changed, or is in another state
    relays    a relay came or went, or has more or less to do
    clients   clients, groups, stops
    notices   what somebody should look at

Mostly SQLite's own number says that nothing was committed. Meant for threads. It must not know who looks.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_relay.store.db.database import StoreError, explain, identity
from claude_relay.store.vault.rows import has_table

TOPICS: Final = ("requests", "keys", "relays", "notices", "clients")
MOST: Final = 100
COLUMNS: Final = (
    "id, started_at, client, session, requested_model, served_model, provider, key, status, error_type, attempts, input_tokens, "
    "output_tokens, cache_read_tokens, cost_usd, ttft_ms, duration_ms, finished, origin"
)
NUMBERS: Final = {
    "keys": ("vault", "SELECT generation FROM vault"),
    "cooldowns": ("cooldowns", "SELECT max(changed) FROM cooldowns"),
    "chosen": ("chosen_keys", "SELECT group_concat(provider || key_id) FROM chosen_keys"),
    "clients": ("client_state", "SELECT generation FROM client_state"),
    "notices": ("notices", "SELECT * FROM notices ORDER BY rowid DESC LIMIT 200"),
}
"""What → its table, and a query whose answer is another one after a change."""
OF_TOPIC: Final = {"cooldowns": "keys", "chosen": "keys", "states of keys": "keys"}


@dataclass(frozen=True, slots=True)
class Change:
    """`at`: the number of the last row of `requests` then; `rows`: those of requests."""

    topic: str
    at: int
    rows: tuple[dict[str, Any], ...] = ()


class Changes:
    """Keeps one connection open."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched before the first look."""
        self.path = path
        self.at = 0
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version = -1
        self._seen: dict[str, Any] = {}

    def look(self) -> list[Change]:
        """Raises StoreError; the next look begins anew."""
        with self._guard:
            try:
                return list(self._look())
            except (sqlite3.Error, OSError) as error:
                self._close()
                raise StoreError(explain(self.path, error)) from error

    def since(self, at: int) -> Change:
        """The requests that settled after the row of that number, up to the last look; without rows where that is not known."""
        with self._guard:
            known = self._connection is not None and 0 <= at < self.at
            return Change("requests", self.at, self._rows(self._connection, at) if known and self._connection else ())

    def close(self) -> None:
        """Let go of the file."""
        with self._guard:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _look(self) -> Iterator[Change]:
        now = identity(self.path)
        if now is None:
            self._close()
            return
        if self._connection is None or now != self._identity:
            self._close()
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=1.0, check_same_thread=False)
            self._identity, self._version, self._seen = now, -1, {}
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return
        self._version = version
        self._connection.execute("BEGIN")
        try:
            yield from self._changes(self._connection)
        finally:
            self._connection.execute("ROLLBACK")

    def _changes(self, connection: sqlite3.Connection) -> Iterator[Change]:
        first, topics = not self._seen, set[str]()
        for name, value in self._values(connection):
            if value != self._seen.get(name):
                topics.add(OF_TOPIC.get(name, name))
            self._seen[name] = value
        before, self.at = self.at, self._last(connection)
        if first:
            return
        if self.at > before:
            yield Change("requests", self.at, self._rows(connection, before))
        for topic in TOPICS:
            if topic in topics:
                yield Change(topic, self.at)

    def _values(self, connection: sqlite3.Connection) -> Iterator[tuple[str, Any]]:
        for name, (table, query) in NUMBERS.items():
            yield name, connection.execute(query).fetchall() if has_table(connection, table) else None
        if has_table(connection, "relays"):
            query = "SELECT id, in_flight, listeners, pools, load FROM relays ORDER BY id"
            rows = connection.execute(query).fetchall()
            yield "relays", [row[:3] for row in rows]
            if (loads := [row[3:] for row in rows]) != self._seen.get("loads"):
                self._seen["loads"] = loads
                self._seen["states"] = [_states(load) for _, load in loads], [pools for pools, _ in loads]
            yield "states of keys", self._seen["states"]

    @staticmethod
    def _last(connection: sqlite3.Connection) -> int:
        if not has_table(connection, "requests"):
            return 0
        return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM requests").fetchone()[0])

    def _rows(self, connection: sqlite3.Connection, after: int) -> tuple[dict[str, Any], ...]:
        query = f"SELECT {COLUMNS} FROM requests WHERE rowid > ? AND rowid <= ? ORDER BY rowid DESC LIMIT {MOST}"
        names = COLUMNS.split(", ")
        rows = [dict(zip(names, row, strict=True)) for row in connection.execute(query, [after, self.at])]
        return tuple(reversed(rows))


def _states(load: str) -> dict[str, Any]:
    """Of a relay's keys, without what changes with every request."""
    return {
        provider: {alias: (key.get("state"), key.get("until")) for alias, key in keys.items()}
        for provider, keys in json.loads(load).items()
    }
