"""Tries to sign in that were not seen to be right, counted by subject; one of several that come at once is never counted too little.

    failures = Failures(Path("relay.db"))
    waits = failures.count(subjects("ann", …), now, lambda known: 0.0)        counted, unless there is something to wait for
    failures.forgive(subjects)

A subject is text that `subject` makes: names are shortened to digests, so that made-up ones do not fill the disk. It must not know how long
who waits for what.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from .panel_file import PanelFile

FORGIVEN: Final = 24 * 3600.0
"""Seconds after which they are forgotten."""
MOST: Final = 20_000
"""Rows that are kept, about: the newest."""

type Known = Mapping[str, tuple[int, float]]
"""Subject → how many in a row, and when the last one was."""


def subject(name: str, place: str) -> str:
    """Of tries with a name from a place. Letters count in any case, as for names."""
    return f"{_bucket(name)} {place}"


def forget(connection: sqlite3.Connection, name: str) -> None:
    """All of a name, from wherever."""
    connection.execute("DELETE FROM login_failures WHERE subject GLOB ?", [f"{_bucket(name)} *"])


class Failures:
    """Those in the database at `path`."""

    def __init__(self, path: Path) -> None:
        self._file = PanelFile(path)

    def count(self, subjects: Sequence[str], now: float, wait: Callable[[Known], float]) -> float:
        """One more of each, before it is known whether the try is right: so a hundred at once are a hundred.

        wait  how many seconds there are to wait, by what is known; the answer, too: if there are any, nothing is counted
        """
        with self._file.writing(durable=False) as connection:
            found = connection.execute(_KNOWN, [json.dumps(list(subjects)), now - FORGIVEN]).fetchall()
            seconds = wait({subject: (count, at) for subject, count, at in found})
            if seconds > 0:
                return seconds
            connection.execute("DELETE FROM login_failures WHERE at <= ?", [now - FORGIVEN])
            connection.executemany(_ONE_MORE, [(subject, now) for subject in subjects])
            if secrets.randbelow(max(1, MOST // 100)) == 0:
                connection.execute(_SHRINK, [MOST])
        return 0.0

    def forgive(self, subjects: Sequence[str]) -> None:
        """It was right."""
        with self._file.writing(durable=False) as connection:
            connection.executemany("DELETE FROM login_failures WHERE subject = ?", [(subject,) for subject in subjects])


_KNOWN = "SELECT subject, count, at FROM login_failures WHERE subject IN (SELECT value FROM json_each(?)) AND at > ?"
_ONE_MORE = "INSERT INTO login_failures VALUES (?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1, at = excluded.at"
_SHRINK = (
    "DELETE FROM login_failures WHERE subject NOT IN (SELECT subject FROM login_failures ORDER BY at DESC LIMIT ?)"
)


def _bucket(name: str) -> str:
    return hashlib.sha256(name.lower().encode("utf-8", "surrogateescape")).hexdigest()[:6]
