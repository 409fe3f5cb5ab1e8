"""What is old leaves the database, and the room goes back to the system, without a writer ever waiting long.

    prune(Path("relay.db"), keep=400 * 86400.0, now=time.time())     → Pruned(requests=812, attempts=840, bodies=0)
    upkeep = Upkeep(Path("relay.db"), keep=400 * 86400.0, bodies_keep=7 * 86400.0)
    upkeep.start(); upkeep.close()

Only one may write to SQLite at a time, so everything happens in transactions of some GOAL seconds, with pauses in which
waiting writers come in: their busy handler looks again after 25 ms at the latest for the first tries.

Deleted rows leave free pages. New rows fill them, so a ledger in its steady state does not grow; what is more than SPARE
of the file goes back to the system, a few pages at a time. That takes a file with incremental vacuum: every one that
`database.connect` has created. An older file keeps its size until `vacuum` has rewritten it once, alone.

Sums by the hour follow by their own triggers. What this module must not know: the configuration, the event loop.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from claude_relay.core.times import HOUR, iso

from .database import MissingDatabase, StoreError, connect, explain, transaction
from .migrations import migrate

GOAL = 0.008
"""Seconds that a transaction should take at most; one that takes longer makes the next one smaller."""
PAUSE = 0.025
FIRST_BATCH = 16
PAGES = 64
CHECKPOINT = 8
"""Transactions after which this thread empties the write-ahead log, before a commit of the ledger has to."""
SPARE = 0.1
PATIENCE = 5.0
FIRST, EVERY = 60.0, 6 * HOUR
INCREMENTAL = 2
"""https://www.sqlite.org/pragma.html#pragma_auto_vacuum"""

OLD = "SELECT {0} FROM requests WHERE started_at < :before ORDER BY started_at LIMIT :batch"
OLD_REQUESTS = (
    f"DELETE FROM charges WHERE request IN ({OLD.format('id')})",
    f"DELETE FROM attempts WHERE request IN ({OLD.format('id')})",
    f"DELETE FROM bodies WHERE request IN ({OLD.format('id')})",
    f"DELETE FROM requests WHERE rowid IN ({OLD.format('rowid')})",
)
"""The rows below go first, by name, so that they are counted; the cascade finds nothing left."""
OLD_BODIES = (
    "DELETE FROM bodies WHERE rowid IN (SELECT rowid FROM bodies WHERE at < :before ORDER BY at LIMIT :batch)",
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were deleted."""

    requests: int = 0
    attempts: int = 0
    bodies: int = 0


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """Bytes of the file before and after; `spare`: bytes in it that are free still."""

    before: int
    after: int
    spare: int


class InUse(StoreError):
    """Another program has the file open, and what is to be done needs it alone."""


def prune(
    path: Path,
    *,
    keep: float | None,
    now: float,
    bodies_keep: float | None = None,
    batch: int = 1000,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Pruned:
    """Delete what is older than `keep` (bodies: also what is older than `bodies_keep`) seconds; None: nothing is too old.

    now       Unix seconds
    batch     requests of one transaction at most
    stop      ends the work after the transaction at hand
    progress  is told after each transaction how many requests and bodies it deleted
    Safe while relays write. Raises MissingDatabase, StoreError, or what sqlite3 and the system raise.
    """
    stop = stop or threading.Event()
    with closing(_opened(path)) as connection:
        # What people had deleted must not lie in free pages until something else needs them.
        connection.execute("PRAGMA secure_delete = ON")
        work = _Batches(connection, batch, stop, progress or (lambda deleted: None))
        attempts = bodies = requests = 0
        if bodies_keep is not None:
            (bodies,) = work.run(OLD_BODIES, _moment(now - bodies_keep))
        if keep is not None:
            before = _moment(now - keep)
            _, attempts, more, requests = work.run(OLD_REQUESTS, before)
            (alone,) = work.run(OLD_BODIES, before)  # those whose request never came
            bodies += more + alone
    return Pruned(requests, attempts, bodies)


def give_back(
    path: Path,
    *,
    spare: float = SPARE,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] | None = None,
) -> Vacuumed:
    """Give free pages back to the system in small steps, down to the share `spare` of the file. Safe while relays write.

    progress  is told after each step how many pages are left to be given back
    A file without incremental vacuum stays as it is. Raises as `prune` does.
    """
    stop = stop or threading.Event()
    with closing(_opened(path)) as connection:
        before, free = _pages(connection)
        if _value(connection, "auto_vacuum") == INCREMENTAL:
            surplus = free - int(spare * before)
            step, turns = PAGES, count(1)
            while surplus > 0 and not stop.is_set():
                began = time.perf_counter()
                connection.execute(f"PRAGMA incremental_vacuum({min(step, surplus)})").fetchall()
                step = _adapted(step, time.perf_counter() - began, PAGES * 8)
                surplus, was = _pages(connection)[1] - int(spare * before), surplus
                if surplus >= was:  # somebody else frees as fast: the next time will do
                    break
                if progress:
                    progress(max(surplus, 0))
                _pause(connection, next(turns), stop)
            _checkpoint(connection)  # only this shortens the file
        return _vacuumed(connection, before)


def vacuum(path: Path) -> Vacuumed:
    """Rewrite the whole file without gaps, and make it one that can give room back in steps. Needs it alone.

    It takes as much room on the disk again, twice, until it is done; when it is interrupted the file is as before.
    Raises InUse when another program has it open, else as `prune` does.
    """
    with closing(_opened(path)) as connection:
        before, _ = _pages(connection)
        # Every connection of a file with a write-ahead log holds a lock on it, however idle; so only the last one leaves
        # that mode, and outside of it VACUUM keeps all others out. https://www.sqlite.org/wal.html
        try:
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA temp_store = FILE")
            connection.execute("VACUUM")
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            raise InUse(f"{path}: another program has it open") from error
        return _vacuumed(connection, before)


def can_shrink(path: Path) -> bool:
    """Whether the file can give room back while it is in use (`give_back`). Raises as `prune` does."""
    with closing(_opened(path)) as connection:
        return _value(connection, "auto_vacuum") == INCREMENTAL


class Upkeep:
    """A thread that prunes and gives room back, FIRST seconds after its start and then EVERY so many.

    keep, bodies_keep  seconds; None: for ever
    report             told, in that thread, when the work failed; it is tried again the next time
    """

    def __init__(
        self,
        path: Path,
        keep: float | None,
        bodies_keep: float | None,
        *,
        report: Callable[[str], None] = logging.warning,
        first: float = FIRST,
        every: float = EVERY,
    ) -> None:
        """Nothing runs before `start`."""
        self._path = path
        self._keep = keep
        self._bodies_keep = bodies_keep
        self._report = report
        self._first = first
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay-upkeep", daemon=True)

    def start(self) -> None:
        """Start the thread; returns at once."""
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """End the thread after the transaction at hand; waits for at most `timeout` seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = self._first
        while not self._stop.wait(pause):
            pause = self._every
            try:
                self._work()
            except Exception as error:  # the traffic must not feel it, whatever it is
                self._report(f"upkeep: old rows stay for now. {explain(self._path, error)}")

    def _work(self) -> None:
        if self._keep is None and self._bodies_keep is None:
            return
        prune(self._path, keep=self._keep, now=time.time(), bodies_keep=self._bodies_keep, stop=self._stop)
        give_back(self._path, stop=self._stop)


class _Batches:
    """Statements that delete a batch at a time, over and over, in transactions as short as GOAL."""

    def __init__(
        self, connection: sqlite3.Connection, most: int, stop: threading.Event, progress: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._most = most
        self._stop = stop
        self._progress = progress

    def run(self, statements: Sequence[str], before: str) -> list[int]:
        """Until the last statement finds nothing older than `before`; returns what each of them deleted."""
        counts = [0] * len(statements)
        turns = count(1)
        batch = min(FIRST_BATCH, self._most)
        while not self._stop.is_set():
            deleted, took = self._delete(statements, {"before": before, "batch": batch})
            counts = [old + new for old, new in zip(counts, deleted, strict=True)]
            self._progress(deleted[-1])
            if deleted[-1] < batch:
                break
            batch = _adapted(batch, took, self._most)
            _pause(self._connection, next(turns), self._stop)
        _checkpoint(self._connection)
        return counts

    def _delete(self, statements: Sequence[str], values: dict[str, object]) -> tuple[list[int], float]:
        with transaction(self._connection):
            began = time.perf_counter()  # from here on others wait
            deleted = [self._connection.execute(statement, values).rowcount for statement in statements]
        return deleted, time.perf_counter() - began


def _pause(connection: sqlite3.Connection, turn: int, stop: threading.Event) -> None:
    """Let the writers in."""
    if turn % CHECKPOINT == 0:
        _checkpoint(connection)
    stop.wait(PAUSE)


def _checkpoint(connection: sqlite3.Connection) -> None:
    """Without waiting for anybody."""
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _adapted(size: int, took: float, most: int) -> int:
    if took > GOAL:
        return max(size // 2, 1)
    return min(size * 2, most) if took < GOAL / 3 else size


def _opened(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise MissingDatabase(f"{path}: there is no such file")
    connection = connect(path, patience=PATIENCE)
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # it would count as a part of the transaction
        connection.execute("PRAGMA cache_size = -32000")  # old rows lie scattered over every index
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _value(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """All pages, and the free ones among them."""
    return _value(connection, "page_count"), _value(connection, "freelist_count")


def _vacuumed(connection: sqlite3.Connection, before: int) -> Vacuumed:
    size = _value(connection, "page_size")
    after, free = _pages(connection)
    return Vacuumed(before * size, after * size, free * size)


def _moment(seconds: float) -> str:
    """As the ledger writes it; what is older than the calendar is the beginning of it."""
    try:
        return iso(seconds)
    except (OverflowError, ValueError, OSError):
        return ""
