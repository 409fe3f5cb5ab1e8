"""Secrets beside the keys that the vault's lock seals, too: second factors of the panel's admins, the owner's admin keys at providers.

    sealed = seal(box, admin, "JBSW…")          for the column `totp` of `admins`
    opened(box, admin, sealed)                  raises Damaged
    seal_all(connection, new_box, texts(connection, old_box))       when the lock changes

What this module must not know: who an admin is, what a second factor or an admin key is good for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from .rows import has_table
from .sealing import Box, Damaged

NAME, PROVIDER = "totp", "panel"
ADMIN_KEY = "admin_key"


class Place(NamedTuple):
    """Where a text is sealed for: it opens nowhere else."""

    name: str
    provider: str
    id: str


type Texts = Mapping[Place, str]

KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    NAME: (
        "admins",
        f"SELECT '{PROVIDER}', id, totp FROM admins WHERE totp IS NOT NULL",
        "UPDATE admins SET totp = ?1 WHERE id = ?2",
    ),
    ADMIN_KEY: (
        "admin_keys",
        "SELECT provider, origin, secret FROM admin_keys",
        "UPDATE admin_keys SET secret = ?1 WHERE origin = ?2 AND provider = ?3",
    ),
}
"""Name → its table, what is sealed in it with its place, and how that is written anew."""


def seal(box: Box, admin: str, text: str) -> bytes:
    """A second factor, for that admin's row and no other."""
    return box.seal(text, NAME, id=admin, provider=PROVIDER)


def opened(box: Box, admin: str, sealed: object) -> str:
    """What was sealed. Raises Damaged."""
    return box.open(sealed, NAME, id=admin, provider=PROVIDER)


def find(connection: sqlite3.Connection, admin: str) -> object:
    """As it is stored; None: there is none."""
    known = has_table(connection, "admins")
    row = connection.execute("SELECT totp FROM admins WHERE id = ?", [admin]).fetchone() if known else None
    return None if row is None else row[0]


def any(connection: sqlite3.Connection) -> bool:
    """Whether there is one at all, of any kind."""
    kinds = [(table, select) for table, select, _ in KINDS.values() if has_table(connection, table)]
    return bool([1 for _, select in kinds if connection.execute(f"{select} LIMIT 1").fetchone()])


def texts(connection: sqlite3.Connection, box: Box) -> Texts:
    """All that can be opened, by place. What cannot is lost already, and changes for nobody."""
    found = {}
    for name, (table, select, _) in KINDS.items():
        rows = connection.execute(select).fetchall() if has_table(connection, table) else []
        for provider, id, sealed in rows:
            with suppress(Damaged):
                found[Place(name, provider, id)] = box.open(sealed, name, id=id, provider=provider)
    return found


def seal_all(connection: sqlite3.Connection, box: Box, texts: Texts) -> None:
    """Anew, with another box."""
    for place, text in texts.items():
        values = [box.seal(text, place.name, id=place.id, provider=place.provider), place.id, place.provider]
        update = KINDS[place.name][2]
        connection.execute(update, values[: 2 + ("?3" in update)])
