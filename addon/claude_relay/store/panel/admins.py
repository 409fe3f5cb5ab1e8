"""Who may use the panel, and what they prove it by. Each act has its line in the audit log, in its own transaction.

    admins = Admins(Path("relay.db"))
    admins.add(actor, "ann", Role.OPERATOR)                     without a password yet
    secret = admins.link("ann", now + 3600)                     whoever has it chooses one, once
    new_link(admins, url, "ann", now)                           the same as a URL, good for VALID seconds
    name = admins.redeem(actor, secret, encoded, now)
    admins.find("ann").password                                 what panel/security/passwords made of it

The last admin of the role `admin` can be neither removed nor changed to less. It must not know how passwords are hashed, nor HTTP.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database import ChangedMeanwhile, StoreError

from .failures import forget
from .panel_file import PanelFile

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
COLUMNS = "id, name, role, password, totp, totp_step, recovery, created_at, last_login_at"
FIRST: Final = "admin"
"""The name of the one who is there first."""
VALID: Final = 24 * 3600.0
"""Seconds for which a one-time link is good."""


class Role(StrEnum):
    """What somebody may do: read everything, operate (keys on and off, checks, stops), or everything."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class AdminError(StoreError):
    """What cannot be done, and what to do instead."""


@dataclass(frozen=True, slots=True)
class Admin:
    """A row. `password`, `totp`: as they are stored; `recovery`: digests of codes that were not used; times UTC ISO 8601."""

    id: str
    name: str
    role: Role
    password: str | None = field(repr=False)
    totp: bytes | None = field(repr=False)
    totp_step: int
    recovery: tuple[str, ...] = field(repr=False)
    created_at: str
    last_login_at: str | None


class Admins:
    """The admins in the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._file = PanelFile(path)

    # --- what may be told ---

    def all(self) -> tuple[Admin, ...]:
        """By name."""
        with self._file.reading() as connection:
            if connection is None:
                return ()
            rows = connection.execute(f"SELECT {COLUMNS} FROM admins ORDER BY name").fetchall()
        return tuple(map(_admin, rows))

    def find(self, name: str) -> Admin | None:
        """By name, in any case of letters."""
        with self._file.reading() as connection:
            return None if connection is None else _find(connection, name)

    # --- acts ---

    def add(self, actor: Actor, name: str, role: Role, password: str | None = None) -> Admin:
        """A new one. Raises AdminError."""
        if not NAME.fullmatch(name):
            raise AdminError("a name has 1 to 64 letters, digits and . _ @ + -, and begins with a letter or a digit")
        with self._file.writing() as connection:
            if _find(connection, name) is not None:
                raise AdminError(f"there is an admin '{name}' already; choose another name")
            connection.execute(
                "INSERT INTO admins (id, name, role, password) VALUES (?, ?, ?, ?)",
                [secrets.token_hex(8), name, role, password],
            )
            write(connection, actor, Act("add", "admin", name, None, {"role": role}))
            return _named(connection, name)

    def set_role(self, actor: Actor, name: str, role: Role, *, seen: Role | None = None) -> Admin:
        """Let somebody do more or less. `seen`: what they must be still. Raises AdminError, ChangedMeanwhile."""
        with self._file.writing() as connection:
            before = _named(connection, name)
            if seen not in (None, before.role):
                raise ChangedMeanwhile(f"somebody has changed '{name}' since you looked")
            if before.role is not role:
                _keep_one(connection, before)
                connection.execute("UPDATE admins SET role = ? WHERE id = ?", [role, before.id])
                write(connection, actor, Act("edit", "admin", before.name, {"role": before.role}, {"role": role}))
            return _named(connection, name)

    def set_password(self, actor: Actor, name: str, password: str, *, but: bytes = b"") -> Admin:
        """Another password ends all sessions but one (`but`: its digest). Raises AdminError."""
        with self._file.writing() as connection:
            return _set_password(connection, actor, name, password, but)

    def remove(self, actor: Actor, name: str) -> None:
        """With sessions and tokens. Raises AdminError."""
        with self._file.writing() as connection:
            before = _named(connection, name)
            _keep_one(connection, before)
            connection.execute("DELETE FROM admins WHERE id = ?", [before.id])
            connection.execute("DELETE FROM panel_links WHERE admin = ?", [before.name])
            write(connection, actor, Act("remove", "admin", before.name, {"role": before.role}))

    def logged_in(self, actor: Actor, name: str, now: str) -> None:
        """Somebody has signed in."""
        with self._file.writing() as connection:
            connection.execute("UPDATE admins SET last_login_at = ? WHERE name = ?", [now, name])
            write(connection, actor, Act("sign-in", "admin", name))

    # --- one-time links ---

    def link(self, name: str, until: float, actor: Actor | None = None) -> str:
        """The secret of a link by which that admin's password can be chosen, once; links of before end. The admin may not be there yet."""
        secret = secrets.token_urlsafe(32)
        with self._file.writing() as connection:
            connection.execute("DELETE FROM panel_links WHERE admin = ?", [name])
            connection.execute("INSERT INTO panel_links VALUES (?, ?, ?)", [_digest(secret), name, until])
            if actor is not None:  # it is nobody's act that the first start prints one
                write(connection, actor, Act("make-link", "admin", name))
        return secret

    def invited(self, now: float) -> frozenset[str]:
        """The names for which there is a link that works."""
        with self._file.reading() as connection:
            sql = "SELECT admin FROM panel_links WHERE valid_until > ?"
            rows = [] if connection is None else connection.execute(sql, [now]).fetchall()
        return frozenset(str(row[0]) for row in rows)

    def linked(self, secret: str, now: float) -> str | None:
        """For whom a link is; None: it is none, or over."""
        with self._file.reading() as connection:
            return None if connection is None else _linked(connection, secret, now)

    def redeem(self, actor: Actor, secret: str, password: str, now: float) -> Admin:
        """Choose a password by a link, which ends; somebody who is not there yet is made an admin. Raises AdminError."""
        with self._file.writing() as connection:
            name = _linked(connection, secret, now)
            if name is None:
                raise AdminError("this link was used already, or is over; a new one comes from: panel reset-password")
            if _find(connection, name) is None:
                sql = "INSERT INTO admins (id, name, role) VALUES (?, ?, ?)"
                connection.execute(sql, [secrets.token_hex(8), name, Role.ADMIN])
            connection.execute("DELETE FROM panel_links WHERE admin = ?", [name])
            forget(connection, name)
            return _set_password(connection, actor, name, password, b"")


def new_link(admins: Admins, url: str, name: str, now: float, actor: Actor | None = None) -> str:
    """The URL of a one-time link, at the panel of that URL."""
    return f"{url}/welcome?link={admins.link(name, now + VALID, actor)}"


def _admin(row: Sequence[object]) -> Admin:
    id, name, role, password, totp, step, recovery, *times = row
    return Admin(id, name, Role(role), password, totp, step, tuple(json.loads(str(recovery))), *times)  # type: ignore[arg-type]


def _find(connection: sqlite3.Connection, name: str) -> Admin | None:
    row = connection.execute(f"SELECT {COLUMNS} FROM admins WHERE name = ?", [name]).fetchone()
    return None if row is None else _admin(row)


def _named(connection: sqlite3.Connection, name: str) -> Admin:
    found = _find(connection, name)
    if found is None:
        raise AdminError(f"there is no admin '{name}'")
    return found


def _keep_one(connection: sqlite3.Connection, one: Admin) -> None:
    others = connection.execute("SELECT count(*) FROM admins WHERE role = 'admin' AND id <> ?", [one.id]).fetchone()[0]
    if one.role is Role.ADMIN and not others:
        raise AdminError(f"'{one.name}' is the only one who may do everything; make somebody else admin first")


def _set_password(connection: sqlite3.Connection, actor: Actor, name: str, password: str, but: bytes) -> Admin:
    before = _named(connection, name)
    connection.execute("UPDATE admins SET password = ? WHERE id = ?", [password, before.id])
    connection.execute("DELETE FROM panel_sessions WHERE admin = ? AND digest <> ?", [before.id, but])
    write(connection, actor, Act("set-password", "admin", before.name))
    return _named(connection, name)


def _linked(connection: sqlite3.Connection, secret: str, now: float) -> str | None:
    sql = "SELECT admin FROM panel_links WHERE digest = ? AND valid_until > ?"
    row = connection.execute(sql, [_digest(secret), now]).fetchone()
    return None if row is None else str(row[0])


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
