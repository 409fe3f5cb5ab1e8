"""`relays`: a row for each running relay, written once a second, so that commands and panel know what only the relay knows.

    relays = Relays(Path("relay.db"))
    relays.say(RelayRow(id="5f0c…", pid=17, …))           the row as it is now
    relays.leave("5f0c…")                                  the relay ends
    running(Path("relay.db"), time.time())                 -> the rows of those that run, latest start first

    pools   provider → {count, keys: [{alias, mask, source}], own}; no secret is in it, nor what lets a short one be guessed
            own: a client's own credential goes through to it, for it has no key, and routes lead there
    load    provider → alias → {state, until, reason, in_flight, used, headroom, limits}, of keys that are not just ready, idle and unused

Everything waits for the disk: call it in a thread. What this module must not know: how a relay finds these things out.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from claude_relay.core.times import seconds_of
from claude_relay.store.db.database import (
    MissingDatabase,
    StoreError,
    connect,
    explain,
    identity,
    read_only,
    transaction,
)
from claude_relay.store.db.migrations import migrate
from claude_relay.store.vault.rows import has_table, moment

FRESH = 5.0
"""Seconds for which a row says that its relay runs."""
FORGOTTEN = 60.0
"""Seconds after which the row of a relay that did not end by itself is dropped; one that had only slept writes it anew."""
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class RelayRow:
    """One relay. Times are UTC ISO 8601; the last three are JSON.

    config     the relay.yaml in force, absolute; None: the defaults
    confdir    mitmproxy's folder, where its CA is
    listeners  name in relay.yaml → HOST:PORT where it really listens
    """

    id: str
    pid: int
    host: str
    version: str
    started_at: str
    seen_at: str
    in_flight: int
    config: str | None
    confdir: str
    listeners: str
    pools: str
    load: str

    def listener(self, name: str) -> str | None:
        """`127.0.0.1:8080`; None when it is off."""
        found = json.loads(self.listeners).get(name)
        return None if found is None else str(found)

    def keys(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Provider → its keys, each with alias, mask, source, and what `load` says of it. Not to be changed: all who ask get the same."""
        return _keys(self.pools, self.load)


IDLE: Mapping[str, Any] = {
    "state": "ready",
    "until": None,
    "reason": "",
    "in_flight": 0,
    "used": 0,
    "headroom": 1.0,
    "limits": {},
}
KNOWN = 8
"""Texts whose meaning is kept: of some relays, which write another one once a second, and are asked about several times for a page."""


@lru_cache(KNOWN)
def _keys(pools: str, load: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    said = json.loads(load)
    return {
        name: [IDLE | key | said.get(name, {}).get(key["alias"], {}) for key in pool["keys"]]
        for name, pool in json.loads(pools).items()
    }


COLUMNS = tuple(field.name for field in fields(RelayRow))
_UPDATE = f"UPDATE relays SET {', '.join(f'{name} = :{name}' for name in COLUMNS[1:])} WHERE id = :id"
_INSERT = f"INSERT INTO relays ({', '.join(COLUMNS)}) VALUES ({', '.join(f':{name}' for name in COLUMNS)})"


class Relays:
    """The table in the database at `path`, for one thread at a time."""

    def __init__(self, path: Path, *, patience: float = PATIENCE, returning: bool = False) -> None:
        """Nothing is touched before the first call.

        patience   seconds that a call waits for somebody else's lock
        returning  as for `database.connect`
        """
        self._returning = returning
        self.path = path
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def say(self, row: RelayRow) -> None:
        """Write the row, in place of the one of a second ago. Raises StoreError."""
        try:
            connection = self._open()
            with transaction(connection):
                if not connection.execute(_UPDATE, asdict(row)).rowcount:
                    connection.execute(_INSERT, asdict(row))
                    now = seconds_of(row.seen_at) or 0.0
                    limits = [moment(now - FORGOTTEN), moment(now + FORGOTTEN)]
                    connection.execute("DELETE FROM relays WHERE NOT seen_at BETWEEN ? AND ?", limits)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(self.path, error)) from error

    def leave(self, id: str) -> None:
        """Take the row out and let go of the file. Raises StoreError."""
        try:
            if self._connection is not None:
                self._connection.execute("DELETE FROM relays WHERE id = ?", [id])
        except sqlite3.Error as error:
            raise StoreError(explain(self.path, error)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        """The connection, a new one where another file has taken the database's place."""
        if self._connection is None or identity(self.path) != self._identity:
            self.close()
            connection = connect(self.path, patience=self._patience, any_thread=True, returning=self._returning)
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, identity(self.path)
        return self._connection


def running(path: Path, now: float) -> tuple[RelayRow, ...]:
    """The relays that run over this database, latest start first; none where there is no such file or table. Raises StoreError."""
    try:
        with closing(read_only(path)) as connection:
            if not has_table(connection, "relays"):
                return ()
            rows = connection.execute(f"SELECT {', '.join(COLUMNS)} FROM relays ORDER BY started_at DESC").fetchall()
    except MissingDatabase:
        return ()
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error
    return tuple(row for row in (RelayRow(*row) for row in rows) if _runs(row, now))


def _runs(row: RelayRow, now: float) -> bool:
    seen = seconds_of(row.seen_at)
    fresh = seen is not None and abs(now - seen) < FRESH
    return fresh and (row.host != socket.gethostname() or _lives(row.pid))


def _lives(pid: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would end it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # somebody else's
    return True
