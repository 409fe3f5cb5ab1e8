from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db import backup as module
from claude_relay.store.db.backup import backup
from claude_relay.store.db.database import MissingDatabase, StoreError, connect
from claude_relay.store.ledger.tables import Tables
from store.rows import attempt, ids, read, request


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "relay.db"
    tables = Tables(path, 2.0)
    tables.open()
    tables.write([(row, (attempt(row),)) for row in (request(user_agent="x" * 500) for _ in range(200))])
    tables.close()
    return path


def test_a_writer_commits_while_the_backup_runs_and_the_backup_is_of_one_moment(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGES", 4)
    before, target, steps = ids(path), tmp_path / "backup.db", []
    tables = Tables(path, 0.0)  # a commit that would have to wait fails
    tables.open()

    def commit(done: int, total: int) -> None:
        steps.append((done, total))
        assert len(steps) < 500, "it begins anew with every commit"
        row = request()
        tables.write([(row, (attempt(row),))])
        if len(steps) == 3:
            tables.connection().execute("PRAGMA wal_checkpoint(PASSIVE)")

    size = backup(path, target, progress=commit)
    tables.close()
    assert len(steps) > 10
    assert steps[-1][0] == steps[-1][1]
    assert target.stat().st_size == size
    assert ids(target) == before
    assert len(read(target, "SELECT * FROM attempts")) == len(before)
    assert len(ids(path)) == len(before) + len(steps)


def test_what_is_only_in_the_log_is_in_the_backup(path: Path, tmp_path: Path) -> None:
    with closing(connect(path, patience=1)) as writer:
        writer.execute("DELETE FROM requests")
        backup(path, tmp_path / "backup.db")
        assert ids(tmp_path / "backup.db") == []


def test_a_backup_is_one_private_file_and_replaces_the_last(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "relay.db").write_text("the last one")
    path.with_name("relay.db.secret").write_text("opens everything")
    backup(path, folder / "relay.db")
    assert [file.name for file in folder.iterdir()] == ["relay.db"]
    assert stat.S_IMODE((folder / "relay.db").stat().st_mode) == 0o600
    assert ids(folder / "relay.db") == ids(path)


def test_a_damaged_database_gives_no_backup(path: Path, tmp_path: Path) -> None:
    root = read(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'requests_by_time'")[0][0]
    target = tmp_path / "backup.db"
    target.write_text("the last good one")
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        backup(path, target)
    assert target.read_text() == "the last good one"
    assert not list(tmp_path.glob(".backup*"))


def test_targets_that_cannot_be(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    (tmp_path / "other.db-wal").touch()
    for name, text in {
        "relay.db": "the database itself",
        "link.db": "the database itself",
        "other.db": "uses it as its database",
        ".": "is a folder",
        "nowhere/backup.db": "its folder does not exist – create .*/nowhere, or name another",
    }.items():
        with pytest.raises(StoreError, match=text):
            backup(path, tmp_path / name)
    with pytest.raises(MissingDatabase):
        backup(tmp_path / "none.db", tmp_path / "backup.db")


def test_a_backup_serves_in_the_place_of_the_database(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    backup(path, target)
    tables = Tables(target, 2.0)
    tables.open()
    tables.write([(request(id="later"), ())])
    tables.close()
    assert "later" in ids(target)
    with closing(sqlite3.connect(target)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
