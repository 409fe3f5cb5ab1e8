"""What is done to keys, in the audit log: before and after, without secrets.

    before = seen(connection, ids)                              within the transaction of the act
    …
    note(connection, actor, "disable", before, seen(connection, ids))

Who changes a vault without an actor (a relay that follows what it learns) leaves nothing here. It must not know anything sealed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from typing import Any

from claude_relay.store.audit import Act, Actor, write

KIND = "key"
COLUMNS = (
    "mask", "label", "tier", "weight", "requests_per_minute", "tokens_per_minute", "concurrent", "enabled", "proxy_address",
    "notes", "removed_at", "check_status",
)  # fmt: skip
"""What may be told of a key and changes."""
USUAL = {"enabled": 1, "weight": 1.0}
OPTIONAL = ("key_group",)
"""Columns that a database of another version need not have."""

type Seen = Mapping[str, Mapping[str, Any]]
"""Id → name and columns."""


def seen(connection: sqlite3.Connection, ids: Collection[str]) -> Seen:
    """How keys are now."""
    there = {str(row[1]) for row in connection.execute("PRAGMA table_info(keys)")}
    columns = [name for name in (*COLUMNS, *OPTIONAL) if name in there]
    wanted = {*ids}
    rows = connection.execute(f"SELECT id, provider || '/' || alias, {', '.join(columns)} FROM keys").fetchall()
    return {row[0]: {"name": row[1], **dict(zip(columns, row[2:], strict=True))} for row in rows if row[0] in wanted}


def note(connection: sqlite3.Connection, actor: Actor | None, act: str, before: Seen, after: Seen) -> None:
    """A line for each key that is new, gone or another one."""
    if actor is None:
        return
    for id in dict.fromkeys([*before, *after]):
        old, new = before.get(id), after.get(id)
        if old == new:
            continue
        name = str((new or old or {})["name"])
        if old is None or new is None:
            was, now = _given(old), _given(new)
        else:
            changed = [field for field in new if old.get(field) != new[field]]
            was, now = {field: old.get(field) for field in changed}, {field: new[field] for field in changed}
        write(connection, actor, Act(act, KIND, name, was, now))


def note_reset(connection: sqlite3.Connection, actor: Actor | None, ids: Collection[str], count: int) -> None:
    """Cooldowns hang on no row of a key: those of relay.yaml have some, too."""
    if actor is not None and count:
        names = [str(key["name"]) for key in seen(connection, ids).values()]
        for name in names or [f"{len(ids)} keys"]:
            write(connection, actor, Act("reset", KIND, name))


def note_choice(connection: sqlite3.Connection, actor: Actor | None, provider: str, name: str | None) -> None:
    """A key was chosen, or (None) none is any more."""
    if actor is not None:
        write(connection, actor, Act("choose", "provider", provider, None, {"key": name}))


def _given(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Without what is usual, and without the name, which is the subject."""
    if values is None:
        return None
    return {
        field: value
        for field, value in values.items()
        if field != "name" and value not in (None, "") and value != USUAL.get(field)
    }
