"""What relays on one database tell each other of clients' limits: who may let how many run, and how far rates are used.

    leases = Leases(Path("relay.db"))
    news = leases.exchange(wants, rates, ticks)          once a second, and when somebody finds no place
    news.leased                                       {key: places} that are others now; all are this relay's until ticks + LEASE - MARGIN
    leases.rates(keys)                                where these stand, for those that are asked for the first time
    leases.leave()                                    at the end: its places are free at once

A relay says each time what has changed of what it holds, and renews the rest. Whoever dies keeps its places until LEASE is over. All of
an exchange is one transaction with the write lock, so that no two relays get the same place; and places that a relay is to have no more
are others' after its next exchange only, for until it hears of it requests may begin on them. `ticks` is the machine's monotonic clock
(`time.monotonic`), which all relays on one database share.

After each call into SQLite the thread has to get Python's lock back from a busy event loop: what is for many keys is one statement.

`SharedLimits` is all that is wanted of such a place: another store than SQLite gives leases by its own clock. What this module must
not know: what a limit is of. Every method waits for the disk, is for one thread at a time, and raises StoreError.
"""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Protocol

from claude_relay.core.clients.gcra import Change, joined
from claude_relay.core.clients.slots import Want, share
from claude_relay.core.times import HOUR
from claude_relay.store.db.database import StoreError, connect, explain, identity, transaction
from claude_relay.store.db.migrations import migrate
from claude_relay.store.vault.rows import moment

from .relays import FRESH

LEASE = 6.0
"""Seconds for which places are a relay's. It renews them each second."""
MARGIN = 1.0
"""Seconds before that in which it lets nothing begin any more."""
TURN = 5.0
"""Seconds after which a place that cannot be divided goes round."""
PATIENCE = 2.0
MOST = 256
"""Keys of one statement."""
STAND = "SELECT key, tat FROM client_rates WHERE key IN ({})"
# Of rates that stand elsewhere than this relay believes.
DIFFERS = """
    WITH said (key, base) AS (VALUES {})
    SELECT key, tat FROM said JOIN client_rates USING (key) WHERE tat != base"""
JOIN = """
    INSERT INTO client_rates (key, tat, changed) VALUES {}
    ON CONFLICT DO UPDATE SET tat = excluded.tat, changed = excluded.changed"""
RUNNING = "SELECT count(*) > 1 FROM relays WHERE seen_at > ?"
FREE = "DELETE FROM client_leases WHERE relay = ? AND key IN ({})"
LEASE_THEM = """
    INSERT INTO client_leases (key, relay, leased, busy, waiting, until) VALUES {}
    ON CONFLICT DO UPDATE SET leased = excluded.leased, busy = excluded.busy, waiting = excluded.waiting, until = excluded.until"""


type Others = dict[str, dict[str, tuple[int, Want]]]
"""By key and relay: places that it has, and what it wants."""


@dataclass(frozen=True, slots=True)
class News:
    """What came of an exchange. `leased`: of those that were named, and where it is another number than before; `rates`: where those
    stand that others have used since the one before, with what was told here; `company`: whether other relays run.
    """

    leased: Mapping[str, int] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    company: bool = True


class SharedLimits(Protocol):
    """Where several relays agree on the limits of clients."""

    def exchange(self, wants: Mapping[str, Want | None], rates: Mapping[str, Change], ticks: float) -> News:
        """Say what is wanted and used here that was not before, and hear what may be and was used.

        wants  None: nothing is wanted any more. What was said counts as said, also when StoreError is raised; rates do not
        """

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
        self._wants: dict[str, Want] = {}
        """All that this relay holds or wants, as it has said last."""
        self._given: dict[str, int] = {}
        """What it was given last, by which it goes."""
        self._said: set[str] = set()
        self._freed: set[str] = set()
        """What was said since the last exchange that succeeded: wanted, and not wanted any more."""
        self._short: set[str] = set()
        """Those of which it was not given all, or is to give something back."""
        self._holds = False
        """Whether there may be rows of it."""

    def exchange(self, wants: Mapping[str, Want | None], rates: Mapping[str, Change], ticks: float) -> News:
        """See the module's text. A relay that has nothing, and had nothing, only reads."""
        self._hear(wants)
        seen = self._seen
        try:
            connection = self._open()
            if not rates and not self._wants and not self._holds:
                news = self._news(connection)
                return News({}, news, bool(news) or self._company(connection))
            self._holds = True
            with transaction(connection):
                others = self._others(connection, ticks)
                given = self._lease(connection, ticks, others)
                news = self._news(connection)
                differs = self._join(connection, rates)
                company = bool(others or news) or self._company(connection)
        except (sqlite3.Error, OSError) as error:
            self._seen = seen
            self.close()
            raise StoreError(explain(self.path, error)) from error
        self._settle(given)
        return News(given, {key: tat for key, tat in news.items() if key not in rates} | differs, company)

    def rates(self, keys: Sequence[str]) -> Mapping[str, float]:
        """Where these stand, seconds since the epoch; those that nobody has used are left out."""
        try:
            connection = self._open()
            found = (connection.execute(STAND.format(marks(piece)), piece) for piece in in_powers(keys))
            return dict(chain.from_iterable(found))
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
            self._forget()
            self.close()

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    # -- inside

    def _hear(self, wants: Mapping[str, Want | None]) -> None:
        """Keep what is said, until an exchange succeeds."""
        for key, want in wants.items():
            if want is not None:
                self._wants[key] = want
                self._said.add(key)
            elif self._wants.pop(key, None) is not None:
                self._said.discard(key)
                self._freed.add(key)

    def _settle(self, given: Mapping[str, int]) -> None:
        """An exchange has succeeded."""
        for key in self._freed:
            if key not in self._wants:
                self._given.pop(key, None)
                self._short.discard(key)
        self._freed.clear()
        self._said.clear()
        for key, places in given.items():
            # What is less than before is said once more: then the row has it, too.
            if places < self._wants[key].limit or places < self._given.get(key, 0):
                self._short.add(key)
            else:
                self._short.discard(key)
        self._given.update(given)
        self._holds = bool(self._wants)

    def _lease(self, connection: sqlite3.Connection, ticks: float, others: Others) -> dict[str, int]:
        """Renew what is held, and find anew what was said, is too little, or is wanted by others, too."""
        until, had = ticks + self.lease, self._given
        freed = self._freed & had.keys()
        for piece in in_powers([*freed]):
            connection.execute(FREE.format(marks(piece)), [self.relay, *piece])
        renewed = connection.execute("UPDATE client_leases SET until = ? WHERE relay = ?", [until, self.relay])
        if renewed.rowcount != len(had) - len(
            freed
        ):  # after a while in which this one did not run, or another file is there
            connection.execute("DELETE FROM client_leases WHERE relay = ?", [self.relay])
            had = {}
        elif freed:
            had = {key: places for key, places in had.items() if key not in freed}
        found = self._said | self._short | (others.keys() & self._wants.keys()) if had else self._wants.keys()
        given, rows = {}, []
        for key in found & self._wants.keys():
            want, besides, before = self._wants[key], others.get(key, {}), had.get(key)
            # Alone with it, and as it was: what was given stays right.
            if before == want.limit and not besides and key not in self._short:
                given[key] = before
                continue
            given[key] = share(
                want.limit,
                want,
                {relay: one for relay, (_, one) in besides.items()},
                {relay: places for relay, (places, _) in besides.items()},
                self.relay,
                int(ticks // TURN),
            )
            # What runs has its place, and what may begin before this is heard: nobody else may have it before.
            leased = max(given[key], want.busy, before or 0)
            rows.append((key, self.relay, leased, want.busy, want.waiting, until))
        for some in in_powers(rows):
            connection.execute(LEASE_THEM.format(lines(some)), [*chain.from_iterable(some)])
        return given

    def _others(self, connection: sqlite3.Connection, ticks: float) -> Others:
        """What other relays hold and want, by key. A time far ahead is from before the machine began anew."""
        found: Others = {}
        for key, relay, leased, busy, waiting in connection.execute(
            "SELECT key, relay, leased, busy, waiting FROM client_leases WHERE relay != ? AND until > ? AND until <= ?",
            [self.relay, ticks, ticks + HOUR],
        ):
            found.setdefault(key, {})[relay] = leased, Want(leased, busy, waiting)
        return found

    def _join(self, connection: sqlite3.Connection, rates: Mapping[str, Change]) -> dict[str, float]:
        """Tell where rates stand. Returns those where it is somewhere else, for others have used them."""
        if not rates:
            return {}
        differs: dict[str, float] = {}
        for piece in in_powers([(key, change.base) for key, change in rates.items()]):
            rows = connection.execute(DIFFERS.format(lines(piece)), [*chain.from_iterable(piece)])
            differs |= {key: joined(tat, rates[key]) for key, tat in rows}
        self._seen += 1
        stands = [(key, differs.get(key, change.tat), self._seen) for key, change in rates.items()]
        for these in in_powers(stands):
            connection.execute(JOIN.format(lines(these)), [*chain.from_iterable(these)])
        return differs

    def _news(self, connection: sqlite3.Connection) -> dict[str, float]:
        """What others have told since this was asked last, and what this relay has told meanwhile is no news."""
        latest = int(connection.execute("SELECT coalesce(max(changed), 0) FROM client_rates").fetchone()[0])
        if latest == self._seen:
            return {}
        after = self._seen if latest > self._seen else 0  # else another file is in its place
        rows = connection.execute("SELECT key, tat FROM client_rates WHERE changed > ?", [after]).fetchall()
        self._seen = latest
        return dict(rows)

    @staticmethod
    def _company(connection: sqlite3.Connection) -> bool:
        """Whether more than one relay has said lately that it runs."""
        return bool(connection.execute(RUNNING, [moment(time.time() - FRESH)]).fetchone()[0])

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
        return self._connection

    def _forget(self) -> None:
        for known in (self._wants, self._given, self._said, self._freed, self._short):
            known.clear()


def in_powers[T](items: Sequence[T]) -> Iterator[Sequence[T]]:
    """All of them, in as few pieces as have one of few sizes: so that statements stay prepared."""
    start = 0
    while left := len(items) - start:
        size = min(MOST, 1 << (left.bit_length() - 1))
        yield items[start : start + size]
        start += size


def marks(values: Sequence[object]) -> str:
    """A mark for each."""
    return ", ".join("?" * len(values))


def lines(rows: Sequence[Sequence[object]]) -> str:
    """The rows of VALUES."""
    return ", ".join([f"({marks(rows[0])})"] * len(rows))
