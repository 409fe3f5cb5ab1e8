"""Sign-ins in the database: device codes, and the tokens that come of them once they are approved. Several relays may share it.

    sign_ins = SignIns(Path("relay.db"))
    begun = sign_ins.begin("127.0.0.1")                      -> Begun, or Refused where too many wait already
    sign_ins.poll(begun.device_code)                         -> Tokens once it is approved, else Refused
    sign_ins.refresh(tokens.refresh)                         -> Tokens
    sign_ins.revoke(tokens.refresh)                          the whole sign-in

Secrets are stored as their SHA-256. A device code brings tokens once. A refresh token brings the next pair; taken again after GRACE it
has been copied, so the whole sign-in ends (RFC 9700, section 4.14.2). Every method is synchronous, opens the file anew and may be called
in any thread. Raises StoreError. It must not know HTTP.
"""

from __future__ import annotations

import os
import secrets as chance
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from claude_relay.core.clients import sign_in as rules
from claude_relay.core.clients.credentials import Kind, digest, new_key
from claude_relay.core.clients.directory import Client, Grant
from claude_relay.core.times import DAY, iso, seconds_of
from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database_file import DatabaseFile

from .rows import read_directory

MOST_WAITING: Final = 1000
"""Sign-ins under way; more are not begun."""
EARLY: Final = 0.5
"""Seconds by which a look may come too soon: a network brings one late and the next in time."""
REMEMBERED: Final = DAY
"""Seconds for which a code that has expired is known as one."""


class Refused(StrEnum):
    """Why there are no tokens, in the words of RFC 6749 and RFC 8628."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"
    INVALID = "invalid_grant"
    BUSY = "temporarily_unavailable"


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in under way. `device_code` is for the program, `user_code` for the person; seconds."""

    device_code: str = field(repr=False)
    user_code: str
    expires_in: float
    interval: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of somebody who has signed in. `expires_in`: seconds for which `access` is valid."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in: float
    client: Client


class SignIns:
    """The sign-ins in the database at `path`.

    patience  seconds to wait for somebody else's lock
    clock     seconds since the epoch
    """

    def __init__(self, path: Path, *, patience: float = 5.0, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._file = DatabaseFile(path, "client_state", patience)
        self._clock = clock

    def begin(self, peer: str) -> Begun | Refused:
        """A program wants to sign somebody in. `peer`: its address, which the audit log gets with the approval."""
        now, code = self._clock(), chance.token_urlsafe(36)
        with self._file.writing() as connection:
            self._tidy(connection, now)
            waiting = connection.execute(
                "SELECT count(*) FROM device_codes WHERE state = 'pending' AND valid_until > ?", [iso(now)]
            ).fetchone()[0]
            if waiting >= MOST_WAITING:
                return Refused.BUSY
            user_code = rules.new_user_code(os.urandom)
            while connection.execute("SELECT 1 FROM device_codes WHERE user_code = ?", [user_code]).fetchone():
                user_code = rules.new_user_code(os.urandom)
            connection.execute(
                "INSERT INTO device_codes (digest, user_code, valid_until, interval, peer) VALUES (?, ?, ?, ?, ?)",
                [digest(code), user_code, iso(now + rules.CODE_LASTS), rules.INTERVAL, peer],
            )
        return Begun(code, user_code, rules.CODE_LASTS, rules.INTERVAL)

    def poll(self, device_code: str) -> Tokens | Refused:
        """Whether a code is approved; then its tokens, this once."""
        now = self._clock()
        with self._file.writing() as connection:
            row = connection.execute(
                "SELECT client, state, valid_until, interval, polled_at FROM device_codes WHERE digest = ?",
                [digest(device_code)],
            ).fetchone()
            if row is None or row[1] == "used":
                return Refused.INVALID
            client, state, until, interval, polled_at = row
            if (seconds_of(until) or 0.0) <= now:
                return Refused.EXPIRED
            early = polled_at is not None and now < polled_at + interval - EARLY
            connection.execute(
                "UPDATE device_codes SET polled_at = ?, interval = ? WHERE digest = ?",
                [now, interval + rules.SLOWER if early else interval, digest(device_code)],
            )
            if early:
                return Refused.SLOW_DOWN
            if state == "pending":
                return Refused.PENDING
            served = _served(connection, client, now) if state == "approved" else None
            connection.execute("UPDATE device_codes SET state = 'used' WHERE digest = ?", [digest(device_code)])
            return Refused.DENIED if served is None else self._issue(connection, served, chance.token_hex(8), now)

    def refresh(self, token: str) -> Tokens | Refused:
        """The next pair of tokens for a refresh token."""
        now = self._clock()
        with self._file.writing() as connection:
            row = connection.execute(
                "SELECT client, family, valid_until, used_at FROM client_tokens WHERE digest = ? AND kind = 'refresh'",
                [digest(token)],
            ).fetchone()
            if row is None:
                return Refused.INVALID
            client, family, until, used_at = row
            used = seconds_of(used_at)
            if used is not None and now > used + rules.GRACE:
                self._end(connection, client, family, "a refresh token was used a second time")
                return Refused.INVALID
            served = _served(connection, client, now)
            if served is None or (seconds_of(until) or 0.0) <= now:
                return Refused.INVALID
            if used is None:
                connection.execute("UPDATE client_tokens SET used_at = ? WHERE digest = ?", [iso(now), digest(token)])
            self._tidy(connection, now)
            return self._issue(connection, served, family, now)

    def revoke(self, token: str) -> bool:
        """Sign out: no token of the same sign-in is valid any more. False: it was none."""
        with self._file.writing() as connection:
            row = connection.execute(
                "SELECT client, family FROM client_tokens WHERE digest = ?", [digest(token)]
            ).fetchone()
            if row is None:
                return False
            client, family = row
            self._end(connection, client, family, "signed out")
            return True

    # --- parts ---

    def _issue(self, connection: sqlite3.Connection, client: Client, family: str, now: float) -> Tokens:
        access, refresh = new_key(os.urandom, Kind.ACCESS), new_key(os.urandom, Kind.REFRESH)
        lasts = rules.ACCESS_LASTS if client.expires_at is None else min(rules.ACCESS_LASTS, client.expires_at - now)
        connection.executemany(
            "INSERT INTO client_tokens (digest, client, kind, family, valid_until) VALUES (?, ?, ?, ?, ?)",
            [
                (digest(access), client.id, Kind.ACCESS.value, family, iso(now + lasts)),
                (digest(refresh), client.id, Kind.REFRESH.value, family, iso(now + rules.REFRESH_LASTS)),
            ],
        )
        return Tokens(access, refresh, lasts, client)

    def _end(self, connection: sqlite3.Connection, client: str, family: str, why: str) -> None:
        connection.execute("DELETE FROM client_tokens WHERE family = ?", [family])
        (name,) = connection.execute("SELECT name FROM clients WHERE id = ?", [client]).fetchone()
        write(connection, Actor(name, "sign-in"), Act("sign out", "sign-in", name, None, {"why": why}))

    @staticmethod
    def _tidy(connection: sqlite3.Connection, now: float) -> None:
        """Drop what is over. Where nothing is, nothing is written, and relays need not look."""
        connection.execute("DELETE FROM device_codes WHERE valid_until < ?", [iso(now - REMEMBERED)])
        connection.execute("DELETE FROM client_tokens WHERE valid_until <= ?", [iso(now)])


def _served(connection: sqlite3.Connection, id: str, now: float) -> Client | None:
    """The client, unless it is removed, disabled or expired."""
    directory = read_directory(connection, now)
    client = next((client for client in directory.clients.values() if client.id == id), None)
    return None if client is None or Grant(client, Kind.KEY).refusal(now) is not None else client
