"""Rows of the ledger for other programs: CSV, JSON lines or Parquet, packed with gzip when the name ends in .gz.

    export(Path("relay.db"), Path("november.csv.gz"), since=datetime(2026, 11, 1, tzinfo=UTC))     → rows

Rows stream: memory does not grow with their number. Columns are those of the table, in its order; None is empty in CSV,
null elsewhere. Parquet needs pyarrow, and has `started_at` as a timestamp in UTC.

What this module must not know: where a report's figures come from, terminals.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import batched
from pathlib import Path
from typing import Any, TextIO

import msgspec

from claude_relay.core.installation import installing
from claude_relay.core.times import iso
from claude_relay.store.db.database import StoreError, explain, read_only
from claude_relay.store.db.replacing import replacing

from .reports import explained

ROWS = 5000
GROUP = 50_000
"""Rows of a row group in Parquet."""

TABLES = {
    "requests": "SELECT requests.* FROM requests {where} ORDER BY requests.started_at, requests.rowid",
    "attempts": "SELECT attempts.* FROM requests JOIN attempts ON attempts.request = requests.id {where} "
    "ORDER BY requests.started_at, requests.rowid, attempts.n",
    "charges": "SELECT charges.* FROM requests JOIN charges ON charges.request = requests.id {where} "
    "ORDER BY requests.started_at, requests.rowid, charges.attempt, charges.n",
}
"""Attempts and charges are chosen by the time of their request, so that the files of all tables belong together."""

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".pq": "parquet"}
FORMATS = ("csv", "jsonl", "parquet")
STDOUT = Path("-")
GET_PYARROW = f"Parquet needs the package pyarrow – this installs it: {installing('parquet', name='ledger')}"

type Row = tuple[Any, ...]
type Rows = Iterator[Sequence[Row]]
type Moment = datetime | None


def format_of(name: str) -> str | None:
    """The format that a file's name asks for; None when it says nothing.

    >>> format_of("november.csv.gz"), format_of("-")
    ('csv', None)
    """
    return SUFFIXES.get(Path(name.lower().removesuffix(".gz")).suffix)


def export(
    path: Path,
    target: Path,
    *,
    table: str = "requests",
    form: str | None = None,
    since: Moment = None,
    until: Moment = None,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Write the rows whose request started at `since` or later and before `until` to `target`; returns how many.

    table     one of TABLES
    form      one of FORMATS; None: by the name of the target. A target of `-` is the standard output, not for Parquet
    progress  is told every few thousand rows how many more were written
    The target is replaced once everything is in it. Raises MissingDatabase or StoreError.
    """
    form = form or format_of(target.name)
    if form is None:
        raise StoreError(f"{target}: no format is known by that name – end it in .csv, .jsonl or .parquet, or name one")
    if form == "parquet":
        _check_parquet(target)
    with closing(read_only(path)) as connection:
        try:
            cursor = _select(connection, table, since, until)
            rows = _Counted(cursor, progress)
            if target == STDOUT:
                TEXTS[form](sys.stdout, rows.columns, rows.batches())
            else:
                _to_file(target, form, rows, _types(connection, table))
        except (sqlite3.Error, OSError) as error:
            if target == STDOUT and isinstance(error, OSError):
                raise
            raise StoreError(explain(path if isinstance(error, sqlite3.Error) else target, error)) from error
    return rows.count


def _check_parquet(target: Path) -> None:
    if target == STDOUT or target.name.lower().endswith(".gz"):
        raise StoreError("Parquet is written to a file, and packed already – name one that ends in .parquet")
    _pyarrow("pyarrow")


def _pyarrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise StoreError(GET_PYARROW) from None


class _Counted:
    """The rows of a cursor, a few thousand at a time."""

    def __init__(self, cursor: sqlite3.Cursor, progress: Callable[[int], None] | None) -> None:
        self.columns = [column[0] for column in cursor.description]
        self.count = 0
        self._cursor = cursor
        self._progress = progress

    def batches(self) -> Rows:
        while rows := self._cursor.fetchmany(ROWS):
            yield rows
            self.count += len(rows)
            if self._progress:
                self._progress(len(rows))


def _select(connection: sqlite3.Connection, table: str, since: Moment, until: Moment) -> sqlite3.Cursor:
    bounds = {">=": since, "<": until}
    chosen = {sign: iso(moment) for sign, moment in bounds.items() if moment}
    where = " AND ".join(f"requests.started_at {sign} ?" for sign in chosen)
    try:
        return connection.execute(TABLES[table].format(where=f"WHERE {where}" if where else ""), list(chosen.values()))
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


def _types(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    return {name: kind for _, name, kind, *_ in connection.execute(f"PRAGMA table_info({table})")}


def _to_file(target: Path, form: str, rows: _Counted, types: dict[str, str]) -> None:
    with replacing(target) as unfinished:
        if form == "parquet":
            _parquet(unfinished, types, rows.batches())
            return
        with _text_file(unfinished, packed=target.name.lower().endswith(".gz")) as stream:
            TEXTS[form](stream, rows.columns, rows.batches())


@contextmanager
def _text_file(path: Path, *, packed: bool) -> Iterator[TextIO]:
    if not packed:
        with path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    # Without name and time, so that the same rows give the same file.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as gz,
        io.TextIOWrapper(gz, "utf-8") as stream,
    ):
        yield stream


def _csv(stream: TextIO, columns: Sequence[str], rows: Rows) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for batch in rows:
        writer.writerows(batch)


def _jsonl(stream: TextIO, columns: Sequence[str], rows: Rows) -> None:
    encode = msgspec.json.Encoder().encode
    for batch in rows:
        stream.writelines(f"{encode(dict(zip(columns, row, strict=True))).decode()}\n" for row in batch)


TEXTS: dict[str, Callable[[TextIO, Sequence[str], Rows], None]] = {"csv": _csv, "jsonl": _jsonl}


def _parquet(path: Path, types: dict[str, str], rows: Rows) -> None:
    pa, parquet = _pyarrow("pyarrow"), _pyarrow("pyarrow.parquet")
    kinds = {"TEXT": pa.string(), "INTEGER": pa.int64(), "REAL": pa.float64()}
    times = pa.timestamp("ms", tz="UTC")
    schema = pa.schema([(name, times if name == "started_at" else kinds[kind]) for name, kind in types.items()])
    moment = schema.get_field_index("started_at")  # -1: there is none
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in batched(rows, GROUP // ROWS):
            columns = [list(column) for column in zip(*(row for batch in group for row in batch), strict=True)]
            if moment >= 0:
                columns[moment] = [datetime.fromisoformat(text) for text in columns[moment]]
            writer.write_table(pa.table(columns, schema=schema))
