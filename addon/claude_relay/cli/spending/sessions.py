"""`usage sessions`: what each session cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Final

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.cli.console.width import fitting
from claude_relay.core.times import utc
from claude_relay.store.ledger.lookups import COLUMNS, Session

from .cells import about, count, dollars, estimates, no_room, percent
from .forms import ROWS, console
from .source import FIRST_REQUEST

CELLS: Final[Mapping[str, Callable[[Session], str]]] = {
    "first": lambda one: local(one.first),
    "last": lambda one: local(one.last),
    "reqs": lambda one: count(one.requests),
    "tok.\nin": lambda one: count(_in(one)),
    "tok.\nout": lambda one: count(one.output_tokens),
    "cache\nhit": lambda one: percent(one.cache_hit_rate),
    "cost": lambda one: about(one.estimated) + dollars(one.cost_usd),
}
"""A table's columns after session and project. Here what went in includes what the cache held."""
EXPENDABLE: Final = ("first", "cache\nhit", "tok.\nout", "tok.\nin")
NAMES: Final = 26
"""Columns of the terminal for session and project, at least."""


def local(at: str) -> str:
    """A time of the ledger, here, to the minute."""
    return f"{utc(at).astimezone():%m-%d %H:%M}"


def _in(one: Session) -> int | None:
    known = [n for n in (one.input_tokens, one.cache_read_tokens, one.cache_write_tokens) if n is not None]
    return sum(known) if known else None


def as_json(found: list[Session], path: Path) -> None:
    """One object."""
    document = {"database": str(path), "sessions": [asdict(one) for one in found]}
    echo_json(document)


def as_csv(found: list[Session], path: Path) -> None:
    """A line for each."""
    write_csv([["session", *COLUMNS[1:]], *map(astuple, found)])


def as_table(found: list[Session], path: Path) -> None:
    """For people; the time zone is this machine's."""
    if not found:
        echo(f"No sessions in {shown_path(path)}. {FIRST_REQUEST}")
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    listed = found[:ROWS]
    cells = {title: [cell(one) for one in listed] for title, cell in CELLS.items()}
    screen = console()
    widths = {title: max(map(len, (*title.split("\n"), *column))) + 1 for title, column in cells.items()}
    shown = fitting(widths, EXPENDABLE, screen.width - NAMES)
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("session", overflow="fold", min_width=12)
    table.add_column("project", overflow="fold", min_width=12, max_width=24)
    for title in shown:
        table.add_column(title, justify="right", no_wrap=True)
    for one, *row in zip(listed, *(cells[title] for title in shown), strict=True):
        table.add_row(Text(one.id), Text(one.project or "—"), *row)
    screen.print(table)
    if len(shown) < len(cells):
        screen.print(no_room(cells, shown), style="dim")
    if estimated := sum(one.estimated for one in found):
        screen.print(estimates(estimated), style="dim")
    if len(found) > ROWS:
        screen.print(f"{ROWS} of {len(found):,} sessions: the latest. --json and --csv have each.", style="dim")


FORMS: Final[Mapping[str | None, Callable[[list[Session], Path], None]]] = {
    None: as_table,
    "json": as_json,
    "csv": as_csv,
}
