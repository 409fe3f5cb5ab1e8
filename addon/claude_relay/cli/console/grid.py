"""A table of columns as wide as they need, as far as there is room.

    show({"client": ["alice"], "note": ["…"]}, always=("client",), expendable=("note",), wraps={"note": 20})

Columns in which nothing stands are left out; of the others as many as fit, and a line below says which do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from .terminal import echo
from .width import columns, fitting, shares

BETWEEN = 2
"""Columns between two."""
WIDEST = 40
"""Columns that a cell wants at most; more is folded."""

type Cells = Mapping[str, Sequence[str]]
"""Title → a cell for each row."""


def show(
    cells: Cells,
    *,
    always: Collection[str] = (),
    expendable: Sequence[str] = (),
    wraps: Mapping[str, int] | None = None,
    right: Collection[str] = (),
    style: Callable[[str, str], str] = lambda title, cell: "",
    more: str = "--json has them",
) -> None:
    """Print it.

    expendable  columns that may be left out, the first one first
    wraps       columns that stay readable in this width
    right       columns of figures
    style       of a cell, by its title and text
    """
    filled = {title: column for title, column in cells.items() if title in always or any(column)}
    least = {title: _readable(title, column, wraps or {}) for title, column in filled.items()}
    shown = fitting({title: width + BETWEEN for title, width in least.items()}, expendable, columns())
    _print({title: filled[title] for title in shown}, least, right, style)
    if left_out := [title for title in filled if title not in shown]:
        echo(f"No room for: {', '.join(left_out)}. {more[:1].upper()}{more[1:]}.", err=True)


def _readable(title: str, column: Sequence[str], wraps: Mapping[str, int]) -> int:
    return min(max(map(len, (title, *column))), max(wraps.get(title, WIDEST), len(title)))


def _print(cells: Cells, least: Mapping[str, int], right: Collection[str], style: Callable[[str, str], str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from .screen import Screen

    grid = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    wanted = {title: max(map(len, (title, *column))) for title, column in cells.items()}
    room = columns() - BETWEEN * len(cells)
    for title, width in shares({title: least[title] for title in cells}, wanted, room).items():
        grid.add_column(title, overflow="fold", width=width, justify="right" if title in right else "left")
    for row in zip(*cells.values(), strict=True):
        grid.add_row(*(Text(cell, style=style(title, cell)) for title, cell in zip(cells, row, strict=True)))
    Screen(highlight=False, width=columns()).print(grid)


def details(lines: Sequence[tuple[str, str]]) -> None:
    """Print names and values below each other, folded within the width. A name that is empty goes on with the one before."""
    import textwrap

    margin = max((len(name) for name, _ in lines), default=0) + 2
    width = max(columns() - margin, 20)
    for name, value in lines:
        parts = textwrap.wrap(value, width, break_on_hyphens=False, drop_whitespace=True) or [""]
        for number, part in enumerate(parts):
            echo(f"{name if number == 0 else '':{margin}}{part}".rstrip())
