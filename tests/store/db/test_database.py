from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db.database import MissingDatabase, StoreError, connect, explain, identity, read_only


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_and_its_companions_are_private(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    before = os.umask(0)
    try:
        with closing(connect(path, patience=1)) as connection:
            connection.execute("CREATE TABLE t (x)")
            files = sorted(tmp_path.iterdir())
            assert [file.name for file in files] == ["relay.db", "relay.db-shm", "relay.db-wal"]
            assert [mode(file) for file in files] == [0o600] * 3
    finally:
        os.umask(before)


def test_the_mode_of_an_existing_file_is_its_owners_choice(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    path.touch(0o640)
    connect(path, patience=1).close()
    assert mode(path) == 0o640


def test_settings(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "relay.db", patience=1.5)) as connection:

        def value(pragma: str) -> object:
            return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

        assert value("journal_mode") == "wal"
        assert value("synchronous") == 1  # NORMAL
        assert value("foreign_keys") == 1
        assert value("busy_timeout") == 1500


def test_a_missing_folder_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"folder does not exist – create .*/nowhere, or set `database`"):
        connect(tmp_path / "nowhere" / "relay.db", patience=1)


@pytest.mark.parametrize("open_it", [lambda path: connect(path, patience=1), read_only])
def test_a_file_that_is_no_database(tmp_path: Path, open_it) -> None:
    path = tmp_path / "relay.db"
    path.write_text("listen:\n  proxy: 127.0.0.1:8080\n" * 50)
    with pytest.raises((sqlite3.DatabaseError, StoreError)) as caught:
        open_it(path)
    text = explain(path, caught.value)
    assert text.startswith(f"{path}: file is not a database – move it away")
    assert path.read_text().startswith("listen:")


def test_nothing_to_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "relay.db"):
        with pytest.raises(MissingDatabase, match="no such file"):
            read_only(path)
    assert list(tmp_path.iterdir()) == []


def test_a_reader_reads_while_a_writer_writes_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "with ? and # and %20.db"
    with closing(connect(path, patience=1)) as writer:
        writer.execute("CREATE TABLE t (x)")
        writer.execute("INSERT INTO t VALUES (1)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO t VALUES (2)")
        with closing(read_only(path)) as reader:
            assert reader.execute("SELECT x FROM t").fetchall() == [(1,)]
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.execute("INSERT INTO t VALUES (3)")


def test_identity_tells_a_replaced_file(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    assert identity(path) is None
    path.touch()
    first = identity(path)
    path.rename(tmp_path / "old.db")
    path.touch()
    assert first is not None
    assert identity(path) not in (None, first)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (sqlite3.SQLITE_BUSY, "close that program"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "close that program"),
        (sqlite3.SQLITE_FULL, "make room"),
        (sqlite3.SQLITE_IOERR_WRITE, "has room"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "writable"),
        (sqlite3.SQLITE_CORRUPT, ".recover"),
    ],
)
def test_errors_come_with_a_remedy(code: int, remedy: str) -> None:
    error = sqlite3.OperationalError("it went wrong")
    error.sqlite_errorcode = code
    text = explain(Path("/x/relay.db"), error)
    assert text.startswith("/x/relay.db: it went wrong – ")
    assert remedy in text


def test_an_unknown_error_is_told_as_it_is() -> None:
    assert explain(Path("/x/relay.db"), RuntimeError("odd")) == "/x/relay.db: odd"
