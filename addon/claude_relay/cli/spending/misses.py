"""`usage cache`: what missed the prompt cache, by cause."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Final

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.core.accounting.cache_misses import explained
from claude_relay.store.ledger.missed import COLUMNS, CacheMisses

from .cells import count, dollars
from .forms import console

CELLS: Final[Mapping[str, Callable[[CacheMisses], str]]] = {
    "misses": lambda one: count(one.requests),
    "sessions": lambda one: count(one.sessions),
    "tokens": lambda one: count(one.tokens),
    "cost": lambda one: dollars(one.usd),
}
"""A table's columns after the cause."""


def as_json(found: Sequence[CacheMisses], path: Path) -> None:
    """One object with the causes and their sum."""
    echo_json({"database": str(path), "causes": [asdict(one) for one in found], "usd": total(found)})


def as_csv(found: Sequence[CacheMisses], path: Path) -> None:
    """A line for each cause."""
    write_csv([list(COLUMNS), *map(astuple, found)])


def as_table(found: Sequence[CacheMisses], path: Path) -> None:
    """For people."""
    if not found:
        echo(f"No requests in {shown_path(path)} missed the prompt cache, as far as is known.")
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), show_footer=True)
    table.add_column("cause", footer="total", no_wrap=True)
    requests, tokens = sum(one.requests for one in found), sum(one.tokens for one in found)
    for title, footer in zip(CELLS, (count(requests), "", count(tokens), dollars(total(found))), strict=True):
        table.add_column(title, footer=footer, justify="right", no_wrap=True)
    table.add_column("most often", overflow="fold")
    for one in found:
        table.add_row(Text(one.cause), *(cell(one) for cell in CELLS.values()), Text(explained(one.place)))
    screen = console()
    screen.print(table)
    if unpriced := sum(one.unpriced for one in found):
        screen.print(f"Without a price: {unpriced:,}.", style="dim")


def total(found: Sequence[CacheMisses]) -> float | None:
    """What all causes cost together; None: nothing has a price."""
    known = [one.usd for one in found if one.usd is not None]
    return sum(known) if known else None


FORMS: Final[Mapping[str | None, Callable[[Sequence[CacheMisses], Path], None]]] = {
    None: as_table,
    "json": as_json,
    "csv": as_csv,
}
