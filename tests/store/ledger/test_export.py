from __future__ import annotations

import csv
import gzip
import importlib
import io
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from claude_relay.store.db.database import MissingDatabase, StoreError
from claude_relay.store.ledger import export as module
from claude_relay.store.ledger.export import export, format_of
from claude_relay.store.ledger.rows import ChargeRow, RequestRow
from claude_relay.store.ledger.tables import Tables
from store.rows import STARTED, attempt, read, request

NOON = datetime.fromtimestamp(STARTED, UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Requests 0 to 9, an hour apart, with two attempts each, written out of order."""
    path = tmp_path / "relay.db"
    rows = [
        request(id=f"r{n}", started_at=STARTED + 3600 * n, attempts=2, cost_usd=n / 8, input_tokens=n)
        for n in range(10)
    ]
    rows[3] = request(id="r3", started_at=STARTED + 3 * 3600, user_agent='é, "\n', input_tokens=None)
    tables = Tables(path, 2.0)
    tables.open()
    tables.write(
        [
            (row, (attempt(row, 1, started_at=row.started_at + 0.5), attempt(row, 2, charges=(beside(row),))))
            for row in reversed(rows)
        ]
    )
    tables.close()
    return path


def beside(row: RequestRow) -> ChargeRow:
    return ChargeRow(request=row.id, attempt=2, n=1, kind="advisor", model="o", input_tokens=3, cost_usd=0.5)


def from_csv(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def from_jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def stored(path: Path, sql: str) -> list[dict[str, Any]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    rows = [dict(row) for row in connection.execute(sql)]
    connection.close()
    return rows


@pytest.mark.parametrize("table", ["requests", "attempts", "charges"])
def test_json_lines_hold_every_column_as_it_is(path: Path, tmp_path: Path, table: str) -> None:
    target = tmp_path / "out.jsonl"
    count = export(path, target, table=table)
    order = "started_at" if table == "requests" else "request, n"
    assert from_jsonl(target.read_text()) == stored(path, f"SELECT * FROM {table} ORDER BY {order}")
    assert count == {"requests": 10, "attempts": 20, "charges": 10}[table]


def test_csv_leaves_unknown_values_empty(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    export(path, target)
    rows = from_csv(target.read_text())
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(10)]
    assert (rows[3]["user_agent"], rows[3]["input_tokens"]) == ('é, "\n', "")
    assert (rows[2]["cost_usd"], rows[2]["stream"]) == ("0.25", "0")


@pytest.mark.parametrize("name", ["out.csv.gz", "OUT.JSONL.GZ"])
def test_gz_packs_the_same(path: Path, tmp_path: Path, name: str) -> None:
    plain = name.lower().removesuffix(".gz")
    export(path, tmp_path / name)
    export(path, tmp_path / f"plain{plain}")
    assert gzip.decompress((tmp_path / name).read_bytes()) == (tmp_path / f"plain{plain}").read_bytes()


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(None, None, (0, 10)), (2, None, (2, 10)), (None, 2, (0, 2)), (2, 5, (2, 5)), (10, None, (0, 0))],
)
def test_since_is_in_and_until_is_out_for_both_tables(
    path: Path, tmp_path: Path, since: int | None, until: int | None, found: tuple[int, int]
) -> None:
    bounds = {name: NOON + timedelta(hours=n) for name, n in (("since", since), ("until", until)) if n is not None}
    export(path, tmp_path / "requests.jsonl", **bounds)
    export(path, tmp_path / "attempts.jsonl", table="attempts", **bounds)
    names = [f"r{n}" for n in range(*found)]
    assert [row["id"] for row in from_jsonl((tmp_path / "requests.jsonl").read_text())] == names
    attempts = [(row["request"], row["n"]) for row in from_jsonl((tmp_path / "attempts.jsonl").read_text())]
    assert attempts == [(name, n) for name in names for n in (1, 2)]


def test_rows_come_in_pieces(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 4)
    pieces: list[int] = []
    assert export(path, tmp_path / "out.csv", progress=pieces.append) == 10
    assert pieces == [4, 4, 2]
    assert len(from_csv((tmp_path / "out.csv").read_text())) == 10


def test_the_standard_output(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(path, Path("-"), form="jsonl")
    assert len(from_jsonl(capsys.readouterr().out)) == 10


def test_parquet(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(module, "ROWS", 2)
    monkeypatch.setattr(module, "GROUP", 4)
    target = tmp_path / "out.parquet"
    export(path, target)
    file = parquet.ParquetFile(target)
    assert file.num_row_groups == 3
    rows = file.read().to_pylist()
    file.close()
    expected = stored(path, "SELECT * FROM requests ORDER BY started_at")
    for row in expected:
        row["started_at"] = datetime.fromisoformat(row["started_at"])
    assert rows == expected
    assert export(path, target, since=NOON + timedelta(days=9)) == 0
    assert parquet.read_table(target).num_rows == 0


def test_parquet_without_pyarrow_says_how_to_get_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(StoreError, match="installs it: scripts/ledger --with parquet"):
        export(path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("name", "form", "text"),
    [
        ("out.txt", None, r"no format is known by that name – end it in \.csv"),
        ("-", None, "no format is known"),
        ("-", "parquet", "written to a file"),
        ("out.parquet.gz", None, "packed already"),
        ("nowhere/out.csv", None, "its folder does not exist – create .*/nowhere, or name another"),
    ],
)
def test_what_cannot_be_written(path: Path, tmp_path: Path, name: str, form: str | None, text: str) -> None:
    target = Path("-") if name == "-" else tmp_path / name
    with pytest.raises(StoreError, match=text):
        export(path, target, form=form)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("the last one")
    with pytest.raises(MissingDatabase):
        export(tmp_path / "relay.db", target)
    read(tmp_path / "other.db", "CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="holds no ledger"):
        export(tmp_path / "other.db", target)
    read(tmp_path / "older.db", "CREATE TABLE requests (id, started_at)")
    with pytest.raises(StoreError, match="an older Claude Relay wrote it – start"):
        export(tmp_path / "older.db", target, table="charges")
    assert target.read_text() == "the last one"


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.csv", "csv"), ("a.NDJSON.gz", "jsonl"), ("a.b.parquet", "parquet"), ("csv", None), ("a.gz", None)],
)
def test_names_say_the_format(name: str, form: str | None) -> None:
    assert format_of(name) == form


def test_charges_as_parquet_have_no_time(path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "charges.parquet"
    assert export(path, target, table="charges") == 10
    assert parquet.read_table(target).to_pylist() == stored(path, "SELECT * FROM charges ORDER BY request")
