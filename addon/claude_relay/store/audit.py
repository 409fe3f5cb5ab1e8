"""The audit log: every administrative act, who did it, when, from where, and what was before and after. Rows are added only.

    actor = Actor("alice", "cli", "laptop")
    write(connection, actor, Act("edit", "client", "bob", {"enabled": True}, {"enabled": False}))     within the act's own transaction
    record(Path("relay.db"), actor, Act("prune", "ledger", …))         before an act that is none of one transaction
    read(Path("relay.db"), kind="client", subject="bob")        -> the newest first

So an act that is not written down has not happened. No value is a secret: who acts passes on what may be shown. It must not know what
acts do.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .db.database import MissingDatabase, StoreError, connect, explain, read_only, transaction
from .db.migrations import migrate

COLUMNS = ("id", "at", "who", "via", "place", "act", "kind", "subject", "before", "after")


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    who    a person's name where that is known: the system's user, an admin of the panel
    via    `cli`, `panel`, `api`, `sign-in` or `relay`
    place  from where: a machine, an address
    """

    who: str
    via: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Act:
    """What is done. `kind` of thing and its name; the values that change, as they were and as they are."""

    act: str
    kind: str
    subject: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row. `at`: UTC ISO 8601."""

    id: int
    at: str
    who: str
    via: str
    place: str
    act: str
    kind: str
    subject: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def write(connection: sqlite3.Connection, actor: Actor, act: Act) -> None:
    """Add a row. Within the transaction of the act itself."""
    connection.execute(
        "INSERT INTO audit (who, via, place, act, kind, subject, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [actor.who, actor.via, actor.place, act.act, act.kind, act.subject, _json(act.before), _json(act.after)],
    )


def record(path: Path, actor: Actor, act: Act, *, patience: float = 5.0) -> None:
    """Add a row by itself, before an act of many transactions: it says what is begun. Raises MissingDatabase, StoreError."""
    if not path.is_file():
        raise MissingDatabase(f"{path}: there is no such file")
    try:
        with closing(connect(path, patience=patience)) as connection:
            migrate(connection)
            with transaction(connection):
                write(connection, actor, act)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(explain(path, error)) from error


def read(
    path: Path,
    *,
    kind: str | None = None,
    subject: str | None = None,
    who: str | None = None,
    since: str | None = None,
    until: str | None = None,
    before: int | None = None,
    most: int = 100,
) -> list[Entry]:
    """The newest first. `since`, `until`: UTC ISO 8601; `before`: an id, for the next page. Raises StoreError."""
    wanted = {
        "kind = ?": kind,
        "subject = ?": subject,
        "who = ?": who,
        "at >= ?": since,
        "at < ?": until,
        "id < ?": before,
    }
    terms = {term: value for term, value in wanted.items() if value is not None}
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    sql = f"SELECT {', '.join(COLUMNS)} FROM audit {where} ORDER BY id DESC LIMIT ?"
    try:
        with closing(read_only(path)) as connection:
            rows = connection.execute(sql, [*terms.values(), most]).fetchall()
    except MissingDatabase:
        return []
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # of an earlier version, which no relay has opened yet
            return []
        raise StoreError(explain(path, error)) from error
    except sqlite3.Error as error:
        raise StoreError(explain(path, error)) from error
    return [Entry(*row[:8], *(None if text is None else json.loads(text) for text in row[8:])) for row in rows]


def _json(values: Mapping[str, Any] | None) -> str | None:
    return None if values is None else json.dumps(values, ensure_ascii=False, sort_keys=True, default=str)
