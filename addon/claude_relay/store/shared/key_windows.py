"""The windows of keys as their latest answers have them, and how far they were used before, for a pace.

    stored = StoredWindows(Path("relay.db"))
    stored.exchange([Seen("anthropic", "4f1c…", windows, at)])      writes these, and returns what others have written since
    read_windows(connection)                                        -> (KeyWindow(…), …), for people
    windows_by_key(connection)                                      -> {"4f1c…": (KeyWindow(…), …)}
    read_samples(connection, row, since)                            -> ((at, utilization, reset), …), oldest first

A sample is kept for every SLOT, for KEPT. What this module must not know: what a window means for a key. Waits for the disk; for one thread
at a time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from claude_relay.core.bodies.ratelimits import Window
from claude_relay.core.times import HOUR, iso
from claude_relay.store.db.database import StoreError, connect, explain, identity, transaction
from claude_relay.store.db.migrations import migrate
from claude_relay.store.vault.rows import moment

SLOT = 60.0
KEPT = 26 * HOUR
LATE = 10.0
"""Seconds by which others may write later than they saw. Whoever hears of a row twice learns nothing new."""
AHEAD = HOUR
"""Seconds by which a row is ahead that was written before the system's clock was set back, and does not count any more."""
PATIENCE = 2.0
SAVE = f"""
    INSERT INTO windows (provider, key_id, name, utilization, reset, status, seen) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET utilization = excluded.utilization, reset = excluded.reset, status = excluded.status, seen = excluded.seen
    WHERE excluded.seen >= windows.seen OR windows.seen > excluded.seen + {AHEAD}"""
SAMPLE = """
    INSERT INTO window_samples (provider, key_id, name, slot, at, utilization, reset) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET at = excluded.at, utilization = excluded.utilization, reset = excluded.reset
    WHERE excluded.at >= window_samples.at"""
SAMPLES = """
    SELECT at, utilization, reset FROM window_samples WHERE provider = ? AND key_id = ? AND name = ? AND slot >= ifnull(
        (SELECT max(slot) FROM window_samples WHERE provider = ? AND key_id = ? AND name = ? AND slot < ? AND slot >= ?), ?)
    ORDER BY slot"""

type Sample = tuple[float, float, float | None]
"""When, the used share, and the reset that was said then."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one answer said of the windows of its key. `at`: seconds since the epoch."""

    provider: str
    key_id: str
    windows: tuple[Window, ...]
    at: float


@dataclass(frozen=True, slots=True)
class KeyWindow:
    """One window of a key, as its latest answer has it."""

    provider: str
    key_id: str
    window: Window
    seen: float

    def used(self, now: float) -> float | None:
        """The share that is used by now: of one that began anew since, nothing. None: not said."""
        began_anew = self.window.reset is not None and self.window.reset <= now
        return 0.0 if began_anew else self.window.utilization

    def plain(self, now: float) -> dict[str, object]:
        """As JSON tells it; times in UTC."""
        return {
            "window": self.window.name,
            "used": self.used(now),
            "status": self.window.status,
            "resets_at": moment(self.window.reset),
            "seen_at": iso(self.seen),
        }


class StoredWindows:
    """The tables in the database at `path`."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched before the first call."""
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._version: int | None = None
        self._heard = 0.0
        """The newest row of others that was read."""

    def exchange(self, mine: Sequence[Seen]) -> tuple[Seen, ...]:
        """Write down what was seen here; what others have seen since the last time. Raises StoreError."""
        try:
            connection = self._open()
            heard = self._others(connection)
            if mine:
                with transaction(connection):
                    self._write(connection, mine)
            return heard
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(explain(self.path, error)) from error

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        connection, self._connection, self._version = self._connection, None, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _write(self, connection: sqlite3.Connection, mine: Sequence[Seen]) -> None:
        for seen in mine:
            place = seen.provider, seen.key_id
            for window in seen.windows:
                values = window.utilization, window.reset, window.status, seen.at
                connection.execute(SAVE, [*place, window.name[:40], *values])
                if window.utilization is not None:
                    sample = int(seen.at // SLOT), seen.at, window.utilization, window.reset
                    connection.execute(SAMPLE, [*place, window.name[:40], *sample])
        newest = max(seen.at for seen in mine)
        connection.execute("DELETE FROM window_samples WHERE at < ?", [newest - KEPT])
        connection.execute("DELETE FROM windows WHERE ifnull(reset, seen) < ?", [newest - KEPT])

    def _others(self, connection: sqlite3.Connection) -> tuple[Seen, ...]:
        """By key. While nobody has written anything there is nothing to read."""
        version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        if version == self._version:
            return ()
        self._version = version
        found: dict[tuple[str, str], list[KeyWindow]] = {}
        now = time.time()
        if self._heard > now + LATE:  # the clock was set back
            self._heard = 0.0
        for row in read_windows(connection, self._heard - LATE):
            if row.seen > now + AHEAD:
                continue
            found.setdefault((row.provider, row.key_id), []).append(row)
            self._heard = max(self._heard, row.seen)
        return tuple(
            Seen(*place, tuple(row.window for row in rows), max(row.seen for row in rows))
            for place, rows in found.items()
        )

    def _open(self) -> sqlite3.Connection:
        """The connection, a new one where another file has taken the database's place."""
        if self._connection is None or identity(self.path) != self._identity:
            self.close()
            connection = connect(self.path, patience=PATIENCE, any_thread=True, returning=True)
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            self._connection, self._identity = connection, identity(self.path)
        return self._connection


def read_windows(connection: sqlite3.Connection, after: float = 0.0) -> tuple[KeyWindow, ...]:
    """All windows of all keys that were seen after then."""
    if not _is_there(connection, "windows"):
        return ()
    rows = connection.execute(
        "SELECT provider, key_id, name, status, reset, utilization, seen FROM windows WHERE seen > ? "
        "ORDER BY provider, key_id, name",
        [after],
    )
    return tuple(
        KeyWindow(provider, key_id, Window(name, status, reset, used), seen)
        for provider, key_id, name, status, reset, used, seen in rows
    )


def windows_by_key(connection: sqlite3.Connection) -> dict[str, tuple[KeyWindow, ...]]:
    """The windows of all keys, by the id of their key."""
    found: dict[str, tuple[KeyWindow, ...]] = {}
    for row in read_windows(connection):
        found[row.key_id] = (*found.get(row.key_id, ()), row)
    return found


def read_samples(connection: sqlite3.Connection, row: KeyWindow, since: float) -> tuple[Sample, ...]:
    """How far a window was used since then, and once before, as far as that is kept; oldest first."""
    place, slot = (row.provider, row.key_id, row.window.name), int(since // SLOT)
    if not _is_there(connection, "window_samples"):
        return ()
    return tuple(connection.execute(SAMPLES, [*place, *place, slot, int((since - KEPT) // SLOT), slot]).fetchall())


def _is_there(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", [table]).fetchone() is not None
