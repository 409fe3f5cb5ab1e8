"""Tokens of the admin API, for programs: random, shown once, stored as SHA-256, each with a scope and perhaps an end.

    tokens = Tokens(Path("relay.db"))
    made = tokens.add(actor, admin, "ci", Scope.OPERATE, expires_at=None)       -> (Token, its secret)
    tokens.find(secret, now)                                                  -> Token, with its admin; None: there is none, or it is over
    tokens.remove(actor, admin, "5f0c…")

What a token may do is what its scope says and its admin may. It must not know HTTP.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from claude_relay.core.clients.credentials import Kind, digest, mask, new_key
from claude_relay.core.times import iso
from claude_relay.store.audit import Act, Actor, write

from .admins import COLUMNS, Admin, AdminError, _admin
from .panel_file import PanelFile

STEP = 60.0
"""Seconds of use after which it is written down that a token is in use."""
OWN = "api_tokens.id, api_tokens.name, scope, mask, api_tokens.created_at, expires_at, last_used_at"


class Scope(StrEnum):
    """What a token may do."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Token:
    """A row. Times UTC ISO 8601."""

    admin: Admin
    id: str
    name: str
    scope: Scope
    mask: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class Tokens:
    """The tokens in the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._file = PanelFile(path)

    def add(self, actor: Actor, admin: Admin, name: str, scope: Scope, expires_at: str | None) -> tuple[Token, str]:
        """A new one, and its secret. Raises AdminError."""
        id, secret = secrets.token_hex(8), new_key(os.urandom, Kind.API)
        name = name.strip()
        if not 0 < len(name) <= 64:
            raise AdminError("a token has a name of 1 to 64 characters, by which it is known later")
        with self._file.writing() as connection:
            taken = connection.execute("SELECT 1 FROM api_tokens WHERE admin = ? AND name = ?", [admin.id, name])
            if taken.fetchone():
                raise AdminError(f"there is a token '{name}' already; choose another name, or remove that one")
            connection.execute(
                "INSERT INTO api_tokens (id, digest, admin, name, scope, mask, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [id, digest(secret), admin.id, name, scope, mask(secret), expires_at],
            )
            after = {"admin": admin.name, "scope": scope, "token": mask(secret), "expires_at": expires_at}
            write(connection, actor, Act("add", "token", name, None, after))
        return next(token for token in self.of(admin) if token.id == id), secret

    def of(self, admin: Admin) -> list[Token]:
        """All of somebody, the newest first."""
        with self._file.reading() as connection:
            if connection is None:
                return []
            sql = f"SELECT {OWN} FROM api_tokens WHERE admin = ? ORDER BY created_at DESC, id"
            rows = connection.execute(sql, [admin.id]).fetchall()
        return [Token(admin, row[0], row[1], Scope(row[2]), *row[3:]) for row in rows]

    def find(self, secret: str, now: float) -> Token | None:
        """Writes down that it is in use, once a minute."""
        with self._file.reading() as connection:
            if connection is None:
                return None
            columns = ", ".join(f"admins.{name}" for name in COLUMNS.split(", "))
            row = connection.execute(
                f"SELECT {OWN}, {columns} FROM api_tokens JOIN admins ON admins.id = api_tokens.admin "
                "WHERE digest = ? AND (expires_at IS NULL OR expires_at > ?)",
                [digest(secret), iso(now)],
            ).fetchone()
        if row is None:
            return None
        found = Token(_admin(row[7:]), row[0], row[1], Scope(row[2]), *row[3:7])
        if found.last_used_at is None or found.last_used_at < iso(now - STEP):
            with self._file.writing(durable=False) as connection:
                connection.execute("UPDATE api_tokens SET last_used_at = ? WHERE id = ?", [iso(now), found.id])
        return found

    def remove(self, actor: Actor, admin: Admin, id: str) -> None:
        """It is refused from now on. Raises AdminError."""
        with self._file.writing() as connection:
            sql = "SELECT name, scope, mask FROM api_tokens WHERE admin = ? AND id = ?"
            row = connection.execute(sql, [admin.id, id]).fetchone()
            if row is None:
                raise AdminError("you have no token with this id")
            connection.execute("DELETE FROM api_tokens WHERE id = ?", [id])
            before = {"admin": admin.name, "scope": row[1], "token": row[2]}
            write(connection, actor, Act("remove", "token", row[0], before))
