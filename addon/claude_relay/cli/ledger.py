"""`ledger`: back the database up, hand its rows to other programs, delete what is old, look at kept bodies."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from claude_relay.core.times import duration
from claude_relay.store import audit
from claude_relay.store.audit import Act
from claude_relay.store.db import upkeep
from claude_relay.store.db.backup import backup as back_up
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only
from claude_relay.store.ledger.bodies import StoredBody
from claude_relay.store.ledger.bodies import read as read_bodies
from claude_relay.store.ledger.export import FORMATS, TABLES
from claude_relay.store.ledger.export import export as export_rows

from .console.acting import acting
from .console.common import CONFIG_HELP, load_config, load_database, shown_path
from .console.terminal import Failure, confirm, echo, written_to
from .console.when import When

NEEDS_IT_ALONE = (
    "{path} is in use, and it was created by a version whose files cannot shrink meanwhile. End all relays and programs "
    "that have it open, then run this once; from then on it shrinks while in use. Until then new rows fill the free room."
)


class Period(click.ParamType[float]):
    """A length of time, as in relay.yaml."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into seconds; says which forms there are when it cannot."""
        try:
            return duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


def database_options[F: Callable[..., Any]](command: F) -> F:
    """The options that say which database is meant."""
    kind = click.Path(path_type=Path)
    command = click.option("--config", help=CONFIG_HELP)(command)
    return click.option("--database", type=kind, help="Default: the configuration's `database`.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def ledger() -> None:
    """Back up, export, shrink and look into the database; all of it also while relays run.

    \b
    Examples:
      scripts/ledger backup /backups/relay.db
      scripts/ledger export week.csv.gz --since 7d
      scripts/ledger prune --keep 90d
    """


@ledger.command(short_help="Copy the database as it is now to a file.")
@click.argument("file", type=click.Path(path_type=Path))
@database_options
def backup(file: Path, database: Path | None, config: str | None) -> None:
    """Copy the database as it is now to FILE, which is replaced once the copy is complete and checked.

    The vault's keys are in the copy, sealed. The secret that opens them is not: keep RELAY_SECRET, the system's keyring or
    the file `….secret` beside the database elsewhere, or the keys of the backup are lost.

    \b
    Example:
      scripts/ledger backup /backups/relay.db
    """
    path = database or load_database(config)
    with _explained(path), _progress("Copying") as report:
        size = back_up(path, file, progress=report)
    echo(f"{shown_path(file)}: {_bytes(size)}, checked. The vault's secret is not in it.")


@ledger.command(short_help="Write rows to a file: CSV, JSON lines or Parquet.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--table", type=click.Choice(list(TABLES)), default="requests", show_default=True, help="Which rows.")
@click.option("--since", type=When(), help="Only requests since then: 24h, 7d, 2w, 2026-11-01, 2026-11-01T08:00.")
@click.option("--until", type=When(), help="Only requests before then.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: what the name of FILE says.")
@database_options
def export(
    file: Path,
    table: str,
    since: datetime | None,
    until: datetime | None,
    form: str | None,
    database: Path | None,
    config: str | None,
) -> None:
    """Write rows to FILE: .csv, .jsonl or .parquet; the first two packed when .gz follows. `-`: the standard output.

    Attempts go by the time of their request. Parquet needs the extra `parquet`.

    \b
    Examples:
      scripts/ledger export november.csv.gz --since 2026-11-01
      scripts/ledger export attempts.parquet --table attempts
      scripts/ledger export - --format jsonl --since 1h | jq .served_model
    """
    path = database or load_database(config)
    with _explained(path, to_stdout=str(file) == "-"), _progress("Writing rows") as report, written_to(file) as target:
        written = export_rows(path, target, table=table, form=form, since=since, until=until, progress=_summed(report))
    echo(f"{shown_path(file)}: {written:,} {table}", err=str(file) == "-")


@ledger.command(short_help="Delete old requests, with their attempts and bodies.")
@click.option(
    "--keep", type=Period(), help="Delete what is older: 90d, 2w. Default: `ledger.keep` of the configuration."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_options
@click.pass_context
def prune(ctx: click.Context, keep: float | None, yes: bool, database: Path | None, config: str | None) -> None:
    """Delete old requests with their attempts and bodies, then give the room back. A relay does the same every six hours.

    Relays go on meanwhile: it works in small steps.

    \b
    Example:
      scripts/ledger prune --keep 90d
    """
    settings = load_config(config)
    path = database or settings.database
    period = settings.ledger.keep if keep is None else keep
    bodies_keep = settings.ledger.bodies.keep if settings.ledger.bodies else None
    now = time.time()
    if period is not None and keep is not None and not yes:
        confirm(f"Delete all that is older than {_date(now - period)} from {shown_path(path)}?")
    with _explained(path):
        _note(path, "prune", older_than=None if period is None else _date(now - period))
        with _progress("Deleting") as report:
            gone = upkeep.prune(path, keep=period, bodies_keep=bodies_keep, now=now, progress=_summed(report))
        space = _give_back(path, upkeep.SPARE)
    counts = f"{gone.requests:,} requests, {gone.attempts:,} attempts and {gone.bodies:,} bodies"
    echo(f"{shown_path(path)}: {counts} deleted. {_space_line(space)}")


@ledger.command()
@database_options
def vacuum(database: Path | None, config: str | None) -> None:
    """Give free room in the database back to the system.

    While relays run it works in small steps. When none does it rewrites the file without gaps, for which the disk needs up
    to twice the file's size; a relay that starts then waits until it is done.

    \b
    Example:
      scripts/ledger vacuum
    """
    path = database or load_database(config)
    with _explained(path):
        _note(path, "vacuum")
        try:
            with _progress("Rewriting"):
                space = upkeep.vacuum(path)
        except upkeep.InUse:
            if not upkeep.can_shrink(path):
                raise Failure(NEEDS_IT_ALONE.format(path=shown_path(path))) from None
            space = _give_back(path, 0.0)
    echo(f"{shown_path(path)}: {_space_line(space)}")


@ledger.command(short_help="Print what was sent and answered for one request.")
@click.argument("request")
@database_options
def bodies(request: str, database: Path | None, config: str | None) -> None:
    """Print what was sent and answered for one REQUEST (an id of the ledger), as far as its bodies were kept.

    They are when relay.yaml has `ledger: {bodies: {keep: 7d}}`. Keys are not in them; prompts and answers are.

    \b
    Example:
      scripts/ledger bodies req_relay_0199f3c2
    """
    path = database or load_database(config)
    with _explained(path), closing(read_only(path)) as connection:
        found = read_bodies(connection, request)
    if not found:
        raise Failure(
            f"No bodies of {request} in {shown_path(path)}; they are kept while relay.yaml has `ledger: {{bodies: …}}`."
        )
    for stored in found:
        echo(_title(stored), bold=True)
        echo(stored.body.decode("utf-8", "replace"))


def _title(stored: StoredBody) -> str:
    whose = f"attempt {stored.n}" if stored.n else "the client's"
    size = f"{stored.size:,} bytes" + (f", the first {len(stored.body):,} of them" if stored.truncated else "")
    return f"── {whose} · {stored.kind} · {stored.at.astimezone():%Y-%m-%d %H:%M:%S} · {size}"


def _give_back(path: Path, spare: float) -> upkeep.Vacuumed:
    with _progress("Freeing") as report:
        first: list[int] = []

        def left(pages: int) -> None:
            first[:] = first or [pages]
            report(first[0] - pages, first[0])

        return upkeep.give_back(path, spare=spare, progress=left)


def _note(path: Path, act: str, **values: str | None) -> None:
    """In the audit log before it begins: it takes many transactions."""
    audit.record(path, acting(), Act(act, "ledger", path.name, None, values))


def _space_line(space: upkeep.Vacuumed) -> str:
    spare = f", {_bytes(space.spare)} of it free for new rows" if space.spare else ""
    return f"{_bytes(space.before)} before, {_bytes(space.after)} now{spare}."


@contextmanager
def _explained(path: Path, *, to_stdout: bool = False) -> Iterator[None]:
    """`to_stdout`: that it cannot be written is no matter of the database's."""
    try:
        yield
    except MissingDatabase:
        raise Failure(f"There is no database at {shown_path(path)}; the relay creates it when it starts.") from None
    except StoreError as error:
        raise Failure(str(error)) from None
    except (sqlite3.Error, OSError) as error:
        if to_stdout and isinstance(error, OSError):
            raise
        raise Failure(explain(path, error)) from None


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """Something that moves, on a terminal: a bar when the total is known, else how much was done."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    from .console.screen import Screen

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}"))
    with Progress(*columns, console=Screen(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summed(report: Callable[[int, int | None], None]) -> Callable[[int], None]:
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        report(done, None)

    return more


def _bytes(size: float) -> str:
    """Bytes for people, in powers of 1024.

    >>> _bytes(12_345)
    '12.1 KiB'
    """
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _date(moment: float) -> str:
    try:
        return f"{datetime.fromtimestamp(moment):%Y-%m-%d %H:%M}"
    except (OverflowError, ValueError, OSError):
        return "the calendar"
