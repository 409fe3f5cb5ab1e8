"""The file as those use it who open it anew for each act."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db.database import StoreError, connect
from claude_relay.store.db.database_file import DatabaseFile

INSERT = "INSERT INTO notices (id, kind, key, text, first_at, last_at) VALUES ('a', 'b', 'c', 'd', 'e', 'f')"


def count(file: DatabaseFile) -> int | None:
    with file.reading() as connection:
        found = connection.execute("SELECT count(*) FROM notices").fetchone() if connection else (None,)
    return None if found[0] is None else int(found[0])


def begin_and_fail(file: DatabaseFile) -> None:
    with file.writing() as connection:
        connection.execute("DELETE FROM notices")
        raise KeyError


def test_nothing_is_read_where_there_is_no_such_file_or_table(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / "relay.db", "notices")
    assert count(file) is None
    assert not file.path.exists()
    connect(file.path, patience=1.0).close()
    assert count(file) is None


def test_an_act_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / "relay.db", "notices")
    with file.writing() as connection:
        connection.execute(INSERT)
        assert count(file) == 0  # the tables are there, what is under way is not
    assert count(file) == 1
    with pytest.raises(KeyError):
        begin_and_fail(file)
    assert count(file) == 1


@pytest.mark.parametrize(("durable", "synchronous"), [(True, 2), (False, 1)])
def test_an_act_waits_for_the_disk_unless_it_need_not(tmp_path: Path, durable: bool, synchronous: int) -> None:
    with DatabaseFile(tmp_path / "relay.db", "notices").writing(durable=durable) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)


def test_what_is_read_is_of_one_moment(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / "relay.db", "notices")
    with file.writing():
        pass
    with file.reading() as connection, file.writing() as other:
        assert connection is not None
        other.execute(INSERT)
        other.execute("COMMIT")
        other.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM notices").fetchone() == (0,)
    assert count(file) == 1


def test_what_is_refused_is_explained(tmp_path: Path) -> None:
    file = DatabaseFile(tmp_path / "relay.db", "notices", patience=0.05)
    with file.writing():
        pass
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program holds it"), file.writing():
            pass
    file.path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError, match="move it away"), file.reading():
        pass
