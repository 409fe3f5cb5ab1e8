from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db.database import connect, read_only
from claude_relay.store.ledger import bodies as module
from claude_relay.store.ledger.bodies import Bodies, StoredBody
from claude_relay.store.ledger.bodies import read as read_bodies
from store.rows import STARTED, Heard, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


def stored(path: Path, request: str) -> list[StoredBody]:
    with closing(read_only(path)) as connection:
        return read_bodies(connection, request)


def test_bodies_come_back_in_order_and_bounded(path: Path) -> None:
    bodies = Bodies(path, 1000, report=pytest.fail)
    bodies.open()
    bodies.put("r1", 1, "answer", b"\x00\xff" * 500, at=STARTED)
    bodies.put("r1", 0, "answer", b"a" * 1001, at=STARTED)
    bodies.put("r1", 0, "request", b"", at=STARTED)
    bodies.put("r2", 0, "request", b"another's", at=STARTED)
    bodies.close()
    found = stored(path, "r1")
    assert [(body.n, body.kind, body.size, body.truncated, body.body) for body in found] == [
        (0, "request", 0, False, b""),
        (0, "answer", 1001, True, b"a" * 1000),
        (1, "answer", 1000, False, b"\x00\xff" * 500),
    ]
    assert {body.at.timestamp() for body in found} == {STARTED}


def test_they_lie_packed(path: Path) -> None:
    bodies = Bodies(path, 10**6, report=pytest.fail)
    bodies.open()
    bodies.put("r1", 0, "request", b'{"role":"user"},' * 5000, at=STARTED)
    bodies.close()
    assert read(path, "SELECT bytes, length(body) < 1000 FROM bodies") == [(80_000, 1)]


def test_a_body_that_is_there_stays(path: Path) -> None:
    bodies = Bodies(path, 100, report=pytest.fail)
    bodies.open()
    bodies.put("r1", 0, "request", b"first", at=STARTED)
    bodies.put("r1", 0, "request", b"second", at=STARTED)
    bodies.close()
    assert [body.body for body in stored(path, "r1")] == [b"first"]


def test_transactions_stay_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 30)
    statements: list[str] = []
    table = module._Table(path, 2.0)
    table.open()
    table.connection().set_trace_callback(statements.append)
    table.write([module.BodyRow("r1", n, "answer", STARTED, 20, b"01234567890123456789") for n in range(6)])
    table.close()
    assert statements.count("COMMIT") >= 3
    assert [body.n for body in stored(path, "r1")] == list(range(6))


def test_the_oldest_are_lost_while_the_database_is_held(path: Path) -> None:
    heard = Heard()
    bodies = Bodies(path, 100, report=heard, patience=0.01)
    bodies.open()
    with closing(connect(path, patience=1)) as other:
        other.execute("BEGIN IMMEDIATE")
        bodies.put("r", 0, "request", b"x", at=STARTED)
        heard.wait("cannot write")
        for n in range(module.QUEUE + 60):
            bodies.put(f"r{n:03}", 0, "request", b"x", at=STARTED)
        heard.wait("from now on the oldest are lost")
        other.execute("ROLLBACK")
    heard.wait("writing works again")
    bodies.close()
    kept = [name for (name,) in read(path, "SELECT request FROM bodies ORDER BY request")]
    assert kept == [f"r{n:03}" for n in range(60, module.QUEUE + 60)]


def test_a_removed_file_is_noticed_and_made_anew(path: Path) -> None:
    heard = Heard()
    bodies = Bodies(path, 100, report=heard)
    bodies.open()
    for file in path.parent.iterdir():
        file.unlink()
    bodies.put("r1", 0, "request", b"x", at=STARTED)
    assert "removed or replaced" in heard.wait("cannot write")
    heard.wait("writing works again")
    bodies.close()
    assert [body.body for body in stored(path, "r1")] == [b"x"]


def test_a_file_without_bodies_has_none(path: Path) -> None:
    connect(path, patience=1).close()
    assert stored(path, "r1") == []


def test_any_thread_may_put(path: Path) -> None:
    bodies = Bodies(path, 100, report=pytest.fail)
    bodies.open()
    threads = [
        threading.Thread(target=bodies.put, args=("r1", n, "answer", b"x"), kwargs={"at": STARTED}) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bodies.close()
    assert [body.n for body in stored(path, "r1")] == list(range(8))
