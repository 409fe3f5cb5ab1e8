from __future__ import annotations

import os
from pathlib import Path

import pytest

from claude_relay.store.audit import Act, Actor, read
from claude_relay.store.config_file import NotWritten, save
from claude_relay.store.db.database import ChangedMeanwhile

ACTOR = Actor("alice", "panel", "127.0.0.1")
ACT = Act("edit", "config", "default", {"default": "a"}, {"default": "b"})


def test_a_file_behind_a_link_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    real, link, database = tmp_path / "etc" / "relay.yaml", tmp_path / "relay.yaml", tmp_path / "relay.db"
    real.parent.mkdir()
    real.write_bytes(b"default: a\n")
    real.chmod(0o640)
    link.symlink_to(real)
    save(link, b"default: b\n", seen=b"default: a\n", database=database, actor=ACTOR, act=ACT)
    assert link.is_symlink()
    assert real.read_bytes() == b"default: b\n"
    assert real.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in real.parent.iterdir()] == ["relay.yaml"]
    assert [(entry.who, entry.kind, entry.after) for entry in read(database)] == [("alice", "config", {"default": "b"})]


def test_somebody_elses_change_is_not_lost(tmp_path: Path) -> None:
    path, database = tmp_path / "relay.yaml", tmp_path / "relay.db"
    path.write_bytes(b"default: c\n")
    with pytest.raises(ChangedMeanwhile):
        save(path, b"default: b\n", seen=b"default: a\n", database=database, actor=ACTOR, act=ACT)
    assert path.read_bytes() == b"default: c\n"
    assert read(database) == []


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "relay.yaml"
    save(path, b"default: b\n", seen=b"", database=tmp_path / "relay.db", actor=ACTOR, act=ACT)
    assert path.read_bytes() == b"default: b\n"


@pytest.mark.skipif(os.name != "posix", reason="modes")
def test_what_cannot_be_written_is_said_and_not_noted_as_done(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "file" / "relay.yaml"
    with pytest.raises(NotWritten):
        save(path, b"b", seen=b"", database=tmp_path / "relay.db", actor=ACTOR, act=ACT)
    assert read(tmp_path / "relay.db") == []
