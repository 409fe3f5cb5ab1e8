from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db import upkeep
from claude_relay.store.db.database import MissingDatabase, connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.db.upkeep import GOAL, INCREMENTAL, InUse, Pruned, Upkeep, give_back, prune, vacuum
from claude_relay.store.ledger.ledger import ChargeRow, Ledger
from claude_relay.store.ledger.tables import Tables
from store.rows import STARTED, Heard, attempt, ids, read, request
from waiting import PATIENCE

DAY = 86400.0

TEXTS = (
    "user_agent",
    "session",
    "project",
    "notes",
    "error_type",
    "served_model",
    "requested_model",
    "priced_by",
    "client",
)
"""With 255 characters each a row is large."""


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "PAUSE", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def fill(path: Path, ages: list[float], *, attempts: int = 1, size: int = 10) -> None:
    """One request for each age in seconds, named by it."""
    rows = [
        request(id=f"aged_{age:g}", started_at=STARTED - age, **dict.fromkeys(TEXTS[: size // 255], "x" * 255))
        for age in ages
    ]
    tables = Tables(path, 2.0)
    tables.open()
    tables.write([(row, tuple(attempt(row, n + 1) for n in range(attempts))) for row in rows])
    tables.close()


def keep_body(path: Path, name: str, age: float) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        at = connection.execute("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', ?, 'unixepoch')", [STARTED - age]).fetchone()
        connection.execute("INSERT INTO bodies VALUES (?, 0, 'request', ?, 1, 0, x'00')", [name, *at])


def test_what_is_older_goes_with_its_attempts_and_bodies(path: Path) -> None:
    fill(path, [0, 9 * DAY, 10 * DAY, 10 * DAY + 60, 400 * DAY], attempts=2)
    for age in (0, 11 * DAY, 400 * DAY):
        keep_body(path, f"aged_{age:g}", age)
    keep_body(path, "never came", 500 * DAY)
    assert prune(path, keep=10 * DAY, now=STARTED) == Pruned(requests=2, attempts=4, bodies=3)
    assert ids(path) == ["aged_0", f"aged_{9 * DAY:g}", f"aged_{10 * DAY:g}"]
    assert len(read(path, "SELECT * FROM attempts")) == 6
    assert read(path, "SELECT request FROM bodies") == [("aged_0",)]
    assert prune(path, keep=10 * DAY, now=STARTED) == Pruned()


def test_bodies_have_a_time_of_their_own(path: Path) -> None:
    fill(path, [0, 8 * DAY])
    keep_body(path, "aged_0", 0)
    keep_body(path, "aged_8", 8 * DAY)
    assert prune(path, keep=None, bodies_keep=7 * DAY, now=STARTED) == Pruned(bodies=1)
    assert read(path, "SELECT request FROM bodies") == [("aged_0",)]
    assert len(ids(path)) == 2


@pytest.mark.parametrize("keep", [None, 1e9, 1e15])
def test_nothing_is_older_than_ever(path: Path, keep: float | None) -> None:
    fill(path, [0, 400 * DAY])
    assert prune(path, keep=keep, now=STARTED) == Pruned()


def test_writers_come_in_after_every_batch(path: Path) -> None:
    fill(path, [DAY + n for n in range(100)])
    batches: list[int] = []
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as writer:

        def report(count: int) -> None:
            writer.execute("BEGIN IMMEDIATE")  # at once, or it raises
            writer.execute("ROLLBACK")
            batches.append(count)

        assert prune(path, keep=60, now=STARTED, batch=30, progress=report).requests == 100
    assert sum(batches) == 100
    assert max(batches) <= 30


@pytest.mark.parametrize(
    ("size", "took", "then"),
    [(64, 2 * GOAL, 32), (1, 2 * GOAL, 1), (64, 0.6 * GOAL, 64), (64, 0.1 * GOAL, 128), (800, 0.0, 1000)],
)
def test_batches_grow_and_shrink_with_the_time_they_take(size: int, took: float, then: int) -> None:
    assert upkeep._adapted(size, took, 1000) == then


def test_an_end_in_between_leaves_whole_requests(path: Path) -> None:
    fill(path, [DAY + n for n in range(100)], attempts=2)
    stop = threading.Event()
    gone = prune(path, keep=60, now=STARTED, stop=stop, progress=lambda count: stop.set())
    assert 0 < gone.requests < 100
    assert gone.attempts == 2 * gone.requests
    assert len(read(path, "SELECT * FROM attempts")) == 2 * len(ids(path))


def test_deleted_text_is_not_left_in_the_file(path: Path) -> None:
    tables = Tables(path, 2.0)
    tables.open()
    tables.write([(request(user_agent="remember-me" * 9, started_at=STARTED - DAY), ()), (request(), ())])
    tables.close()
    assert b"remember-me" in path.read_bytes()
    prune(path, keep=60, now=STARTED)
    assert b"remember-me" not in path.read_bytes()


def test_no_file_is_made_where_there_is_none(path: Path) -> None:
    for work in (lambda: prune(path, keep=1, now=STARTED), lambda: give_back(path), lambda: vacuum(path)):
        with pytest.raises(MissingDatabase):
            work()
    assert not path.exists()


# -- room


@pytest.fixture
def holey(path: Path) -> Path:
    """A file of some hundred pages, nearly all free."""
    fill(path, [DAY + n for n in range(300)], size=3000)
    fill(path, [0])
    prune(path, keep=60, now=STARTED)
    return path


@pytest.fixture
def old_and_holey(path: Path) -> Iterator[Path]:
    """The same, as versions before this one created it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE older (x)")
    fill(path, [DAY + n for n in range(300)], size=3000)
    fill(path, [0])
    prune(path, keep=60, now=STARTED)
    return path


def auto_vacuum(path: Path) -> int:
    return read(path, "PRAGMA auto_vacuum")[0][0]


def test_free_pages_go_back_while_a_relay_has_the_file_open(holey: Path) -> None:
    before = holey.stat().st_size
    tables = Tables(holey, 2.0)
    tables.open()
    steps: list[int] = []
    room = give_back(holey, spare=0.0, progress=steps.append)
    assert (room.before, room.spare) == (before, 0)
    assert holey.stat().st_size == room.after < before / 2
    assert steps[-1] == 0
    tables.write([(request(id="aged_1"), ())])
    tables.close()
    assert ids(holey) == ["aged_0", "aged_1"]
    assert read(holey, "PRAGMA quick_check") == [("ok",)]


def test_some_room_stays_for_new_rows(holey: Path) -> None:
    room = give_back(holey, spare=0.5)
    assert 0.45 * room.before < room.spare < 0.55 * room.before


def test_an_old_file_learns_it_once_alone(old_and_holey: Path) -> None:
    path = old_and_holey
    assert auto_vacuum(path) == 0
    room = give_back(path, spare=0.0)
    assert room.after == room.before
    assert not upkeep.can_shrink(path)
    room = vacuum(path)
    assert path.stat().st_size == room.after < room.before / 2
    assert auto_vacuum(path) == INCREMENTAL
    assert upkeep.can_shrink(path)
    assert read(path, "PRAGMA journal_mode") == [("wal",)]
    assert ids(path) == ["aged_0"]


def test_a_file_in_use_is_not_rewritten(old_and_holey: Path) -> None:
    path = old_and_holey
    size = path.stat().st_size
    with closing(connect(path, patience=1)) as idle:
        idle.execute("SELECT count(*) FROM requests").fetchone()
        with pytest.raises(InUse, match=r"relay\.db: another program has it open"):
            vacuum(path)
        idle.execute("DELETE FROM requests")
    assert path.stat().st_size == size


def test_new_files_can_shrink_whoever_creates_them(path: Path) -> None:
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
    assert auto_vacuum(path) == INCREMENTAL


# -- the thread


def test_the_thread_works_again_and_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep.time, "time", lambda: STARTED)
    fill(path, [0, 8 * DAY])
    twice = threading.Semaphore(0)

    def counted(path: Path, **options: object) -> None:
        twice.release()

    monkeypatch.setattr(upkeep, "give_back", counted)
    worker = Upkeep(path, 7 * DAY, None, report=pytest.fail, first=0.0, every=0.01)
    worker.start()
    assert twice.acquire(timeout=PATIENCE)
    assert twice.acquire(timeout=PATIENCE)
    worker.close()
    assert ids(path) == ["aged_0"]


def test_a_failure_is_said_and_tried_again(path: Path) -> None:
    heard = Heard()
    worker = Upkeep(path, 7 * DAY, None, report=heard, first=0.0, every=0.01)
    worker.start()
    assert heard.wait("no such file").startswith("upkeep: old rows stay for now. ")
    heard.texts.clear()
    heard.wait("no such file")
    worker.close()


def test_the_thread_ends_at_once_while_it_waits(path: Path) -> None:
    worker = Upkeep(path, 7 * DAY, None, report=pytest.fail)
    worker.close()
    worker = Upkeep(path, 7 * DAY, None, report=pytest.fail)
    worker.start()
    worker.close()
    assert not worker._thread.is_alive()


def test_what_was_billed_beside_an_answer_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    for age in (1, 20):
        row = request(started_at=STARTED - age * DAY)
        beside = ChargeRow(request=row.id, attempt=1, n=1, kind="advisor")
        ledger.put(row, [attempt(row, charges=(beside,))])
    ledger.close()
    assert prune(path, keep=10 * DAY, now=STARTED) == Pruned(requests=1, attempts=1)
    assert read(path, "SELECT count(*) FROM charges") == [(1,)]
