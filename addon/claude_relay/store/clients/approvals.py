"""A sign-in that waits for somebody to say who it is: the code that the person sees, and the client that it becomes.

    approve(Path("relay.db"), actor, "wdjb-mjht", "alice")        -> the code as it was shown, WDJB-MJHT
    deny(Path("relay.db"), actor, "WDJBMJHT")

It must not know how a sign-in begins, nor what follows from it.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claude_relay.core.times import iso
from claude_relay.store.audit import Act, Actor, write
from claude_relay.store.db.database_file import DatabaseFile

from .book import ClientError
from .rows import PANEL

STATES = {
    "approved": "has been approved already",
    "denied": "has been denied",
    "used": "has been used already",
}
AGAIN = "let the person begin to sign in anew, which shows a new one"


def user_code(text: str) -> str:
    """`wdjb mjht` as it is stored: WDJB-MJHT. Case, dashes and blanks do not matter."""
    letters = re.sub(r"[^A-Z0-9]", "", text.upper())
    return f"{letters[:4]}-{letters[4:]}" if len(letters) > 4 else letters


def approve(path: Path, actor: Actor, code: str, client: str) -> str:
    """Let the sign-in with this code become that of a client. Raises ClientError for what is not pending, StoreError."""
    with _pending(path, code) as (connection, found, peer):
        row = connection.execute(
            "SELECT id, removed_at, enabled FROM clients WHERE name = ? AND id != ?", [client, PANEL]
        ).fetchone()
        if row is None or row[1] is not None:
            raise ClientError(f"there is no client '{client}'" if row is None else f"the client '{client}' is removed")
        if not row[2]:
            raise ClientError(f"the client '{client}' is disabled; enable it first")
        connection.execute(
            "UPDATE device_codes SET client = ?, state = 'approved' WHERE user_code = ?", [row[0], found]
        )
        write(connection, actor, Act("approve", "client", client, None, {"code": found, "peer": peer}))
    return found


def deny(path: Path, actor: Actor, code: str) -> str:
    """Let the sign-in with this code come to nothing. Raises as `approve` does."""
    with _pending(path, code) as (connection, found, peer):
        connection.execute("UPDATE device_codes SET state = 'denied' WHERE user_code = ?", [found])
        write(connection, actor, Act("deny", "sign-in", found, None, {"peer": peer}))
    return found


@contextmanager
def _pending(path: Path, code: str) -> Iterator[tuple[sqlite3.Connection, str, str]]:
    """A transaction over a sign-in that waits: its code, and the address from where it was begun."""
    wanted = user_code(code)
    with DatabaseFile(path, "client_state").writing(durable=False) as connection:
        row = connection.execute(
            "SELECT state, valid_until, peer FROM device_codes WHERE user_code = ?", [wanted]
        ).fetchone()
        if row is None:
            raise ClientError(f"no sign-in waits with the code {wanted!r}; compare it, or {AGAIN}")
        if row[0] != "pending":
            raise ClientError(f"the code {wanted} {STATES[row[0]]}; {AGAIN}")
        if row[1] <= iso(time.time()):
            raise ClientError(f"the code {wanted} has expired; {AGAIN}")
        yield connection, wanted, row[2]
