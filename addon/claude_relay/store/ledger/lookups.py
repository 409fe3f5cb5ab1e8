"""Single requests and sessions of the ledger, by name.

    find(connection, "req_relay_01")        -> Found(request={"id": …}, attempts=({"n": 1, …}, …))
    newest(connection, Only(), limit=20)    -> [{"id": …, "status": 200, …}, …], the latest first
    sessions(connection, since=None)        -> [Session(id=…, cost_usd=0.42, …), …], the latest first

What this module must not know: how they are shown.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from claude_relay.core.times import iso

from .filters import LAST, Only, condition
from .reports import explained
from .rows import ATTEMPT, CHARGE, REQUEST

PREFIX: Final = "req_relay_"
NEWEST: Final = "last"
"""A name for the newest request."""
FAILED: Final = "(finished IN ('error', 'upstream_closed') OR status >= 400)"
"""Requests whose client got an error, or less than all; that a client left is no failure."""
SHOWN: Final = 5
"""Candidates that an ambiguous name is answered with."""


@dataclass(frozen=True, slots=True)
class Found:
    """A row of `requests` and its rows of `attempts` and `charges`, in order; times as the ledger has them."""

    request: Mapping[str, Any]
    attempts: tuple[Mapping[str, Any], ...]
    charges: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What a session used, from its first request to its last, whenever those were. None: not known of any request.

    first, last  when these started, UTC as the ledger has them
    project      the last in the alphabet when there are several
    estimated    requests whose tokens the provider did not come to tell
    """

    id: str
    project: str | None
    client: str | None
    first: str
    last: str
    requests: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_hit_rate: float | None
    cost_usd: float | None
    estimated: int = 0


class NotOne(LookupError):
    """No request or several have that name; `candidates`: some of several."""

    def __init__(self, name: str, candidates: tuple[str, ...]) -> None:
        super().__init__(name)
        self.name = name
        self.candidates = candidates


def find(connection: sqlite3.Connection, name: str) -> Found:
    """The request with that id, or whose id begins so, `req_relay_` left out or not; one of whose attempts an upstream knows by that id;
    or the newest, for `last`. Raises NotOne and StoreError.
    """
    try:
        return _find(connection, name)
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


def _find(connection: sqlite3.Connection, name: str) -> Found:
    # One range at a time: of several joined by OR the whole index would be read.
    like, full = "SELECT id FROM requests WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", PREFIX + name
    both = (connection.execute(like, (begin, begin + LAST, SHOWN + 1)) for begin in (name, full))
    ids = sorted({found for rows in both for (found,) in rows})[: SHOWN + 1]
    if name == NEWEST:
        latest = (
            "SELECT id FROM requests WHERE started_at = (SELECT max(started_at) FROM requests) ORDER BY id DESC LIMIT 1"
        )
        ids = [found for (found,) in connection.execute(latest)]
    elif not ids and name:
        theirs = "SELECT DISTINCT request FROM attempts WHERE upstream_request_id = ? LIMIT ?"
        ids = [found for (found,) in connection.execute(theirs, (name, SHOWN + 1))]
    chosen = [found for found in ids if found in (name, full)] or ids
    if len(chosen) != 1:
        raise NotOne(name, tuple(chosen))
    (request,) = _rows(connection, f"SELECT {', '.join(REQUEST)} FROM requests WHERE id = ?", chosen[0])
    attempts = _rows(connection, f"SELECT {', '.join(ATTEMPT)} FROM attempts WHERE request = ? ORDER BY n", chosen[0])
    beside = f"SELECT {', '.join(CHARGE)} FROM charges WHERE request = ? ORDER BY attempt, n"
    return Found(request, tuple(attempts), tuple(_rows(connection, beside, chosen[0])))


def newest(
    connection: sqlite3.Connection,
    only: Only,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    failed: bool = False,
    limit: int = SHOWN,
) -> list[dict[str, Any]]:
    """The latest requests, the newest first: the columns of `requests`. `failed`: only those that failed. Raises StoreError."""
    conditions = [*only.conditions(), *([(FAILED, [])] if failed else [])]
    conditions += [("started_at >= ?", [iso(since)])] if since else []
    conditions += [("started_at < ?", [iso(until)])] if until else []
    where, values = condition(conditions)
    query = f"SELECT {', '.join(REQUEST)} FROM requests {where} ORDER BY started_at DESC, id DESC LIMIT ?"
    try:
        return _dicts(connection.execute(query, [*values, limit]))
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


def _rows(connection: sqlite3.Connection, query: str, name: str) -> list[dict[str, Any]]:
    return _dicts(connection.execute(query, [name]))


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    names = [column for column, *_ in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


SPENT: Final = """
    SELECT session, max(nullif(project, '')), max(nullif(client, '')),
        (SELECT min(started_at) FROM requests WHERE requests.session = rollups.session),
        (SELECT max(started_at) FROM requests WHERE requests.session = rollups.session) AS last,
        sum(requests), sum(errors),
        iif(sum(with_input), sum(input_tokens), NULL),
        iif(sum(with_output), sum(output_tokens), NULL),
        iif(sum(with_cache_read), sum(cache_read_tokens), NULL),
        iif(sum(with_cache_write), sum(cache_write_tokens), NULL),
        sum(cache_hits) * 1.0 / nullif(sum(cache_asked), 0),
        iif(sum(with_cost), sum(cost_usd), NULL), sum(estimated)
    FROM rollups {where} GROUP BY session {having} ORDER BY last DESC, session"""

COLUMNS: Final = tuple(field.name for field in fields(Session))


def sessions(
    connection: sqlite3.Connection, *, since: datetime | None = None, project: str | None = None
) -> list[Session]:
    """The sessions whose last request started at `since` or later, the latest first, each with all it used. Raises StoreError."""
    alive = "session IN (SELECT session FROM requests WHERE started_at >= ? AND session IS NOT NULL)"
    conditions: list[tuple[str, list[Any]]] = [("session <> ''", [])]
    conditions += [(alive, [iso(since)])] if since else []
    where, values = condition(conditions)
    having = "HAVING max(nullif(project, '')) = ?" if project is not None else ""
    values += [project] if project is not None else []
    try:
        return [Session(*row) for row in connection.execute(SPENT.format(where=where, having=having), values)]
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


OF_CLIENT: Final = """
    SELECT session, max(nullif(project, '')), max(client), min(started_at), max(started_at) AS last, count(*),
        sum(finished IN ('error', 'upstream_closed')), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
        sum(coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)), NULL, sum(cost_usd), sum(estimated)
    FROM requests WHERE client = ? AND started_at >= ? AND session IS NOT NULL GROUP BY session ORDER BY last DESC LIMIT ?"""


def sessions_of_client(connection: sqlite3.Connection, client: str, since: datetime, limit: int) -> list[Session]:
    """The latest sessions of a client, with what they used since then; by an index. Raises StoreError."""
    try:
        return [Session(*row) for row in connection.execute(OF_CLIENT, [client, iso(since), limit])]
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error
