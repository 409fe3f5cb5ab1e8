"""`usage list`: the newest requests, a line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.core.times import utc
from claude_relay.store.ledger.rows import REQUEST

from .cells import about, count, dollars, duration
from .forms import console
from .source import FIRST_REQUEST

if TYPE_CHECKING:
    from rich.console import RenderableType

type Row = Mapping[str, Any]


def as_json(rows: Sequence[Row], path: Path) -> None:
    """One object with all columns."""
    echo_json({"database": str(path), "requests": [dict(row) for row in rows]})


def as_csv(rows: Sequence[Row], path: Path) -> None:
    """A line for each, with all columns."""
    write_csv([list(REQUEST), *([row[name] for name in REQUEST] for row in rows)])


def as_table(rows: Sequence[Row], path: Path) -> None:
    """For people: what tells requests apart, in 80 columns."""
    if not rows:
        echo(f"No requests like that in {shown_path(path)}. {FIRST_REQUEST}")
        return
    screen = console()
    screen.print(table(rows, screen.width))


def table(rows: Sequence[Row], width: int) -> RenderableType:
    """The lines; the newest comes first, times are those of this machine's time zone. Below WIDE columns tokens are left out."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    shown = {title: cell for title, cell in CELLS.items() if width >= WIDE or title not in TOKENS}
    made = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in shown:
        made.add_column(
            title,
            justify="right" if title in NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=WIDTHS.get(title),
            ratio=RATIOS.get(title),
        )
    for row in rows:
        made.add_row(
            *(Text(cell(row)) for cell in shown.values()), style="" if row["finished"] == "complete" else "red"
        )
    return made


def key_of(row: Row) -> str:
    """Who answered."""
    return f"{row['provider']}/{row['key'] or 'client'}" if row["provider"] else "—"


def total_input(row: Row) -> int | None:
    """What went in, cached tokens included."""
    cached = (row["cache_read_tokens"], row["cache_write_5m_tokens"], row["cache_write_1h_tokens"])
    return None if row["input_tokens"] is None else row["input_tokens"] + sum(n or 0 for n in cached)


def ended(row: Row) -> str:
    """The status, or how else it ended."""
    return "left" if row["finished"] == "client_closed" else str(row["status"] or row["finished"])


def short(id: str) -> str:
    """As much of an id as `usage show` needs to find the request: the time in it to the millisecond, and two digits of chance."""
    return id.removeprefix("req_relay_")[:14]


CELLS: Final[Mapping[str, Callable[[Row], str]]] = {
    "time": lambda row: f"{utc(row['started_at']).astimezone():%H:%M:%S}",
    "request": lambda row: short(row["id"]),
    "model": lambda row: row["requested_model"] or row["path"],
    "key": key_of,
    "×": lambda row: str(row["attempts"]),
    "in": lambda row: count(total_input(row)),
    "out": lambda row: count(row["output_tokens"]),
    "cost": lambda row: about(row["estimated"]) + dollars(row["cost_usd"]),
    "took": lambda row: duration(row["duration_ms"]),
    "": ended,
}
TOKENS: Final = ("in", "out")
NUMBERS: Final = ("×", *TOKENS, "cost", "took", "")
WIDTHS: Final[Mapping[str, int]] = {"time": 8, "request": 14, "×": 1, "in": 5, "out": 5, "cost": 7, "took": 5, "": 3}
RATIOS: Final[Mapping[str, int]] = {"model": 3, "key": 2}
WIDE: Final = 92

FORMS: Final[Mapping[str | None, Callable[[Sequence[Row], Path], None]]] = {
    None: as_table,
    "json": as_json,
    "csv": as_csv,
}
