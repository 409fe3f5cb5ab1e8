"""Sessions in pages, the one that was used last first, and the agents of one.

    latest(connection, after=None, limit=50)     -> [Session(id=…, cost_usd=0.42, …), …]
    found = conversation(connection, "5f0c…")    -> its sums, and those of each of its agents

Only the sessions of a page are summed up, by their index. What this module must not know: how they are shown, and who is still at work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from claude_relay.store.db.rollups import MEASURES

from .lookups import Session
from .reports import explained

SUMS: Final = ", ".join(
    [
        "sum({requests})",
        "sum({errors})",
        "sum(input_tokens)",
        "sum(output_tokens)",
        "sum(cache_read_tokens)",
        "iif(sum({with_cache_write}), sum({cache_write_tokens}), NULL)",
        "sum({cache_hits}) * 1.0 / nullif(sum({cache_asked}), 0)",
        "sum(cost_usd)",
        "sum(estimated)",
    ]
).format(**{name: value.format(row="") for name, value in MEASURES.items()})
WHO: Final = "max(project), max(client), min(started_at), max(started_at)"

type Place = tuple[str, str]
"""When a session was used last, and its id."""


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of a session. `id` None: the main one. `tree`: the agent from which it came in the end; None: itself, or not known.

    models  that it asked, the most used first
    """

    id: str | None
    tree: str | None
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
    estimated: int
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session and its agents, by when they began."""

    session: Session
    agents: tuple[Agent, ...]


def latest(
    connection: sqlite3.Connection,
    *,
    after: Place | None = None,
    limit: int = 50,
    client: str | None = None,
    project: str | None = None,
) -> list[Session]:
    """At most so many, those used last first, each with all it used. Raises StoreError."""
    try:
        ids = _ids(connection, after, limit, client, project)
        known = {session.id: session for session in _sessions(connection, ids)}
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error
    return [known[id] for id in ids]


def conversation(connection: sqlite3.Connection, id: str) -> Conversation | None:
    """One session; None: there is none. Raises StoreError."""
    try:
        sessions = _sessions(connection, [id])
        if not sessions:
            return None
        models: dict[str | None, list[str]] = {}
        query = "SELECT agent, requested_model FROM requests WHERE session = ? GROUP BY 1, 2 ORDER BY count(*) DESC"
        for agent, model in connection.execute(query, [id]):
            models.setdefault(agent, []).append(model or "")
        query = f"SELECT agent, max(agent_tree), min(started_at), max(started_at), {SUMS} FROM requests WHERE session = ? GROUP BY 1"
        agents = [_agent(row, models[row[0]]) for row in connection.execute(query, [id])]
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error
    agents.sort(key=lambda agent: (agent.id is not None, agent.first))
    return Conversation(sessions[0], tuple(agents))


def _ids(
    connection: sqlite3.Connection, after: Place | None, limit: int, client: str | None, project: str | None
) -> list[str]:
    """Requests are read from the newest on, until there are enough sessions: one stands where its last one does, and is whose that is."""
    conditions, values = ["session IS NOT NULL"], list[Any]()
    for column, value in (("client", client), ("project", project)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if after is not None:
        conditions.append("(started_at < ? OR (started_at = ? AND session < ?))")
        conditions.append("started_at <= ?")
        values += [after[0], after[0], after[1], after[0]]
    query = f"SELECT session, started_at FROM requests WHERE {' AND '.join(conditions)} ORDER BY started_at DESC, session DESC"
    last = "SELECT max(started_at) FROM requests WHERE session = ?"
    seen: set[str] = set()
    found: list[str] = []
    for session, at in connection.execute(query, values):
        if session in seen:
            continue
        seen.add(session)
        if connection.execute(last, [session]).fetchone()[0] > at:
            continue  # it stood in an earlier page, or went on as somebody else's
        found.append(session)
        if len(found) == limit:
            break
    return found


def _sessions(connection: sqlite3.Connection, ids: Sequence[str]) -> list[Session]:
    marks = ", ".join("?" * len(ids))
    query = f"SELECT session, {WHO}, {SUMS} FROM requests WHERE session IN ({marks}) GROUP BY session"
    rows: list[tuple[Any, ...]] = connection.execute(query, list(ids)).fetchall()
    return [Session(*row) for row in rows]


def _agent(row: Sequence[Any], models: Sequence[str]) -> Agent:
    values = dict(zip((field.name for field in fields(Agent)), row, strict=False))
    return Agent(**values, models=tuple(filter(None, models)))
