"""What clients and groups have spent, read from the ledger's `client_spending`, and for whole hours from their sums (`client_hours`).

    sums = ClientSums(Path("relay.db"))
    sums.read([(bound, since, by_slot), …])          -> {bound.key: [(slot, usd), …]}
    sums.changed()                                  who has spent since this was asked last; ALL the first time
    sums.close()

Meant for one thread: the file stays open between two questions. It must not know what is allowed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from claude_relay.core.clients.demand import Bound
from claude_relay.core.routing.routes import fits
from claude_relay.store.db.client_tables import PAID
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, identity, read_only

from .client_hours import OWNERS, SLOTS, first_open

SPENDERS = f"""
    SELECT DISTINCT client, coalesce(client_group, ''), coalesce(session, ''), coalesce(agent_tree, '') FROM requests AS new
    WHERE rowid > ? AND {PAID} AND cost_usd > 0"""


class Wanted(NamedTuple):
    """What is to be read: from the slot `since` on. `by_slot`: one sum a slot; else one for all."""

    bound: Bound
    since: int
    by_slot: bool


class Spender(NamedTuple):
    """Who has spent something. `group` empty: the client was in none."""

    client: str
    group: str
    session: str
    tree: str

    def scopes(self) -> Iterator[_Scope]:
        """All that it counts for."""
        for kind, owner in (("client", self.client), ("group", self.group)):
            for session, tree in ((None, None), (self.session, None), (self.session, self.tree)):
                yield kind, owner, session, tree


class _Seen(NamedTuple):
    """The latest request at some moment: the number of its row (0: there was none), its id; and which prices held."""

    row: int
    id: str
    generation: int


type _Scope = tuple[str, str, str | None, str | None]
"""Kind and name of an owner, session and agent's root: as of a `Bound`."""
type Sums = dict[str, list[tuple[int, float]]]


class ClientSums:
    """The reader for one ledger. `patience`: seconds to wait for somebody else's lock."""

    def __init__(self, path: Path, patience: float = 2.0) -> None:
        self.path = path
        self._patience = patience
        self._seen: _Seen | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def read(self, wanted: Iterable[Wanted]) -> Sums:
        """The sums of each. Raises StoreError; a database that has none yet says nothing."""
        try:
            with self._moment() as connection:
                closed = first_open(connection)
                return {one.bound.key: _read(connection, one, closed) for one in wanted}
        except MissingDatabase:
            return {one.bound.key: [] for one in wanted}
        except sqlite3.Error as error:
            if _is_of_an_earlier_version(error):
                self._seen = None  # all is to be read again, once a relay has opened it
                return {one.bound.key: [] for one in wanted}
            raise StoreError(explain(self.path, error)) from error

    def changed(self) -> set[Spender] | None:
        """Who has spent since this was asked last; None: everybody may have. Raises StoreError."""
        try:
            with self._moment() as connection:
                seen, self._seen = self._seen, _latest(connection)
                if seen is None or not _follows(connection, seen, self._seen):
                    return None
                return {Spender(*row) for row in connection.execute(SPENDERS, [seen.row])}
        except MissingDatabase:
            return set()
        except sqlite3.Error as error:
            if _is_of_an_earlier_version(error):
                return set()
            raise StoreError(explain(self.path, error)) from error

    def close(self) -> None:
        """Let go of the file; the next question opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        """The database as it is at one moment; opened anew where another file has taken its place."""
        if self._connection is None or identity(self.path) != self._identity:
            self.close()
            self._connection = read_only(self.path, patience=self._patience)
            self._identity = identity(self.path)
        try:
            self._connection.execute("BEGIN")
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise


def _is_of_an_earlier_version(error: sqlite3.Error) -> bool:
    return "no such table" in str(error) or "no such column" in str(error)


def _latest(connection: sqlite3.Connection) -> _Seen:
    row = connection.execute("SELECT rowid, id FROM requests ORDER BY rowid DESC LIMIT 1").fetchone() or (0, "")
    return _Seen(
        int(row[0]), str(row[1]), connection.execute("SELECT generation FROM client_spending_state").fetchone()[0]
    )


def _follows(connection: sqlite3.Connection, seen: _Seen, now: _Seen) -> bool:
    """Whether the rows after the one that was seen are all that is new. Not when that row is gone, or has another number, as in
    another file or after a VACUUM; nor when requests were priced anew.
    """
    if seen.generation != now.generation or not seen.row:
        return seen == now
    found = connection.execute("SELECT id FROM requests WHERE rowid = ?", [seen.row]).fetchone()
    return bool(found) and found[0] == seen.id


def _read(connection: sqlite3.Connection, wanted: Wanted, closed: int) -> list[tuple[int, float]]:
    bound = wanted.bound
    of_all = bound.session is None and bound.tree is None and not wanted.by_slot
    rows = _by_hours(connection, wanted, closed) if of_all else _by_slots(connection, wanted, wanted.since)
    return [(slot, usd) for slot, model, usd in rows if bound.limit.model is None or fits(bound.limit.model, model)]


def _by_hours(connection: sqlite3.Connection, wanted: Wanted, closed: int) -> Iterable[tuple[int, str, float]]:
    """By model, from the whole hours before `closed`, the slots before the first of them and those after the last: a zone may begin its
    days at any quarter of an hour."""
    bound, first = wanted.bound, -(-wanted.since // SLOTS)
    sql = (
        f"SELECT max(hour) * {SLOTS}, model, total(usd) FROM client_spending_hours "
        "WHERE kind = ? AND owner = ? AND hour >= ? GROUP BY model"
    )
    yield from connection.execute(sql, [bound.kind, bound.owner, first])
    if first * SLOTS > wanted.since:
        yield from _by_slots(connection, wanted, wanted.since, first * SLOTS)
    yield from _by_slots(connection, wanted, max(first, closed) * SLOTS)


def _by_slots(
    connection: sqlite3.Connection, wanted: Wanted, since: int, until: int | None = None
) -> Iterable[tuple[int, str, float]]:
    bound = wanted.bound
    conditions: dict[str, object] = {f"{OWNERS[bound.kind]} = ?": bound.owner, "slot >= ?": since}
    if until is not None:
        conditions["slot < ?"] = until
    if bound.session is not None:
        conditions["session = ?"] = bound.session
    if bound.tree is not None:
        conditions["agent_tree = ?"] = bound.tree
    if bound.kind == "group":
        conditions["client_group != '' AND ?"] = 1
    slot = "slot" if wanted.by_slot else "max(slot)"
    return connection.execute(
        f"SELECT {slot}, model, total(usd) FROM client_spending WHERE {' AND '.join(conditions)} "
        f"GROUP BY model{', slot' if wanted.by_slot else ''}",
        list(conditions.values()),
    )


def concerned(spenders: set[Spender] | None, bounds: Mapping[str, Bound]) -> list[str]:
    """The keys of those limits whose sums may have changed. Each spender and each limit is looked at once."""
    if spenders is None:
        return list(bounds)
    scopes = {scope for spender in spenders for scope in spender.scopes()}
    return [key for key, bound in bounds.items() if (bound.kind, bound.owner, bound.session, bound.tree) in scopes]
