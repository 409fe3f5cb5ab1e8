"""Readers that go from one to the next: as good as new ones, and in nobody's way."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db import database
from claude_relay.store.db.database import connect, read_only
from claude_relay.store.db.kept import KEPT, Shelf


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """In this process, until the test's end."""
    found = Shelf()
    monkeypatch.setattr(database, "_shelf", found)
    yield found
    found.tidy(time.monotonic())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "relay.db"
    with closing(connect(found, patience=1)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(3000)])
    return found


def count(path: Path) -> int:
    with closing(read_only(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])


def test_the_next_reader_has_it_as_if_it_were_new_and_sees_what_is_new(path: Path, shelf: Shelf) -> None:
    connection = read_only(path, patience=1.5)
    connection.isolation_level, connection.text_factory, connection.row_factory = None, bytes, sqlite3.Row
    connection.execute("BEGIN")
    half = connection.execute("SELECT x FROM t")
    half.fetchone()  # and no further, while its cursor lives on
    connection.close()
    connection.close()
    with closing(connect(path, patience=0.1)) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        assert writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0  # nobody holds it up
    with closing(read_only(path, patience=0.5)) as again:
        assert again is connection
        assert not again.in_transaction
        assert (again.isolation_level, again.text_factory, again.row_factory) == ("DEFERRED", str, None)
        assert again.execute("PRAGMA busy_timeout").fetchone() == (500,)
        assert again.execute("SELECT count(*) FROM t").fetchone() == (3001,)
        with closing(read_only(path)) as other:
            assert other is not again
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            again.execute("DELETE FROM t")


def test_another_file_in_its_place_is_read(path: Path, shelf: Shelf, tmp_path: Path) -> None:
    assert count(path) == 3000
    other = tmp_path / "other.db"
    with closing(connect(other, patience=1)) as connection:
        connection.execute("CREATE TABLE t (x)")
    os.replace(other, path)
    assert count(path) == 0
    path.unlink()
    with pytest.raises(database.MissingDatabase):
        read_only(path)


def test_one_that_met_an_error_is_not_kept(path: Path, shelf: Shelf) -> None:
    with pytest.raises(sqlite3.OperationalError), closing(read_only(path)) as broken:
        broken.execute("SELECT * FROM nowhere")
    with closing(read_only(path)) as connection:
        assert connection is not broken
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        broken.execute("SELECT 1")


def test_after_a_while_whoever_needs_the_file_alone_may_have_it(path: Path, shelf: Shelf) -> None:
    readers = [read_only(path) for _ in range(KEPT + 3)]
    for reader in readers:
        reader.close()
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connection.execute("PRAGMA journal_mode = DELETE")
        shelf.tidy(time.monotonic())
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
