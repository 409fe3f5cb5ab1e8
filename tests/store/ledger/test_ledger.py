from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_relay.store.db import database
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import USAGE as USED
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger import tables
from claude_relay.store.ledger.ledger import NOTICED_WITHIN, AttemptRow, ChargeRow, Ledger, RequestRow, decode, encode
from store.rows import STARTED, Heard, attempt, ids, read, request
from waiting import PATIENCE, eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@contextmanager
def opened(path: Path, heard: Heard, **options) -> Iterator[Ledger]:
    ledger = Ledger(path, report=heard, **{"patience": PATIENCE} | options)
    ledger.open()
    try:
        yield ledger
    finally:
        ledger.close(PATIENCE)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Somebody else in the middle of a transaction."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def write(ledger: Ledger, row: RequestRow, *attempts: AttemptRow) -> bool:
    return asyncio.run(ledger.write(row, attempts))


def test_every_column_arrives(path: Path, heard: Heard) -> None:
    full = {
        "client": "alice",
        "session": "s-1",
        "user_agent": "claude-cli/2.0",
        "served_model": "claude-sonnet-5-20260101",
        "stream": True,
        "error_type": "overloaded_error",
        "attempts": 2,
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_tokens": 3,
        "cache_write_5m_tokens": 4,
        "cache_write_1h_tokens": 5,
        "reasoning_tokens": 6,
        "server_tool_requests": 7,
        "cost_usd": 0.25,
        "priced_by": "somebody",
        "ttft_ms": 345.678,
        "duration_ms": 2000.0,
        "request_bytes": 8,
        "response_bytes": 9,
        "finished": "upstream_closed",
        "notes": "top_k: left out",
        "project": "relay",
        "estimated": True,
        "upstream_request_id": "req_011",
        "client_program": "claude-cli",
        "agent": "a-1",
        "route": "route 1: anthropic",
        "error": "no key is free",
    }
    row = request(id="req_relay_full", **full)
    with opened(path, heard) as ledger:
        first = attempt(
            row,
            1,
            key="k1",
            status=429,
            verdict="rate limit",
            first_byte_ms=12.34,
            duration_ms=56.78,
            upstream_request_id="req_010",
        )
        used = dict(zip(USED, (11, 12, 13, 14, 15, 16, 17), strict=True))
        second = attempt(
            row,
            2,
            key=None,
            error="reset",
            started_at=STARTED + 1.5,
            model="m",
            cost_usd=0.5,
            waited_ms=1200.0,
            proxy="office",
            **used,
        )
        one = ChargeRow(
            request=row.id, attempt=2, n=1, kind="advisor", model="o", terms="inference_geo=us", cost_usd=0.25, **used
        )
        second = replace(second, terms="speed=fast", charges=(one, replace(one, n=2, kind="compaction", model=None)))
        assert write(ledger, row, first, second)
    names = ", ".join([*full, "id", "started_at", "method", "path", "requested_model", "provider", "key", "status"])
    expected = full | {"stream": 1, "ttft_ms": 345.7, "estimated": 1}
    assert read(path, f"SELECT {names} FROM requests") == [
        (
            *expected.values(),
            "req_relay_full",
            "2026-11-18T11:06:40.250Z",
            "POST",
            "/v1/messages",
            "claude-sonnet-5",
            "anthropic",
            "k1",
            200,
        )
    ]
    first_told = (
        "req_relay_full",
        1,
        "anthropic",
        "k1",
        429,
        "rate limit",
        None,
        "2026-11-18T11:06:40.250Z",
        12.3,
        56.8,
    )
    second_told = (
        "req_relay_full",
        2,
        "anthropic",
        None,
        200,
        "success",
        "reset",
        "2026-11-18T11:06:41.750Z",
        None,
        None,
    )
    assert read(path, "SELECT * FROM attempts ORDER BY n") == [
        (*first_told, *(None,) * (3 + len(USED)), "req_010", None, None),
        (*second_told, "m", 11, 12, 13, 14, 15, 16, 17, 0.5, "speed=fast", None, 1200.0, "office"),
    ]
    beside = (11, 12, 13, 14, 15, 16, 17, "inference_geo=us", 0.25)
    assert read(path, "SELECT * FROM charges ORDER BY n") == [
        ("req_relay_full", 2, 1, "o", "advisor", *beside),
        ("req_relay_full", 2, 2, None, "compaction", *beside),
    ]
    assert heard.texts == []


def test_charges_survive_the_journal_and_are_written_once(path: Path) -> None:
    row = request(id="req_relay_beside")
    beside = ChargeRow(request=row.id, attempt=1, n=1, kind="advisor", model="o", input_tokens=5)
    record = (row, (replace(attempt(row), charges=(beside,)),))
    assert decode(encode(record)) == record
    sink = tables.Tables(path, patience=1)
    sink.open()
    for _ in range(2):
        sink.write([record])
    sink.close()
    assert read(path, "SELECT request, attempt, n, kind, model, input_tokens FROM charges") == [
        ("req_relay_beside", 1, 1, "advisor", "o", 5)
    ]


def test_unknown_is_null(path: Path, heard: Heard) -> None:
    with opened(path, heard) as ledger:
        assert write(ledger, request())
    sql = "SELECT input_tokens, cost_usd, priced_by, client, session, ttft_ms FROM requests"
    assert read(path, sql) == [(None,) * 6]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.0004, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:21.000Z"),
        (1_709_164_800.5, "2024-02-29T00:00:00.500Z"),
    ],
)
def test_moments(path: Path, heard: Heard, seconds: float, text: str) -> None:
    with opened(path, heard) as ledger:
        assert write(ledger, request(started_at=seconds))
    assert read(path, "SELECT started_at FROM requests") == [(text,)]


def test_true_means_that_others_see_it(path: Path, heard: Heard) -> None:
    with opened(path, heard) as ledger:
        for _ in range(3):
            row = request()
            assert write(ledger, row)
            assert row.id in ids(path)


def test_many_writers_few_commits(path: Path, heard: Heard) -> None:
    async def main(ledger: Ledger) -> list[bool]:
        rows = [request() for _ in range(500)]
        with locked(path):
            waiting = [asyncio.ensure_future(ledger.write(row, [attempt(row)])) for row in rows]
            await asyncio.sleep(0)
        return await asyncio.gather(*waiting)

    with opened(path, heard) as ledger:
        before = ledger._writer.commits
        assert asyncio.run(main(ledger)) == [True] * 500
        assert ledger._writer.commits - before <= 4
    assert len(ids(path)) == len(read(path, "SELECT 1 FROM attempts")) == 500


def test_a_batch_is_one_statement(path: Path, heard: Heard) -> None:
    sink = tables.Tables(path, patience=1)
    sink.open()
    statements: list[str] = []
    sink.connection().set_trace_callback(statements.append)
    rows = [request() for _ in range(10)]
    sink.write([(row, (attempt(row), attempt(row, 2))) for row in rows])
    sink.close()
    ours = {text for text in statements if not text.startswith("--")}  # the others are the triggers'
    assert [text.split(" (")[0] for text in ours] == ["INSERT INTO incoming VALUES"]
    assert len(ids(path)) == 10
    assert read(path, "SELECT count(*) FROM attempts") == [(20,)]


def test_the_same_id_twice_is_one_request(path: Path, heard: Heard) -> None:
    row = request(input_tokens=5)
    with opened(path, heard) as ledger:
        assert write(ledger, row, attempt(row))
        assert write(ledger, row, attempt(row))

        async def at_once() -> list[bool]:
            return await asyncio.gather(*(ledger.write(row, [attempt(row)]) for _ in range(5)))

        assert asyncio.run(at_once()) == [True] * 5
    assert ids(path) == [row.id]
    assert read(path, "SELECT request, n FROM attempts") == [(row.id, 1)]
    assert heard.texts == []


@pytest.mark.parametrize("number", [0, 1, 2, 255, 256, 257, 700])
def test_any_number_of_attempts(path: Path, heard: Heard, number: int) -> None:
    row = request(attempts=number)
    with opened(path, heard) as ledger:
        assert write(ledger, row, *(attempt(row, n + 1) for n in range(number)))
    assert read(path, "SELECT count(*), coalesce(max(n), 0) FROM attempts") == [(number, number)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"finished": "nearly"},
        {"id": None},
        {"method": None},
        {"started_at": None},
        {"started_at": "yesterday"},
        {"stream": 2},
        {"status": 2**70},
        {"client": object()},
    ],
)
def test_a_wrong_row_is_lost_alone(path: Path, heard: Heard, wrong: dict) -> None:
    good = [request() for _ in range(20)]
    bad = request(**wrong)

    async def main(ledger: Ledger) -> list[bool]:
        with locked(path):  # so that all are one batch
            waiting = [asyncio.ensure_future(ledger.write(row, [attempt(row)])) for row in [*good[:7], bad, *good[7:]]]
            await asyncio.sleep(0)
        return await asyncio.gather(*waiting)

    with opened(path, heard) as ledger:
        assert asyncio.run(main(ledger)) == [True] * 7 + [False] + [True] * 13
        assert write(ledger, request(id="req_relay_later"))
    assert set(ids(path)) == {row.id for row in good} | {"req_relay_later"}
    assert len(read(path, "SELECT 1 FROM attempts")) == 20
    assert len(heard.texts) == 1
    assert "a row was refused and is lost" in heard.texts[0]


def test_a_request_without_an_id_is_no_silent_success(path: Path, heard: Heard) -> None:
    with opened(path, heard) as ledger:
        assert not write(ledger, request(id=None))
        assert not write(ledger, request(), attempt(request(id=None)))
    assert ids(path) == []
    assert "NOT NULL constraint failed: requests.id" in heard.texts[0]


def test_an_attempt_of_another_request_is_refused(path: Path, heard: Heard) -> None:
    row, stranger = request(), request()
    with opened(path, heard) as ledger:
        assert not write(ledger, row, attempt(stranger))
    assert ids(path) == []
    assert "FOREIGN KEY" in heard.texts[0]


def test_bytes_that_are_no_utf8_are_replaced(path: Path, heard: Heard) -> None:
    with opened(path, heard) as ledger:
        assert write(ledger, request(user_agent=b"caf\xe9/1".decode("utf-8", "surrogateescape"), client="Zoë"))
    assert read(path, "SELECT user_agent, client FROM requests") == [("caf?/1", "Zoë")]
    assert heard.texts == []


def test_a_locked_database_holds_nobody_up_and_loses_nothing(path: Path, heard: Heard) -> None:
    rows = [request() for _ in range(30)]

    async def main(ledger: Ledger) -> None:
        loop = asyncio.get_running_loop()
        with locked(path):
            turns = 0
            first = asyncio.ensure_future(ledger.write(rows[0], []))
            while not first.done():
                turns += 1
                await asyncio.sleep(0.001)
            assert not first.result()
            assert turns > 3  # the loop went on meanwhile
            await asyncio.to_thread(heard.wait, "cannot write")
            before, ledger.patience = loop.time(), 600.0
            assert [await ledger.write(row, [attempt(row)]) for row in rows[1:]] == [False] * 29
            assert loop.time() - before < PATIENCE  # known to fail: nobody waits for it any more
            eventually(lambda: ledger.pending == 0)  # they are in the journal
            assert not ledger.whole
        await asyncio.to_thread(heard.wait, "writing works again")
        assert ledger.pending == 0
        assert await ledger.write(request(id="req_relay_later"), [])

    with opened(path, heard, patience=1.0) as ledger:
        asyncio.run(main(ledger))
    assert ids(path) == sorted([row.id for row in rows] + ["req_relay_later"])
    assert len(heard.texts) == 2
    assert "database is locked – another program holds it" in heard.texts[0]
    assert str(path) in heard.texts[0]


def test_a_short_lock_is_waited_for_in_silence(path: Path, heard: Heard) -> None:
    async def main(ledger: Ledger) -> bool:
        with locked(path):
            waiting = asyncio.ensure_future(ledger.write(request(), []))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        return await waiting

    with opened(path, heard) as ledger:
        assert asyncio.run(main(ledger))
    assert heard.texts == []


def test_a_database_that_cannot_be_opened_at_first(path: Path, heard: Heard) -> None:
    path.write_bytes(b"this is no database, it is a letter to a friend" * 100)
    with opened(path, heard) as ledger:
        assert "file is not a database – move it away" in heard.texts[0]
        assert not write(ledger, request(id="req_relay_early"))
        path.unlink()
        heard.wait("writing works again")
        assert write(ledger, request(id="req_relay_later"))
    assert ids(path) == ["req_relay_early", "req_relay_later"]
    assert len(heard.texts) == 2


def test_a_folder_that_comes_later(tmp_path: Path, heard: Heard) -> None:
    path = tmp_path / "data" / "relay.db"
    with opened(path, heard) as ledger:
        assert "folder does not exist" in heard.texts[0]
        row = request()
        assert not write(ledger, row)
        path.parent.mkdir()
        heard.wait("writing works again")
    assert ids(path) == [row.id]


def test_a_newer_database_is_left_alone_and_the_rows_are_kept(path: Path, heard: Heard) -> None:
    with opened(path, heard):
        pass
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('claude_relay', 'warp', '')"
    )
    connection.commit()
    connection.close()
    ledger = Ledger(path, report=heard)
    ledger.open()
    assert "newer Claude Relay" in heard.texts[0]
    assert not write(ledger, request())
    ledger.close(timeout=0.1)
    assert "what could not be written is kept in" in heard.texts[-1]
    assert ids(path) == []


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_file_that_goes_away_in_use(path: Path, heard: Heard, monkeypatch, what: str) -> None:
    monkeypatch.setattr(database, "GRACE", 0.05)
    with opened(path, heard) as ledger:
        assert write(ledger, request(id="req_relay_old"))
        path.rename(path.with_name("old.db"))
        if what == "replaced":
            other = connect(path, patience=1)
            migrate(other)
            other.close()
        assert not write(ledger, request(id="req_relay_new"))
        heard.wait("writing works again")
        assert write(ledger, request(id="req_relay_newer"))
    assert ids(path) == ["req_relay_new", "req_relay_newer"]
    assert "removed or replaced" in heard.texts[0]
    assert len(heard.texts) == 2


@pytest.mark.parametrize("meanwhile", ["nothing", "a folder"])
def test_a_file_that_is_moved_away_and_back(
    path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(database, "GRACE", PATIENCE)  # no new file is made meanwhile
    away = path.with_name("away.db")
    with opened(path, heard) as ledger:
        assert write(ledger, request(id="req_relay_1"))
        path.rename(away)
        if meanwhile == "a folder":
            path.mkdir()
        assert not write(ledger, request(id="req_relay_2"))
        assert "removed or replaced" in heard.wait("cannot write")
        assert not write(ledger, request(id="req_relay_3"))
        assert list(path.parent.glob("relay.db.spill-*"))
        assert meanwhile == "a folder" or not path.exists()
        if meanwhile == "a folder":
            path.rmdir()
        away.rename(path)
        heard.wait("writing works again")
        assert write(ledger, request(id="req_relay_4"))
    assert ids(path) == [f"req_relay_{n}" for n in (1, 2, 3, 4)]
    assert not list(path.parent.glob("relay.db.spill-*"))


def test_a_file_that_goes_during_a_commit(path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "GRACE", PATIENCE)  # no new file is made meanwhile
    insert = tables._insert

    def insert_and_lose(*given: Any) -> None:
        insert(*given)
        if path.exists() and not path.with_name("away.db").exists():
            path.rename(path.with_name("away.db"))

    with opened(path, heard) as ledger:
        monkeypatch.setattr(tables, "_insert", insert_and_lose)
        assert not write(ledger, request(id="req_relay_1"))
        path.with_name("away.db").rename(path)
        monkeypatch.setattr(tables, "_insert", insert)
        heard.wait("writing works again")
        assert write(ledger, request(id="req_relay_2"))
    assert ids(path) == ["req_relay_1", "req_relay_2"]


def test_a_lost_table_is_a_failure_of_the_database_not_of_the_rows(path: Path, heard: Heard) -> None:
    with opened(path, heard) as ledger:
        connection = sqlite3.connect(path)
        connection.execute("ALTER TABLE attempts RENAME TO elsewhere")
        row = request()
        assert not write(ledger, row, attempt(row))
        connection.execute("ALTER TABLE elsewhere RENAME TO attempts")
        connection.close()
        heard.wait("writing works again")
    assert ids(path) == [row.id]


def test_relaxed_does_not_wait(path: Path, heard: Heard) -> None:
    row = request()
    with opened(path, heard, durability="relaxed") as ledger:
        with pytest.raises(StopIteration) as end:
            ledger.write(row, [attempt(row)]).send(None)  # one step, without any event loop
        assert end.value.value is False
    assert ids(path) == [row.id]


def test_close_writes_what_is_queued_without_a_loop(path: Path, heard: Heard) -> None:
    rows = [request() for _ in range(1000)]
    with opened(path, heard) as ledger:
        for row in rows:
            ledger.put(row, [attempt(row)])
    assert len(ids(path)) == 1000
    assert ledger.pending == 0
    assert ledger.failing
    assert [file.name for file in path.parent.iterdir()] == ["relay.db"]  # -wal and -shm are gone: all is in the file


def test_a_writer_that_is_cancelled_is_written_down(path: Path, heard: Heard) -> None:
    row = request()

    async def main(ledger: Ledger) -> None:
        with locked(path):
            task = asyncio.ensure_future(ledger.write(row, []))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with opened(path, heard) as ledger:
        asyncio.run(main(ledger))
    assert ids(path) == [row.id]
    assert heard.texts == []


def test_patience_ends_the_wait_and_the_row_follows(path: Path, heard: Heard) -> None:
    async def main(ledger: Ledger) -> None:
        ledger.patience = 0.02  # shorter than the database's own wait
        with locked(path):
            before = time.monotonic()
            assert not await ledger.write(request(id="req_relay_late"), [])
            assert time.monotonic() - before < PATIENCE
            assert ledger.pending == 1

    with opened(path, heard, patience=600.0) as ledger:
        asyncio.run(main(ledger))
    assert ids(path) == ["req_relay_late"]
    assert heard.texts == []


def test_two_ledgers_on_one_file(path: Path, heard: Heard) -> None:
    async def main(*ledgers: Ledger) -> list[bool]:
        return await asyncio.gather(*(ledger.write(request(), []) for _ in range(100) for ledger in ledgers))

    with opened(path, heard) as one, opened(path, heard) as two:
        assert all(asyncio.run(main(one, two)))
    assert len(ids(path)) == 200
    assert heard.texts == []


def test_the_write_ahead_log_does_not_grow_for_ever(path: Path, heard: Heard, monkeypatch) -> None:
    monkeypatch.setattr(tables, "IDLE_CHECKPOINT", 20)
    monkeypatch.setattr(tables, "BUSY_CHECKPOINT", 40)
    log = path.with_name("relay.db-wal")

    async def main(ledger: Ledger) -> None:
        for _ in range(400):
            await ledger.write(request(), [])

    with opened(path, heard) as ledger:
        asyncio.run(main(ledger))
        assert log.stat().st_size < 2_000_000  # 400 commits of five pages or so: four times as much


def test_texts_of_rows_are_bounded() -> None:
    """Whoever makes the row, and wherever the text is from; a row out of the journal, too."""
    huge = "é" * 1_000_000
    names = [f.name for f in dataclasses.fields(RequestRow) if "str" in str(f.type)]
    assert {"requested_model", "served_model", "user_agent", "session", "project", "path", "error_type", "notes"} < {
        *names
    }
    row = request(**dict.fromkeys(names, huge))
    assert {name for name in names if len(getattr(row, name)) == 2000} == {"notes", "route", "error"}
    assert {len(getattr(row, name)) for name in names} == {255, 2000}
    tried = attempt(row, verdict=huge, model=huge, error=huge, key=huge, provider=huge)
    assert (len(tried.verdict or ""), len(tried.model or ""), len(tried.error or "")) == (255, 255, 2000)
    text = encode((row, (tried,))).replace(b'"method":"', b'"method":"' + b"x" * 1000)
    assert len(decode(text)[0].method) == 255
    assert request(user_agent="x" * 255).user_agent == "x" * 255


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "together"])
def test_a_locked_database_is_waited_for_once(path: Path, heard: Heard, together: bool) -> None:
    """And each row is on the disk before its request is answered: a killed process loses none."""
    rows, waits = [request() for _ in range(8)], list[float]()

    async def ask(ledger: Ledger, row: RequestRow) -> None:
        began = time.monotonic()
        assert not await ledger.write(row, [attempt(row)])
        waits.append(time.monotonic() - began)
        assert row.id in "".join(spill.read_text() for spill in path.parent.glob("relay.db.spill-*"))

    async def main(ledger: Ledger) -> None:
        if together:
            await asyncio.gather(*(ask(ledger, row) for row in rows))
        else:
            for row in rows:
                await ask(ledger, row)

    with opened(path, heard, patience=2.0) as ledger, contextlib.closing(sqlite3.connect(path)) as other:
        ledger.patience = PATIENCE  # the lock is given up after its part of the two seconds, and nothing else is
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        asyncio.run(main(ledger))
        other.execute("ROLLBACK")
        heard.wait("writing works again")
        assert ids(path) == [row.id for row in rows]
    each_for_itself = len(rows) * NOTICED_WITHIN * 2.0
    assert (max(waits) if together else sum(waits)) < each_for_itself - 2.0
    assert "kept in" in heard.texts[0]
    assert "in memory" not in heard.texts[0]
    assert list(path.parent.glob("relay.db.spill-*")) == []


def test_a_row_that_the_journal_does_not_take_waits_in_memory(path: Path, heard: Heard) -> None:
    with opened(path, heard, patience=0.2) as ledger, contextlib.closing(sqlite3.connect(path)) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        ledger._writer._spill.limit = 0
        for name in "abc":
            assert not asyncio.run(ledger.write(request(id=name), []))
        heard.wait("cannot be kept in")
        other.execute("ROLLBACK")
        heard.wait("writing works again")
    assert ids(path) == ["a", "b", "c"]
