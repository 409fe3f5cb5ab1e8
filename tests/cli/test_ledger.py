from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.ledger import _bytes, ledger
from claude_relay.store.db import upkeep
from claude_relay.store.db.database import connect
from claude_relay.store.ledger.bodies import Bodies
from claude_relay.store.ledger.tables import Tables
from store.rows import attempt, ids, request

DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger with a request of today, one of ten days ago and one of 500 days ago."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_CONFIG", "relay.yaml")
    monkeypatch.setattr(upkeep, "PAUSE", 0)
    Path("relay.yaml").write_text("database: relay.db\n")
    path = tmp_path / "relay.db"
    fill(path)
    return path


def fill(path: Path) -> None:
    rows = [request(id=f"r{days}", started_at=time.time() - days * DAY) for days in (0, 10, 500)]
    tables = Tables(path, 2.0)
    tables.open()
    tables.write([(row, (attempt(row, started_at=row.started_at),)) for row in rows])
    tables.close()


def run(*words: object, answer: str | None = None) -> Result:
    return CliRunner().invoke(ledger, [str(word) for word in words], input=answer)


def output(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout


def test_backup(path: Path, tmp_path: Path) -> None:
    text = output(run("backup", tmp_path / "copy.db"))
    assert text.startswith("copy.db: ")
    assert "checked. The vault's secret is not in it." in text
    assert ids(tmp_path / "copy.db") == ["r0", "r10", "r500"]


def test_export(path: Path, tmp_path: Path) -> None:
    assert output(run("export", "all.jsonl")) == "all.jsonl: 3 requests\n"
    assert output(run("export", "some.csv.gz", "--since", "20d", "--table", "attempts")).endswith(": 2 attempts\n")
    result = run("export", "-", "--format", "jsonl", "--since", "20d", "--until", "5d")
    assert [json.loads(line)["id"] for line in output(result).splitlines()] == ["r10"]
    assert result.stderr == "-: 1 requests\n"


def test_prune_by_the_configuration(path: Path) -> None:
    assert output(run("prune")).startswith("relay.db: 1 requests, 1 attempts and 0 bodies deleted. ")
    assert ids(path) == ["r0", "r10"]


def test_prune_for_ever(path: Path) -> None:
    Path("relay.yaml").write_text("ledger: {keep: null}\n")
    assert "0 requests" in output(run("prune"))
    assert len(ids(path)) == 3


def test_prune_bodies_by_the_configuration(path: Path) -> None:
    Path("relay.yaml").write_text("ledger: {keep: null, bodies: {keep: 7d}}\n")
    keep_body(path, "r10", b"x", age=8 * DAY)
    keep_body(path, "r0", b"x")
    assert "0 requests, 0 attempts and 1 bodies" in output(run("prune"))


def test_prune_asks_before_it_deletes_more_than_the_configuration_says(path: Path) -> None:
    result = run("prune", "--keep", "9d", answer="n\n")
    assert result.exit_code == 1
    assert "Delete all that is older than " in result.stderr
    assert len(ids(path)) == 3
    assert "2 requests" in output(run("prune", "--keep", "9d", answer="y\n"))
    assert "1 requests" in output(run("prune", "--keep", "0s", "--yes"))
    assert ids(path) == []


def test_a_period_that_is_none(path: Path) -> None:
    result = run("prune", "--keep", "soon")
    assert result.exit_code == 2
    assert "'soon' must be a length of time such as" in result.stderr


def test_vacuum_alone_and_beside_a_relay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert " before, " in output(run("vacuum"))
    with closing(connect(path, patience=1)) as relay:
        relay.execute("SELECT count(*) FROM requests").fetchone()
        monkeypatch.setattr(upkeep, "give_back", lambda *_, **__: upkeep.Vacuumed(2048, 1024, 0))
        assert output(run("vacuum")) == "relay.db: 2.0 KiB before, 1.0 KiB now.\n"


def test_vacuum_of_an_old_file_in_use_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(sqlite3.connect(path)) as older:
        older.execute("CREATE TABLE older (x)")
    with closing(connect(path, patience=1)) as relay:
        relay.execute("SELECT count(*) FROM older").fetchone()
        result = run("vacuum", "--database", path)
        assert result.exit_code == 1
        assert "End all relays and programs that have it open, then run this once" in result.stderr
    assert run("vacuum", "--database", path).exit_code == 0


def keep_body(path: Path, name: str, body: bytes, *, age: float = 0, limit: int = 1000) -> None:
    bodies = Bodies(path, limit, report=pytest.fail)
    bodies.open()
    bodies.put(name, 0, "request", body, at=time.time() - age)
    bodies.put(name, 1, "answer", b"event: ping\n", at=time.time() - age) if not age else None
    bodies.close()


def test_bodies(path: Path) -> None:
    keep_body(path, "r0", '{"é": 1}\n\x1b[2J\x9b'.encode() + b"\xff" + b"x" * 100, limit=20)
    first, text, escaped, second, event, *_ = output(run("bodies", "r0")).splitlines()
    assert first.startswith("── the client's · request · ")
    assert first.endswith(" · 117 bytes, the first 20 of them")
    assert text == '{"é": 1}'
    assert escaped == "␛[2J\ufffd\ufffdxxx"
    assert "── attempt 1 · answer · " in second
    assert event == "event: ping"


def test_bodies_that_were_not_kept(path: Path) -> None:
    result = run("bodies", "r10")
    assert result.exit_code == 1
    assert "No bodies of r10 in relay.db; they are kept while relay.yaml has `ledger: {bodies: …}`" in result.stderr


@pytest.mark.parametrize(
    "words",
    [("backup", "copy.db"), ("export", "out.csv"), ("prune",), ("vacuum",), ("bodies", "r0")],
    ids=lambda w: w[0],
)
@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.unlink(), "There is no database at relay.db"),
        (lambda path: path.write_text("x" * 9999), "not a database"),
    ],
    ids=["none", "another"],
)
def test_without_a_database(path: Path, words: tuple[str, ...], spoil: Callable[[Path], object], text: str) -> None:
    spoil(path)
    result = run(*words)
    assert result.exit_code == 1
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", list(ledger.commands))
def test_every_command_has_an_example(name: str) -> None:
    text = output(run(name, "--help"))
    assert f"  scripts/ledger {name}" in text.partition("Example")[2]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 * 2**20, "5.0 MiB"), (2**40, "1024.0 GiB")],
)
def test_sizes(size: int, text: str) -> None:
    assert _bytes(size) == text
