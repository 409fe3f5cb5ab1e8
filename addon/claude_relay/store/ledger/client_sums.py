"""What clients and groups have spent, read from the ledger's `client_spending`.

    sums = ClientSums(Path("relay.db"))
    sums.read([(bound, since, by_slot), …])          -> {bound.key: [(slot, usd), …]}
    sums.changed()                                  who has spent since this was asked last; ALL the first time

Meant for a thread. It must not know what is allowed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from claude_relay.core.clients.demand import Bound
from claude_relay.core.routing.routes import fits
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only

OWNERS = {"client": "client", "group": "client_group"}


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

    def concerns(self, bound: Bound) -> bool:
        """Whether it counts there."""
        return (
            bound.owner == (self.client if bound.kind == "client" else self.group)
            and bound.session in (None, self.session)
            and bound.tree in (None, self.tree)
        )


type Sums = dict[str, list[tuple[int, float]]]


class ClientSums:
    """The reader for one ledger. `patience`: seconds to wait for somebody else's lock."""

    def __init__(self, path: Path, patience: float = 2.0) -> None:
        self.path = path
        self._patience = patience
        self._seen: int | None = None

    def read(self, wanted: Iterable[Wanted]) -> Sums:
        """The sums of each. Raises StoreError; a database that has none yet says nothing."""
        try:
            with closing(read_only(self.path, patience=self._patience)) as connection:
                connection.execute("BEGIN")
                return {one.bound.key: _read(connection, one) for one in wanted}
        except MissingDatabase:
            return {one.bound.key: [] for one in wanted}
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return {one.bound.key: [] for one in wanted}
            raise StoreError(explain(self.path, error)) from error

    def changed(self) -> set[Spender] | None:
        """Who has spent since this was asked last; None: everybody may have. Raises StoreError."""
        try:
            with closing(read_only(self.path, patience=self._patience)) as connection:
                connection.execute("BEGIN")
                latest = int(connection.execute("SELECT coalesce(max(changed), 0) FROM client_spending").fetchone()[0])
                seen, self._seen = self._seen, latest
                if seen is None or latest < seen:  # another file is in its place
                    return None
                rows = connection.execute(
                    "SELECT DISTINCT client, client_group, session, agent_tree FROM client_spending WHERE changed > ?",
                    [seen],
                )
                return {Spender(*row) for row in rows}
        except MissingDatabase:
            return set()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                return set()
            raise StoreError(explain(self.path, error)) from error


def _read(connection: sqlite3.Connection, wanted: Wanted) -> list[tuple[int, float]]:
    bound = wanted.bound
    conditions = {f"{OWNERS[bound.kind]} = ?": bound.owner, "slot >= ?": wanted.since}
    if bound.session is not None:
        conditions["session = ?"] = bound.session
    if bound.tree is not None:
        conditions["agent_tree = ?"] = bound.tree
    if bound.kind == "group":
        conditions["client_group != '' AND ?"] = 1
    slot = "slot" if wanted.by_slot else "max(slot)"
    rows = connection.execute(
        f"SELECT {slot}, model, total(usd) FROM client_spending WHERE {' AND '.join(conditions)} "
        f"GROUP BY model{', slot' if wanted.by_slot else ''}",
        list(conditions.values()),
    )
    return [(slot, usd) for slot, model, usd in rows if bound.limit.model is None or fits(bound.limit.model, model)]


def concerned(spenders: set[Spender] | None, bounds: Mapping[str, Bound]) -> list[str]:
    """The keys of those limits whose sums may have changed."""
    if spenders is None:
        return list(bounds)
    return [key for key, bound in bounds.items() if any(spender.concerns(bound) for spender in spenders)]
