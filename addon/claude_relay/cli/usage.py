"""`usage`: what was used, as a table, JSON or CSV, while the relay runs or not."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from claude_relay.core.config.durations import seconds
from claude_relay.store.database import MissingDatabase, StoreError, read_only
from claude_relay.store.reports import COLUMNS, GROUPS, Line, Report, summarise

from .common import CONFIG_HELP, load_config, shown_path

NOBODY = {
    "model": "(no model)",
    "key": "(the client's own)",
    "client": "(not named)",
    "provider": "(none)",
    "session": "(no session)",
    "day": "(no day)",
}
"""What a table calls the requests that have no such thing."""

FIRST_REQUEST = "Send a first one: start scripts/relay, then in another shell: scripts/env -- claude"


class Since(click.ParamType[datetime]):
    """A moment: a length of time before now, or a date or time of this machine's time zone."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Turn the text into an aware datetime; says which forms there are when it cannot."""
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            pass
        try:
            return datetime.now().astimezone() - timedelta(seconds=seconds(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a length of time (24h, 7d, 2w) nor a date (2026-11-01)", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--by", type=click.Choice(list(GROUPS)), default="model", show_default=True, help="One line for each …")
@click.option("--since", type=Since(), help="Only requests since then: 24h, 7d, 2w, 2026-11-01, 2026-11-01T08:00.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV, without the total.")
@click.option(
    "--database", type=click.Path(path_type=Path), help="The ledger. Default: the configuration's `database`."
)
@click.option("--config", help=CONFIG_HELP)
def usage(by: str, since: datetime | None, form: str | None, database: Path | None, config: str | None) -> None:
    """Show what was used: requests, errors, tokens, cache hits, cost and time to the first token.

    Days begin at midnight of this machine's time zone. Tables shorten big numbers, JSON and CSV do not.

    \b
    Examples:
      scripts/usage --since 7d
      scripts/usage --by session --since 2026-11-01
      scripts/usage --by day --csv > usage.csv
    """
    path = database or load_config(config).database
    report = _read(path, by, since)
    FORMS[form](report, path)


def _read(path: Path, by: str, since: datetime | None) -> Report:
    try:
        with closing(read_only(path)) as connection:
            return summarise(connection, by=by, since=since)
    except MissingDatabase:
        raise click.ClickException(
            f"There is no ledger at {shown_path(path)}; the relay creates it when it starts. {FIRST_REQUEST}"
        ) from None
    except StoreError as error:
        raise click.ClickException(str(error)) from None


def _as_json(report: Report, path: Path) -> None:
    def named(line: Line) -> dict[str, Any]:
        return dict(zip(COLUMNS, astuple(line), strict=True))

    total = named(report.total)
    del total["name"]
    since = report.since.isoformat() if report.since else None
    rows = [named(line) for line in report.lines]
    document = {"database": str(path), "by": report.by, "since": since, "rows": rows, "total": total}
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _as_csv(report: Report, path: Path) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([report.by, *COLUMNS[1:]])
    writer.writerows(astuple(line) for line in report.lines)


def _as_table(report: Report, path: Path) -> None:
    if not report.lines:
        nothing = f"No requests since {report.since:%Y-%m-%d %H:%M}" if report.since else "No requests yet"
        click.echo(f"{nothing} in {shown_path(path)}." + ("" if report.since else f" {FIRST_REQUEST}"))
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_footer=True, show_edge=False, padding=0)
    table.add_column(report.by, footer="total", overflow="fold", min_width=10)
    for title, cell in CELLS.items():
        table.add_column(title, footer=cell(report.total), justify="right", no_wrap=True)
    for line in report.lines:
        name = NOBODY[report.by] if line.name is None else line.name
        table.add_row(Text(name), *(cell(line) for cell in CELLS.values()))
    roomy = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160  # a pipe has no edge
    Console(highlight=False, width=roomy).print(table)


FORMS: dict[str | None, Callable[[Report, Path], None]] = {None: _as_table, "json": _as_json, "csv": _as_csv}


def _count(number: int | None) -> str:
    """Three digits or more of the number: 999, 12.3k, 4.56M; a dash when unknown."""
    if number is None:
        return "—"
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.{_decimals(number / size)}f}{unit}"
    return str(number)


def _decimals(number: float) -> int:
    return 0 if number >= 99.95 else 1 if number >= 9.995 else 2


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.0f}%"


def _dollars(cost: float | None) -> str:
    return "—" if cost is None else f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "—"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f}ms"
    return f"{milliseconds / 1000:.{int(milliseconds < 99_950)}f}s"


CELLS: dict[str, Callable[[Line], str]] = {
    "reqs": lambda line: _count(line.requests),
    "er-\nrors": lambda line: _count(line.errors),
    "re-\ntried": lambda line: _percent(line.retried / line.requests if line.requests else None),
    "tok.\nin": lambda line: _count(line.input_tokens),
    "tok.\nout": lambda line: _count(line.output_tokens),
    "cache\nread": lambda line: _count(line.cache_read_tokens),
    "cache\nwrite": lambda line: _count(line.cache_write_tokens),
    "cache\nhit": lambda line: _percent(line.cache_hit_rate),
    "cost": lambda line: _dollars(line.cost_usd),
    "ttft\np50": lambda line: _time(line.ttft_p50_ms),
    "ttft\np95": lambda line: _time(line.ttft_p95_ms),
}
"""A table's columns after the name: none wider than five characters but the cost, so that 80 columns hold them all."""
