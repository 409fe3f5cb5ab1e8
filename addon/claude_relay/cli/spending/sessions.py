"""`usage sessions`: what each session cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, astuple
from datetime import datetime
from pathlib import Path
from typing import Final

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.store.ledger.lookups import COLUMNS, Session

from .cells import about, count, dollars, estimates, percent
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


def local(at: str) -> str:
    """A time of the ledger, here, to the minute."""
    return f"{datetime.fromisoformat(at).astimezone():%m-%d %H:%M}"


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

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("session", overflow="fold", min_width=12)
    table.add_column("project", overflow="fold", min_width=7, max_width=24)
    for title in CELLS:
        table.add_column(title, justify="right", no_wrap=True)
    for one in found[:ROWS]:
        table.add_row(Text(one.id), Text(one.project or "—"), *(cell(one) for cell in CELLS.values()))
    screen = console()
    screen.print(table)
    if estimated := sum(one.estimated for one in found):
        screen.print(estimates(estimated), style="dim")
    if len(found) > ROWS:
        screen.print(f"{ROWS} of {len(found):,} sessions: the latest. --json and --csv have each.", style="dim")


FORMS: Final[Mapping[str | None, Callable[[list[Session], Path], None]]] = {
    None: as_table,
    "json": as_json,
    "csv": as_csv,
}
