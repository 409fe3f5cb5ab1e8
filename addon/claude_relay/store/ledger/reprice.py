"""Works out anew what the requests of a ledger cost, while a relay writes to it or not.

    reprice(Path("relay.db"), Prices(own), since=None, provider_urls={"anthropic": "https://api.anthropic.com"})
    -> Repriced(requests=1204, changed=17, unpriced_models=(Unpriced("local", "qwen3", 12),))

Each try is priced by itself, at the time it began and the terms it was served at, and so is what was billed beside it; a request
costs what its tries and charges do; where no try says what it used, as in
rows of older relays, the request's own tokens count. Without a price for one of them there is none for the whole. Requests of a
provider that is not in `provider_urls` any more keep what they have, and so do batches that have a price: nobody could say it again.

Rows are read in batches and written in transactions of a few milliseconds, so a relay beside it is not held up. It must not know
configuration files or what a price is made of.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from claude_relay.core.accounting.batches import portions
from claude_relay.core.accounting.pricing import Priced, Prices, together
from claude_relay.core.accounting.terms import ORDINARY, Terms
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.times import iso, utc
from claude_relay.store.db.database import MissingDatabase, StoreError, connect, explain, transaction
from claude_relay.store.db.migrations import migrate

BATCH = 500
PATIENCE = 10.0
"""Seconds to wait for another program's lock."""


class Unpriced(NamedTuple):
    """How many requests with tokens have no price because of this model."""

    provider: str | None
    model: str | None
    requests: int


@dataclass(frozen=True, slots=True)
class Repriced:
    """How many requests were looked at, how many got another cost or list, and what had no price, the most used first."""

    requests: int
    changed: int
    unpriced_models: tuple[Unpriced, ...]


USED = tuple(Usage.__dataclass_fields__)
_OF_REQUEST = (
    "id",
    "started_at",
    "provider",
    "coalesce(served_model, requested_model)",
    "cost_usd",
    "priced_by",
    "path GLOB '/v1/messages/batches/*/results*'",
    *USED,
)
_OF_ATTEMPT = ("request", "n", "started_at", "provider", "model", "terms", "cost_usd", *USED)
_OF_CHARGE = (
    "charges.request",
    "charges.attempt",
    "attempts.started_at",
    "attempts.provider",
    *(f"charges.{name}" for name in ("model", "terms", "cost_usd", *USED, "n")),
)
_KNOWN = f"coalesce({', '.join(USED)}) IS NOT NULL"

COUNT = "SELECT count(*) FROM requests WHERE started_at >= ? AND started_at < ?"
REQUESTS = f"""
    SELECT rowid, {", ".join(_OF_REQUEST)} FROM requests
    WHERE (started_at, rowid) > (?, ?) AND started_at < ? ORDER BY started_at, rowid LIMIT {BATCH}"""
ATTEMPTS = f"SELECT {', '.join(_OF_ATTEMPT)} FROM attempts WHERE request IN ({{}}) AND {_KNOWN} ORDER BY request, n"
CHARGES = f"""
    SELECT {", ".join(_OF_CHARGE)} FROM charges
    JOIN attempts ON attempts.request = charges.request AND attempts.n = charges.attempt
    WHERE charges.request IN ({{}}) ORDER BY charges.request, charges.attempt, charges.n"""
UNPRICED = f"""
    SELECT provider, coalesce(served_model, requested_model) AS model, count(*) AS requests FROM requests
    WHERE cost_usd IS NULL AND {_KNOWN} {{}} GROUP BY 1, 2 ORDER BY requests DESC, 1, 2"""
SET_REQUEST = "UPDATE requests SET cost_usd = ?, priced_by = ? WHERE id = ?"
SET_ATTEMPT = "UPDATE attempts SET cost_usd = ? WHERE request = ? AND n = ?"
SET_CHARGE = "UPDATE charges SET cost_usd = ? WHERE request = ? AND attempt = ? AND n = ?"

FIRST, LAST = "", "~"
"""Before and after every time in the ledger."""


def reprice(
    path: Path,
    prices: Prices,
    *,
    since: datetime | None,
    until: datetime | None = None,
    provider_urls: Mapping[str, str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Repriced:
    """Price what started at `since` or later, and before `until`; None: no bound.

    provider_urls  base URL by the name of the provider
    progress       is told how many requests are done, and how many there are
    Raises MissingDatabase, or StoreError when the file cannot be read or written; what is done by then stays.
    """
    if not path.is_file():
        raise MissingDatabase(f"{path}: there is no such file")
    begin, end = iso(since) if since else FIRST, iso(until) if until else LAST
    try:
        with closing(connect(path, patience=PATIENCE)) as connection:
            migrate(connection)
            return _Work(connection, prices, provider_urls).run(begin, end, progress)
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error


def unpriced(connection: sqlite3.Connection, since: datetime | None) -> list[Unpriced]:
    """Models whose requests used tokens and have no price, the most used first. `since` None: ever."""
    where, chosen = ("AND started_at >= ?", [iso(since)]) if since else ("", [])
    return [Unpriced(*row) for row in connection.execute(UNPRICED.format(where), chosen)]


class Spent(NamedTuple):
    """What a try, or a request without tries that say it, used; `cost` is what the ledger has by now.

    n, charge  of the attempt, and of the charge beside it; None: it is none
    """

    n: int | None
    started_at: str
    provider: str | None
    model: str | None
    cost: float | None
    usage: Usage
    terms: Terms = ORDINARY
    charge: int | None = None


class _Request(NamedTuple):
    row: int
    id: str
    started_at: str
    cost: float | None
    priced_by: str | None
    batch: bool
    own: Spent


class _Work:
    def __init__(self, connection: sqlite3.Connection, prices: Prices, urls: Mapping[str, str]) -> None:
        self._connection = connection
        self._prices = prices
        self._urls = urls
        self._unpriced: Counter[tuple[str | None, str | None]] = Counter()
        self._changed = 0

    def run(self, begin: str, end: str, progress: Callable[[int, int], None]) -> Repriced:
        total = self._connection.execute(COUNT, [begin, end]).fetchone()[0]
        done = 0
        progress(done, total)
        for batch in self._batches(begin, end):
            self._price(batch)
            done += len(batch)
            progress(done, max(done, total))  # rows may have come meanwhile
        missing = (Unpriced(*model, count) for model, count in self._unpriced.most_common())
        return Repriced(done, self._changed, tuple(missing))

    def _batches(self, begin: str, end: str) -> Iterator[list[_Request]]:
        last: tuple[str, int] = (begin, -1)
        while batch := [_request(row) for row in self._connection.execute(REQUESTS, [*last, end]).fetchall()]:
            yield batch
            last = batch[-1].started_at, batch[-1].row

    def _price(self, batch: Sequence[_Request]) -> None:
        tries = self._tries([request.id for request in batch])
        requests: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []
        charges: list[tuple[Any, ...]] = []
        for request in batch:
            spent = tries.get(request.id) or ([request.own] if request.own.usage != Usage() else [])
            if (
                not spent
                or any(one.provider not in self._urls for one in spent)
                or (request.batch and request.priced_by)
            ):
                continue
            costs = [(one, self._cost(one, request.batch)) for one in spent]
            self._unpriced.update({(one.provider, one.model) for one, cost in costs if cost is None})
            now = _columns(together(cost for _, cost in costs))
            if now != (request.cost, request.priced_by):
                requests.append((*now, request.id))
            changed = [
                (one, usd) for one, cost in costs if (usd := _columns(cost)[0]) != one.cost and one.n is not None
            ]
            attempts += [(usd, request.id, one.n) for one, usd in changed if one.charge is None]
            charges += [(usd, request.id, one.n, one.charge) for one, usd in changed if one.charge is not None]
        self._write(requests, attempts, charges)
        self._changed += len(requests)

    def _tries(self, ids: Sequence[str]) -> dict[str, list[Spent]]:
        """What the tries of each request used, and what was billed beside them."""
        found: dict[str, list[Spent]] = {}
        marks = ", ".join("?" * len(ids))
        for request, *columns in self._connection.execute(ATTEMPTS.format(marks), ids):
            found.setdefault(request, []).append(_spent(columns))
        for request, *columns, n in self._connection.execute(CHARGES.format(marks), ids):
            found.setdefault(request, []).append(_spent(columns)._replace(charge=n))
        return found

    def _cost(self, spent: Spent, batch: bool) -> Priced | None:
        url, at = self._urls[spent.provider or ""], utc(spent.started_at)
        special: dict[str, Any] = {"batch": True} if batch else {}
        if spent.terms != ORDINARY:
            special["terms"] = spent.terms
        parts = (
            list(portions(spent.usage)) if batch else [spent.usage]
        )  # the row of a batch has the sum of many results
        return together(
            self._prices.cost(spent.model or "", spent.provider, url, part, at, **special) for part in parts
        )

    def _write(self, *changed: Sequence[tuple[Any, ...]]) -> None:
        """What SET_REQUEST, SET_ATTEMPT and SET_CHARGE take."""
        if not any(changed):
            return
        with transaction(self._connection):
            for statement, rows in zip((SET_REQUEST, SET_ATTEMPT, SET_CHARGE), changed, strict=True):
                self._connection.executemany(statement, rows)


def _columns(priced: Priced | None) -> tuple[float | None, str | None]:
    return (priced.usd, priced.by) if priced else (None, None)


def _request(row: Sequence[Any]) -> _Request:
    number, name, started_at, provider, model, cost, priced_by, batch, *used = row
    own = Spent(None, started_at, provider, model, None, Usage(*used))
    return _Request(number, name, started_at, cost, priced_by, bool(batch), own)


def _spent(row: Sequence[Any]) -> Spent:
    n, started_at, provider, model, terms, cost, *used = row
    return Spent(n, started_at, provider, model, cost, Usage(*used), Terms.parse(terms))
