"""Who is signed in to the panel, by a cookie; and the tokens that programs come with instead.

    sessions = Sessions(Path("relay.db"))
    secret = sessions.begin(admin.id, now, "127.0.0.1", "Firefox")         for the cookie
    sessions.find(secret, now)                  -> Session(admin, confirmed_at, …); None: there is none, or it is over
    sessions.end(secret)

A session is over IDLE seconds after it was used last, and LONGEST after it began. It must not know HTTP.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

from .admins import COLUMNS, Admin, _admin
from .panel_file import PanelFile

IDLE, LONGEST = 12 * 3600.0, 7 * 24 * 3600.0
STEP = 60.0
"""Seconds of use after which it is written down that a session is in use."""


@dataclass(frozen=True, slots=True)
class Session:
    """Of one browser. Seconds since the epoch; `confirmed_at`: when its admin last gave the password."""

    admin: Admin
    digest: bytes
    created_at: float
    seen_at: float
    confirmed_at: float
    place: str
    program: str


class Sessions:
    """The sessions in the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._file = PanelFile(path)

    def begin(self, admin_id: str, now: float, place: str, program: str) -> str:
        """The secret of a new session."""
        secret = secrets.token_urlsafe(32)
        with self._file.writing() as connection:
            over = "DELETE FROM panel_sessions WHERE seen_at < ? OR created_at < ?"
            connection.execute(over, [now - IDLE, now - LONGEST])
            values = [digest(secret), admin_id, now, now, now, place, program[:200]]
            connection.execute("INSERT INTO panel_sessions VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return secret

    def find(self, secret: str, now: float) -> Session | None:
        """The session of a cookie. Writes down that it is in use, once a minute."""
        with self._file.reading() as connection:
            if connection is None:
                return None
            columns = ", ".join(f"admins.{name}" for name in COLUMNS.split(", "))
            row = connection.execute(
                f"SELECT digest, panel_sessions.created_at, seen_at, confirmed_at, place, program, {columns} FROM panel_sessions "
                "JOIN admins ON admins.id = panel_sessions.admin WHERE digest = ? AND seen_at > ? AND panel_sessions.created_at > ?",
                [digest(secret), now - IDLE, now - LONGEST],
            ).fetchone()
        if row is None:
            return None
        found = Session(_admin(row[6:]), *row[:6])
        if now - found.seen_at > STEP:
            self._change(found.digest, "seen_at", now)
        return found

    def of(self, admin_id: str, now: float) -> list[Session]:
        """All of somebody, the one used last first."""
        with self._file.reading() as connection:
            if connection is None:
                return []
            columns = ", ".join(f"admins.{name}" for name in COLUMNS.split(", "))
            rows = connection.execute(
                f"SELECT digest, panel_sessions.created_at, seen_at, confirmed_at, place, program, {columns} FROM panel_sessions "
                "JOIN admins ON admins.id = panel_sessions.admin WHERE admins.id = ? AND seen_at > ? AND panel_sessions.created_at > ? "
                "ORDER BY seen_at DESC",
                [admin_id, now - IDLE, now - LONGEST],
            ).fetchall()
        return [Session(_admin(row[6:]), *row[:6]) for row in rows]

    def confirm(self, session: Session, now: float) -> None:
        """Its admin has given the password again."""
        self._change(session.digest, "confirmed_at", now)

    def end(self, session: Session) -> None:
        """Signed out."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM panel_sessions WHERE digest = ?", [session.digest])

    def _change(self, digest: bytes, column: str, now: float) -> None:
        with self._file.writing(durable=False) as connection:
            connection.execute(f"UPDATE panel_sessions SET {column} = ? WHERE digest = ?", [now, digest])


def digest(secret: str) -> bytes:
    """What is stored of a cookie's secret, which is random."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
