"""Files of other programs as documents: text, or the tables of an SQLite file.

read_document(Path("backup.json"), ())
read_document(Path("one-api.db"), ("tokens",))        -> {"tokens": [{"id": 1, …}, …]}
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from claude_relay.core.imports.decoding import document

from .common import shown_path
from .terminal import Failure

SQLITE = b"SQLite format 3\0"
MOST = 256 * 1024 * 1024
"""Bytes of a text at most."""


def read_document(file: Path, tables: Collection[str]) -> object:
    """What stands in it; `-`: the standard input. Raises ValueError for what cannot be read as anything; ends the command otherwise."""
    if str(file) == "-":
        return document(sys.stdin.buffer.read(MOST))
    try:
        with file.open("rb") as opened:
            if opened.read(len(SQLITE)) == SQLITE:
                if not tables:
                    raise ValueError("this is an SQLite file, which this gateway has none of")
                return _rows(file, tables)
            opened.seek(0)
            return document(opened.read(MOST))
    except OSError as error:
        raise Failure(f"{shown_path(file)}: {error.strerror}") from None


def _rows(file: Path, tables: Collection[str]) -> dict[str, list[dict[str, object]]]:
    """All rows of those of the tables that there are; nothing is written to the file."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            there = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            return {
                name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')]
                for name in tables
                if name in there
            }
    except sqlite3.Error as error:
        raise ValueError(f"it cannot be read: {error}") from None
