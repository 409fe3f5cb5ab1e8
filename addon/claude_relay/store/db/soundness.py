"""Whether a database that is there can be used: does it open, can it be written, are its tables this version's, is there room?

found = examine(Path("relay.db"))        -> Soundness(Level.OK, "relay.db, 12.3 MB")

Takes the write lock for a moment. It must not know what rows mean.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .database import StoreError, connect, explain
from .folders import refusal, shortage
from .migrations import MIGRATIONS

ELSEWHERE = "set `database` in relay.yaml to a file in a folder that you may write to"


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Soundness:
    """What was found, and what to do about it."""

    level: Level
    text: str
    remedy: str = ""


def examine(path: Path) -> Soundness:
    """Of a file that exists."""
    little = room(path)
    if little is not None and little.level is Level.FAIL:
        return little
    try:
        with closing(connect(path, patience=1.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            applied = _migrations(connection)
    except (StoreError, sqlite3.Error, OSError) as error:
        return Soundness(Level.FAIL, explain(path, error), ELSEWHERE)
    known = {step.__name__ for step in MIGRATIONS}
    if applied - known:
        return Soundness(Level.FAIL, f"{path} was written by a newer version", "update Claude Relay")
    if little is not None:
        return little
    pending = f", {len(known - applied)} change(s) of tables at the next start" if known - applied else ""
    return Soundness(Level.OK, f"{path}, {path.stat().st_size / 1e6:.1f} MB{pending}")


def room(path: Path) -> Soundness | None:
    """None: there is some on its disk."""
    folder = path.parent
    if why := refusal(folder):
        text = f"{path}: {why}; requests go on, but what they use may be lost"
        return Soundness(Level.FAIL, text, "make room")
    if why := shortage(folder):
        return Soundness(Level.WARN, f"{path}: {why}", "make room")
    return None


def _migrations(connection: sqlite3.Connection) -> set[str]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone():
        return set()
    return {str(name) for (name,) in connection.execute("SELECT name FROM _sqlite_migrations")}
