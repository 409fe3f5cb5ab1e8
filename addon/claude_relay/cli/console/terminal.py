"""How commands print: names in their lines come from clients and providers, and a terminal obeys what is in them.

    echo(f"Added {names}")          one line, on the standard output or error
    echo_json(document)             JSON, in which nothing is lost
    write_csv(rows)                 CSV for a spreadsheet, in which no cell is a formula
    raise Failure("…")              ends the command; tables: `screen.Screen`

Everything that a command prints passes one of these (tests/cli/test_terminal_escapes.py looks for others).
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from claude_relay.core.printable import harmless, harmless_json

from .output import speaks_utf8

FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection."""


def echo(text: object = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """Print one line or several. `style`: as `click.style` has it."""
    click.secho(harmless(str(text)), err=err, nl=nl, **style)


def echo_json(document: object) -> None:
    """Print one document."""
    as_ascii = not speaks_utf8(sys.stdout.encoding)
    click.echo(harmless_json(json.dumps(document, indent=2, ensure_ascii=as_ascii)))


def write_csv(rows: Iterable[Sequence[object]], *, for_import: bool = False) -> None:
    """Print rows. A name that would be a formula gets an apostrophe in front of it, unless the rows are to be read in again."""
    shown = harmless if sys.stdout.isatty() else str
    guarded = str if for_import else _no_formula
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([shown(guarded(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows)


@contextmanager
def written_to(file: Path) -> Iterator[Path]:
    """Where to write rows for other programs: the file itself. A terminal in its place, `-`, gets them when they are all there."""
    if str(file) != "-" or not sys.stdout.isatty():
        yield file
        return
    with TemporaryDirectory() as folder:
        yield (rows := Path(folder) / "rows")
        echo(rows.read_text(errors="replace"), nl=False)


def confirm(question: str) -> None:
    """Go on only when a person says so: ends the command otherwise. Whoever calls it has an option `--yes`."""
    try:
        click.confirm(harmless(question), abort=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise Failure("Nothing was done. Where nobody can answer, say --yes.") from None


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULAS) else cell


class Failure(click.ClickException):
    """Ends a command with a message."""

    def __init__(self, message: str) -> None:
        """As click has it."""
        super().__init__(harmless(message))
