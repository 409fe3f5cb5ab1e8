"""`clients export` and `clients import`: what is known of clients, from one database into another, or from another gateway."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console import grid
from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.foreign_files import read_document
from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.core.clients.spelling import USUAL
from claude_relay.core.imports import own
from claude_relay.core.imports.found import Found, NewClient, NewGroup
from claude_relay.core.imports.gateways import SOURCES
from claude_relay.core.installation import command
from claude_relay.core.times import length, seconds_of
from claude_relay.store.clients import descriptions
from claude_relay.store.clients.book import Made

from . import displaying, options, policies
from .options import HELP
from .roster import Roster

CLIENT_VALUES = ("group", "note", "tags", "owner", "priority", "policy", "enabled", "expires_at", "expires_after")
GROUP_VALUES = ("note", "policy", "settings", "enabled")


@click.command(context_settings=HELP, short_help="Print what is known of clients and groups, without keys.")
@options.some_names
@options.as_json
@options.as_csv
@options.place
def export(names: tuple[str, ...], form: str | None, config: str | None, database: Path | None) -> None:
    """Print what is known of clients and groups, as JSON or (clients alone) CSV: `import` reads it. Keys are not in it.

    \b
    Examples:
      scripts/clients export > clients.json
      scripts/clients export --csv alice bob
    """
    roster, now = Roster.enter(config, database), time.time()
    groups = {one.name: one for one in roster.groups()}
    clients = [_written(descriptions.plain(one, groups, now), own.FIELDS) for one in roster.clients(names)]
    if form == "csv":
        displaying.as_csv(clients, for_import=True)
        return
    used = {client["group"] for client in clients} if names else {*groups}
    kept = [
        _written(descriptions.plain_group(one, ()), own.GROUP_FIELDS) for one in groups.values() if one.name in used
    ]
    displaying.as_json({"clients": clients, "groups": kept})


def _written(values: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    found = {field: values[field] for field in fields}
    return found | {"key_tiers": [tier or USUAL for tier in values["key_tiers"]]}


@click.command(
    "import", context_settings=HELP, short_help="Add clients from a file: an own export, or another gateway's."
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option(
    "--from",
    "source",
    type=click.Choice([*SOURCES]),
    metavar="GATEWAY",
    help=f"Whose file it is: {', '.join(SOURCES)}.",
)
@click.option("--group", metavar="NAME", help="The group of those that have none.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Where the new keys are written, for you alone; -: print them. Default: new-keys-DATE.csv here.",
)
@options.place
def import_(
    file: Path,
    source: str | None,
    group: str | None,
    dry_run: bool,
    keys: Path | None,
    config: str | None,
    database: Path | None,
) -> None:
    """Add clients from FILE, which `export` has written, or another gateway: names, limits, expiry, models. All are added, or none.

    Every client gets a new key: those of another gateway cannot be read back, or were seen by others. The file with the new keys says
    who is who, and what could not be taken over. Clients that are there already stay as they are.

    \b
    Examples:
      scripts/clients import clients.json
      scripts/clients import backup.json --from litellm --dry-run
      scripts/clients import one-api.db --from new-api --keys new-keys.csv
    """
    roster = Roster.enter(config, database)
    found = _read(file, source)
    plan = _plan(roster, found, group)
    for note in found.notes:
        echo(f"{note[:1].upper()}{note[1:]}.", err=True)
    if plan.known:
        echo(f"There already, and left as they are: {displaying.named(plan.known)}.", err=True)
    if dry_run:
        _show(plan)
        return
    if not plan.clients and not plan.groups:
        echo("Nothing was added.")
        return
    target = keys or free_name(Path(f"new-keys-{datetime.now():%Y%m%d-%H%M%S}.csv"))
    with_file = str(target) != "-" and bool(plan.clients)
    handle = _create(target) if with_file else None
    try:
        made = roster.book.add_many(
            roster.actor,
            {one.name: _values(one, GROUP_VALUES) for one in plan.groups},
            {one.name: _values(one, CLIENT_VALUES) for one in plan.clients},
        )
    except BaseException:
        if handle is not None:
            os.close(handle)
            target.unlink(missing_ok=True)
        raise
    _finish(plan, made, target, handle)


def free_name(path: Path) -> Path:
    """The path, or with a number behind it where there is such a file already."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be added, and the names of clients that are there."""

    clients: tuple[NewClient, ...]
    groups: tuple[NewGroup, ...]
    known: tuple[str, ...]


def _read(file: Path, source: str | None) -> Found:
    reader = SOURCES[source] if source else None
    try:
        document = read_document(file, reader.tables if reader else ())
        return reader.clients(document) if reader else own.clients(document)
    except ValueError as error:
        raise Failure(f"{shown_path(file)}: {error}") from None


def _plan(roster: Roster, found: Found, group: str | None) -> Plan:
    names = {one.name for one in roster.clients(removed=True)}
    groups = {one.name: one for one in roster.groups(removed=True)}
    if group is not None:
        roster.book.group(group)
    clients = tuple(
        _in_group(one, group) if group and one.group is None else one for one in found.clients if one.name not in names
    )
    new = tuple(one for one in found.groups if one.name not in groups)
    there = {*(one.name for one in new), *(name for name, one in groups.items() if one.removed_at is None)}
    if lacking := sorted({one.group for one in clients if one.group and one.group not in there}):
        raise Failure(
            f"Nothing was added: there is no group {lacking[0]}; add it first: {command('clients')} group add {lacking[0]}"
        )
    twice = [one.name for n, one in enumerate(clients) if one.name in {other.name for other in clients[:n]}]
    if twice:
        raise Failure(f"Nothing was added: {twice[0]} is in the file twice")
    return Plan(clients, new, tuple(one.name for one in found.clients if one.name in names))


def _in_group(client: NewClient, group: str) -> NewClient:
    return replace(client, group=group)


def _values(one: NewClient | NewGroup, fields: Sequence[str]) -> dict[str, Any]:
    return {field: getattr(one, field) for field in fields if getattr(one, field) not in (None, "", ())}


def _show(plan: Plan) -> None:
    """Print what would be done."""
    for kind, rows in (("group", plan.groups), ("client", plan.clients)):
        if not rows:
            continue
        in_group = {"in": [one.group or "" if isinstance(one, NewClient) else "" for one in rows]}
        cells = {
            kind: [one.name for one in rows],
            **in_group,
            "state": [_state(one) for one in rows],
            "expires": [_expiry(one) for one in rows],
            "gets": ["; ".join(_gets(one)) for one in rows],
            "not taken over": ["; ".join(one.notes) for one in rows],
        }
        grid.show(
            cells,
            always=(kind,),
            expendable=("state", "in"),
            wraps={kind: 12, "in": 10, "gets": 20, "not taken over": 14, "expires": 10},
            more="a wider terminal has it",
        )
        echo()
    echo(f"Nothing was done. Without --dry-run {_counted(plan)} would be added.")


def _gets(one: NewClient | NewGroup) -> list[str]:
    found = policies.lines(one.policy)
    return [value if name in ("limits", "") else f"{name} {value}" for name, value in found]


def _state(one: NewClient | NewGroup) -> str:
    ends = seconds_of(one.expires_at) if isinstance(one, NewClient) and one.expires_at else None
    if not one.enabled:
        return descriptions.DISABLED
    return descriptions.EXPIRED if ends is not None and ends <= time.time() else descriptions.ENABLED


def _expiry(one: NewClient | NewGroup) -> str:
    if not isinstance(one, NewClient):
        return ""
    if one.expires_after is not None:
        return f"{length(one.expires_after)} after first use"
    return displaying.when(one.expires_at)[:10]


def _counted(plan: Plan) -> str:
    parts = [(len(plan.clients), "client"), (len(plan.groups), "group")]
    return " and ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts if n) or "nothing"


def _create(target: Path) -> int:
    """Before anything is added: a key that cannot be written down would be lost."""
    try:
        return os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Failure(f"{shown_path(target)} is there already; name another file with --keys") from None
    except OSError as error:
        raise Failure(f"{shown_path(target)}: {error.strerror}; name another file with --keys") from None


def _finish(plan: Plan, made: Mapping[str, Made], target: Path, handle: int | None) -> None:
    rows = [
        {"name": one.name, "key": made[one.name].key, "was": one.was, "not_taken_over": "; ".join(one.notes)}
        for one in plan.clients
    ]
    if handle is not None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text.getvalue())
    elif rows:
        displaying.as_csv(rows, for_import=True)
    echo(f"{_counted(plan)} added.", err=handle is None)
    if handle is not None:
        echo(f"The new keys: {shown_path(target)} (pass them on, then delete it)")
        if partly := sum(bool(one.notes) for one in plan.clients):
            echo(f"Of {partly} something could not be taken over; the file says what.")
    echo(f"What each needs: {command('clients')} show NAME --setup", err=True)
