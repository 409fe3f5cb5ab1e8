"""What relays on one database tell each other of clients' limits: who may let how many run, and how far rates are used.

    leases = Leases(Path("relay.db"))
    news = leases.exchange(wants, rates, ticks)          once a second, and when somebody finds no place
    news.leased                                       {key: places}: this relay's until ticks + LEASE - MARGIN
    leases.rates(keys)                                where these stand, for those that are asked for the first time
    leases.leave()                                    at the end: its places are free at once

A relay says each time all that it holds; what it does not name any more is free. Whoever dies keeps its places until LEASE is over.
All of an exchange is one transaction with the write lock, so that no two relays get the same place. `ticks` is the machine's
monotonic clock (`time.monotonic`), which all relays on one database share.

`SharedLimits` is all that is wanted of such a place: another store than SQLite gives leases by its own clock. What this module must
not know: what a limit is of. Every method waits for the disk, is for one thread at a time, and raises StoreError.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from claude_relay.core.clients.gcra import Change, joined
from claude_relay.core.clients.slots import Want, share
from claude_relay.core.times import HOUR
from claude_relay.store.db.database import StoreError, connect, explain, identity, transaction
from claude_relay.store.db.migrations import migrate

LEASE = 6.0
"""Seconds for which places are a relay's. It renews them each second."""
MARGIN = 1.0
"""Seconds before that in which it lets nothing begin any more."""
TURN = 5.0
"""Seconds after which a place that cannot be divided goes round."""
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class News:
    """What came of an exchange. `rates`: where those stand that anybody has used since the one before."""

    leased: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)


class SharedLimits(Protocol):
    """Where several relays agree on the limits of clients."""

    def exchange(self, wants: Mapping[str, Want], rates: Mapping[str, Change], ticks: float) -> News:
        """Say what is wanted and used here, and hear what may be and was used."""

    def rates(self, keys: Sequence[str]) -> Mapping[str, float]:
        """Where these rates stand."""

    def prune(self, now: float, ticks: float) -> None:
        """Forget what is over."""

    def leave(self) -> None:
        """Give everything back."""


class Leases:
    """The tables in the database at `path`.

    relay     a name that no other relay has
    lease     seconds for which places are given
    patience  seconds to wait for somebody else's lock: well under the lease
    """

    def __init__(
        self, path: Path, *, relay: str | None = None, lease: float = LEASE, patience: float = PATIENCE
    ) -> None:
        """Nothing is touched before the first call."""
        self.path, self.lease = path, lease
        self.relay = relay or secrets.token_hex(8)
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._seen = 0
        self._had: dict[str, tuple[int, Want]] = {}
        """What this relay was given last, and what it had said."""
        self._holds = False
        """Whether there may be rows of it."""

    def exchange(self, wants: Mapping[str, Want], rates: Mapping[str, Change], ticks: float) -> News:
        """See the module's text. A relay that has nothing, and had nothing, only reads."""
        try:
            connection = self._open()
            if not wants and not rates and not self._holds:
                return News(rates=self._news(connection))
            self._holds = True
            with transaction(connection):
                leased = self._lease(connection, wants, ticks)
                for key, change in rates.items():
                    self._join(connection, key, change)
                news = self._news(connection)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(self.path, error)) from error
        self._had = {key: (leased[key], wants[key]) for key in leased}
        self._holds = bool(leased)
        return News(leased, news)

    def rates(self, keys: Sequence[str]) -> Mapping[str, float]:
        """Where these stand, seconds since the epoch; those that nobody has used are left out."""
        try:
            connection = self._open()
            found = (connection.execute("SELECT key, tat FROM client_rates WHERE key = ?", [key]) for key in keys)
            return {key: tat for rows in found for key, tat in rows}
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(self.path, error)) from error

    def prune(self, now: float, ticks: float) -> None:
        """Delete what is over. `now`: seconds since the epoch."""
        try:
            connection = self._open()
            with transaction(connection):
                connection.execute("DELETE FROM client_leases WHERE until < ? OR until > ?", [ticks, ticks + HOUR])
                # The latest stays, for its number is counted on from.
                connection.execute(
                    "DELETE FROM client_rates WHERE tat < ? AND changed < (SELECT max(changed) FROM client_rates)",
                    [now - HOUR],
                )
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(self.path, error)) from error

    def leave(self) -> None:
        """All places are free."""
        try:
            if self._holds:
                self._open().execute("DELETE FROM client_leases WHERE relay = ?", [self.relay])
        except (sqlite3.Error, OSError) as error:
            raise StoreError(explain(self.path, error)) from error
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    # -- inside

    def _lease(self, connection: sqlite3.Connection, wants: Mapping[str, Want], ticks: float) -> dict[str, int]:
        """Renew what is held, and find anew what has changed, or what others want, too."""
        for key in self._had.keys() - wants.keys():
            connection.execute("DELETE FROM client_leases WHERE key = ? AND relay = ?", [key, self.relay])
            del self._had[key]
        until = ticks + self.lease
        renewed = connection.execute("UPDATE client_leases SET until = ? WHERE relay = ?", [until, self.relay])
        if renewed.rowcount != len(self._had):  # after a failure, or a while in which this one did not run
            connection.execute("DELETE FROM client_leases WHERE relay = ?", [self.relay])
            self._had = {}
        others = self._others(connection, ticks)
        leased = {}
        for key, want in wants.items():
            had, besides = self._had.get(key), others.get(key, {})
            # Alone with it, and as it was: what was given stays right.
            if had is not None and not besides and had[1].limit == want.limit and had[0] == want.limit:
                leased[key] = had[0]
                continue
            given = share(
                want.limit,
                want,
                {relay: one for relay, (_, one) in besides.items()},
                {relay: places for relay, (places, _) in besides.items()},
                self.relay,
                int(ticks // TURN),
            )
            leased[key] = given
            connection.execute(
                "INSERT INTO client_leases (key, relay, leased, busy, waiting, until) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET leased = excluded.leased, busy = excluded.busy, waiting = excluded.waiting, "
                "until = excluded.until",
                # What runs has its place, whatever was given: nobody else may have it before it ends.
                [key, self.relay, max(given, want.busy), want.busy, want.waiting, until],
            )
        return leased

    def _others(self, connection: sqlite3.Connection, ticks: float) -> dict[str, dict[str, tuple[int, Want]]]:
        """What other relays hold and want, by key. A time far ahead is from before the machine began anew."""
        found: dict[str, dict[str, tuple[int, Want]]] = {}
        for key, relay, leased, busy, waiting in connection.execute(
            "SELECT key, relay, leased, busy, waiting FROM client_leases WHERE relay != ? AND until > ? AND until <= ?",
            [self.relay, ticks, ticks + HOUR],
        ):
            found.setdefault(key, {})[relay] = leased, Want(leased, busy, waiting)
        return found

    def _join(self, connection: sqlite3.Connection, key: str, change: Change) -> None:
        row = connection.execute("SELECT tat FROM client_rates WHERE key = ?", [key]).fetchone()
        tat = change.tat if row is None else joined(row[0], change)
        connection.execute(
            "INSERT INTO client_rates (key, tat, changed) VALUES (?, ?, (SELECT coalesce(max(changed), 0) + 1 FROM client_rates)) "
            "ON CONFLICT DO UPDATE SET tat = excluded.tat, changed = excluded.changed",
            [key, tat],
        )

    def _news(self, connection: sqlite3.Connection) -> dict[str, float]:
        latest = int(connection.execute("SELECT coalesce(max(changed), 0) FROM client_rates").fetchone()[0])
        if latest == self._seen:
            return {}
        after = self._seen if latest > self._seen else 0  # else another file is in its place
        rows = connection.execute("SELECT key, tat FROM client_rates WHERE changed > ?", [after]).fetchall()
        self._seen = latest
        return dict(rows)

    def _open(self) -> sqlite3.Connection:
        """The connection, a new one where another file has taken the database's place."""
        if self._connection is None or identity(self.path) != self._identity:
            self.close()
            connection = connect(self.path, patience=self._patience, any_thread=True, returning=True)
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, identity(self.path)
            self._had = {}
        return self._connection
