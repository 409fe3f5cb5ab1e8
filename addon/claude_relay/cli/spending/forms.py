"""A report as a table, JSON or CSV. Tables shorten big numbers, JSON and CSV do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import echo, echo_json, write_csv
from claude_relay.cli.console.width import PIPE, fitting, is_limited
from claude_relay.core.installation import command
from claude_relay.core.times import iso
from claude_relay.store.ledger.lines import COLUMNS, Line
from claude_relay.store.ledger.reports import TIMES, Report

from .cells import CELLS, EXPENDABLE, estimates, no_room
from .charts import bar, sparkline, squeezed
from .source import FIRST_REQUEST

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NOBODY: Final = {
    "model": "(no model)",
    "served": "(none)",
    "key": "(the client's own)",
    "client": "(not named)",
    "client-group": "(in no group)",
    "provider": "(none)",
    "session": "(no session)",
    "project": "(no project)",
    "error": "(no error)",
    "proxy": "(not known)",
}
"""What a table calls the requests that have no such thing."""

NAMELESS: Final = {
    "client": f"Clients have names when they have keys: {command('clients')} add NAME.",
    "project": "A project's name comes with the header x-relay-project, or from Claude Code.",
    "session": "Sessions are those of Claude Code.",
    "proxy": "Of requests before this version, and of those without an attempt, it is not known.",
}
"""Why no request may have such a thing."""

NAME: Final = 10
"""Columns that a name has at least."""
LONGEST_NAME: Final = 20
"""For names up to this length columns are left out rather than that they are folded."""
BAR: Final = 4
LISTED: Final = 3
"""Models without a price that are named."""
ROWS: Final = 200
"""Lines of a table at most: nobody reads more, and each takes a millisecond to lay out."""


def as_json(report: Report, path: Path) -> None:
    """One object with the rows and the total."""
    document = {
        "database": str(path),
        "by": report.by,
        "since": iso(report.since) if report.since else None,
        "until": iso(report.until) if report.until else None,
        "exact": report.exact,
        "rows": [_named(line) for line in report.lines],
        "total": {name: value for name, value in _named(report.total).items() if name != "name"},
        "unpriced": [{"model": model, "requests": requests} for model, requests in report.unpriced.items()],
    }
    echo_json(document)


def _named(line: Line) -> dict[str, Any]:
    return dict(zip(COLUMNS, astuple(line), strict=True))


def as_csv(report: Report, path: Path) -> None:
    """A line for each group, without the total."""
    write_csv([[report.by, *COLUMNS[1:]], *map(astuple, report.lines)])


def as_table(report: Report, path: Path) -> None:
    """For people."""
    if not report.lines:
        echo(_nothing(report, path))
        return
    screen = console()
    for part in parts(report, path, screen.width, pictures=is_limited()):
        screen.print(part)


FORMS: Final[Mapping[str | None, Callable[[Report, Path], None]]] = {None: as_table, "json": as_json, "csv": as_csv}


def console() -> Console:
    """The terminal, or a wide one: a pipe has no edge."""
    from claude_relay.cli.console.screen import Screen

    return Screen(highlight=False, width=None if is_limited() else PIPE)


def parts(report: Report, path: Path, width: int, *, pictures: bool) -> list[RenderableType]:
    """The table and the lines below it, for so many columns."""
    from rich.text import Text

    if not report.lines:
        return [Text(_nothing(report, path), overflow="fold")]
    bars = pictures and report.by not in TIMES
    short = _shortened(report)
    shown = _fitting(short, width - _name_width(short) - (BAR + 1) * bars) if pictures else list(CELLS)
    found: list[RenderableType] = [_table(short, shown, bars=bars)]
    if pictures and report.by in TIMES:
        found.append(Text(_sparks(report, width)))
    if len(short.lines) < len(report.lines):
        found.append(Text(_cut(report), style="dim"))
    if len(shown) < len(CELLS):
        found.append(Text(no_room(CELLS, shown), style="dim"))
    if report.by in NAMELESS and all(line.name is None for line in report.lines):
        found.append(Text(NAMELESS[report.by], style="dim"))
    if report.total.estimated:
        found.append(Text(estimates(report.total.estimated), style="dim"))
    if report.unpriced:
        found.append(Text(_unpriced(report), style="yellow"))
    return found


def _nothing(report: Report, path: Path) -> str:
    span = f" since {report.since:%Y-%m-%d %H:%M}" if report.since else ""
    span += f" until {report.until:%Y-%m-%d %H:%M}" if report.until else ""
    if report.unfiltered:
        why = f" {NAMELESS['client']}" if report.only.client is not None else ""
        what = "The only request" if report.unfiltered == 1 else f"None of the {report.unfiltered:,} requests"
        ending = "does not fit" if report.unfiltered == 1 else "fits"
        return f"{what}{span} in {shown_path(path)} {ending} {report.only}.{why}"
    if span:
        return f"No requests{span} in {shown_path(path)}."
    return f"No requests yet in {shown_path(path)}. {FIRST_REQUEST}"


def _shortened(report: Report) -> Report:
    """With ROWS lines at most: the last times, or the groups with most cost; the total stays that of all."""
    if len(report.lines) <= ROWS:
        return report
    if report.by in TIMES:
        return replace(report, lines=report.lines[-ROWS:])
    _, weight = _weight(report)
    kept = sorted(nlargest(ROWS, range(len(report.lines)), key=lambda n: weight(report.lines[n])))
    return replace(report, lines=tuple(report.lines[n] for n in kept))


def _cut(report: Report) -> str:
    most = "cost" if _weight(report)[0] == "cost" else "requests"
    which = "the last" if report.by in TIMES else f"those with most {most}"
    return f"{ROWS} of {len(report.lines):,} lines: {which}. The total is of all; --json and --csv have each."


def _name_width(report: Report) -> int:
    """What the names take, as far as that leaves most columns their room; longer ones are folded."""
    return max(NAME, min(LONGEST_NAME, max(len(line.name or "") for line in report.lines)))


def _fitting(report: Report, room: int) -> list[str]:
    """The columns that have room, the expendable ones left out first."""
    lines = (*report.lines, report.total)
    widths = {
        title: max(*(len(cell(line)) for line in lines), *map(len, title.split("\n"))) + 1
        for title, cell in CELLS.items()
    }
    return fitting(widths, EXPENDABLE, room)


def _weight(report: Report) -> tuple[str, Callable[[Line], float]]:
    """What pictures show: the cost, where it is known of anything."""
    if report.total.cost_usd:
        return "cost", lambda line: line.cost_usd or 0.0
    return "reqs", lambda line: line.requests


def _table(report: Report, shown: list[str], *, bars: bool) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_footer=True, show_edge=False, padding=0)
    table.add_column(report.by, footer="total", overflow="fold", min_width=NAME)
    title, weight = _weight(report)
    most = max(map(weight, report.lines)) or 1
    if bars:
        table.add_column(f"\n{title}", no_wrap=True)
    for column in shown:
        table.add_column(column, footer=CELLS[column](report.total), justify="right", no_wrap=True)
    for line in report.lines:
        name = NOBODY[report.by] if line.name is None else line.name
        picture = [Text(bar(weight(line) / most, BAR), style="cyan")] if bars else []
        table.add_row(Text(name), *picture, *(CELLS[column](line) for column in shown))
    return table


def _sparks(report: Report, width: int) -> str:
    title, weight = _weight(report)
    first, last = report.lines[0].name or "", report.lines[-1].name or ""
    room = max(width - len(f"{title} {first}  {last}"), 1)
    return f"{title} {first} {sparkline(squeezed([weight(line) for line in report.lines], room))} {last}"


def _unpriced(report: Report) -> str:
    names = [model or "(no model)" for model in report.unpriced]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    number = sum(report.unpriced.values())
    return (
        f"Without a price: {number:,} requests of {', '.join(names[:LISTED])}{more}; `prices` in relay.yaml gives one."
    )
