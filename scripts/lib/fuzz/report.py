"""What a person sees of a run: eighty columns, one table, and each finding with the line that repeats it."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .campaign import Result
from .cases import PARTS

WIDTH = 80


def show(result: Result, seed: int, console: Console) -> None:
    """The table of parts, then the findings."""
    if result.sent:
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("part")
        for title in ("cases", "answered", "an upstream was asked"):
            table.add_column(title, justify="right")
        for part in PARTS:
            if sent := result.sent[part]:
                table.add_row(part, str(sent), str(result.answered[part]), str(result.reached[part]))
        console.print(table)
    begin, end = (f"{size / 1e6:.0f} MB" for size in result.memory)
    console.print(
        f"{sum(result.sent.values())} cases in {result.seconds:.0f} s with seed {seed}; {result.good} requests of others beside them, the "
        f"slowest in {result.slowest:.2f} s; memory {begin} to {end}"
    )
    if not result.findings:
        console.print("[green]✔[/] every invariant held")
    for number, finding in enumerate(result.findings):
        console.print(f"[red]✘[/] [bold]{finding.invariant}[/]: {escape(finding.what)}")
        if path := result.kept.get(number):
            console.print(f"  [dim]→[/] scripts/fuzz --replay {escape(shown(path))}", soft_wrap=True)


def shown(path: Path) -> str:
    """As a person here would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def console() -> Console:
    """As wide as the other commands' output, at most."""
    found = Console(highlight=False)
    return found if found.width <= WIDTH else Console(highlight=False, width=WIDTH)
