"""Secrets beside the keys that the vault's lock seals, too: second factors of the panel's admins.

    sealed = seal(box, admin, "JBSW…")          for the column `totp` of `admins`
    opened(box, admin, sealed)                  raises Damaged
    seal_all(connection, new_box, texts(connection, old_box))       when the lock changes

What this module must not know: who an admin is, what a second factor is good for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from .rows import has_table
from .sealing import Box, Damaged

NAME, PROVIDER = "totp", "panel"


def seal(box: Box, admin: str, text: str) -> bytes:
    """For that admin's row and no other."""
    return box.seal(text, NAME, id=admin, provider=PROVIDER)


def opened(box: Box, admin: str, sealed: object) -> str:
    """What was sealed. Raises Damaged."""
    return box.open(sealed, NAME, id=admin, provider=PROVIDER)


def find(connection: sqlite3.Connection, admin: str) -> object:
    """As it is stored; None: there is none."""
    row = connection.execute("SELECT totp FROM admins WHERE id = ?", [admin]).fetchone() if _has(connection) else None
    return None if row is None else row[0]


def any(connection: sqlite3.Connection) -> bool:
    """Whether there is one at all."""
    return _has(connection) and bool(connection.execute("SELECT 1 FROM admins WHERE totp IS NOT NULL").fetchone())


def texts(connection: sqlite3.Connection, box: Box) -> Mapping[str, str]:
    """All that can be opened, by admin. What cannot is lost already, and changes for nobody."""
    found = {}
    for admin, sealed in connection.execute("SELECT id, totp FROM admins WHERE totp IS NOT NULL").fetchall():
        with suppress(Damaged):
            found[admin] = opened(box, admin, sealed)
    return found


def seal_all(connection: sqlite3.Connection, box: Box, texts: Mapping[str, str]) -> None:
    """Anew, with another box."""
    rows = [(seal(box, admin, text), admin) for admin, text in texts.items()]
    connection.executemany("UPDATE admins SET totp = ? WHERE id = ?", rows)


def _has(connection: sqlite3.Connection) -> bool:
    return has_table(connection, "admins")
