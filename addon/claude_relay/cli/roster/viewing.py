"""`clients list`, `show` and `stats`: what may be told of clients."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import click

from claude_relay.cli.console import running
from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.cli.console.when import When
from claude_relay.core.clients import setup
from claude_relay.core.installation import command
from claude_relay.core.shells import SAME, SHELLS
from claude_relay.store.clients import consumption, descriptions

from . import displaying, options
from .options import HELP
from .roster import NONE, Roster


@click.command("list", context_settings=HELP, short_help="Show clients, with their requests and cost of today.")
@options.some_names
@click.option("--group", metavar="NAME", help="Only clients of this group.")
@click.option("--tag", metavar="WORD", help="Only clients with this tag.")
@click.option("--removed", is_flag=True, help="Removed ones, too.")
@options.as_json
@options.as_csv
@options.place
def list_(
    names: tuple[str, ...],
    group: str | None,
    tag: str | None,
    removed: bool,
    form: str | None,
    config: str | None,
    database: Path | None,
) -> None:
    """Show clients, with their requests and cost of today.

    \b
    Examples:
      scripts/clients list
      scripts/clients list --group team --json
    """
    roster, now = Roster.enter(config, database), time.time()
    groups = {one.name: one for one in roster.groups(removed=True)}
    if group is not None:
        roster.book.group(group)
    every = roster.clients(names, removed=removed)
    found = [one for one in every if group in (None, one.group) and (tag is None or tag in one.tags)]
    today = consumption.of_clients(roster.path, consumption.today())
    if form is not None:
        rows = [
            descriptions.plain(one, groups, now) | {"today": descriptions.use(today.get(one.name))} for one in found
        ]
        if form == "json":
            displaying.as_json(rows)
        else:
            displaying.as_csv(
                [{**row, "today": row["today"]["requests"], "cost_today": row["today"]["cost_usd"]} for row in rows]
            )
        return
    if found:
        displaying.table(found, groups, today, now)
    else:
        echo(f"None of {len(every)} fits." if every else NONE)
    hidden = sum(one.removed_at is not None for one in roster.clients(removed=True))
    if hidden and not removed and not names:
        echo(f"{hidden} removed; see them with --removed.", err=True)


@click.command(context_settings=HELP, short_help="Show all of one client; with --setup what its person needs.")
@options.one_name
@click.option(
    "--setup", "with_setup", is_flag=True, help="Print what its person needs: lines for a shell, a test request."
)
@click.option(
    "--new-key", is_flag=True, help="With --setup: give it a new key, and fill that in. The old one is valid for 24 h."
)
@click.option(
    "--shell", type=click.Choice([*SHELLS, *SAME]), default="sh", show_default=True, help="With --setup: whose syntax."
)
@click.option(
    "--host",
    metavar="NAME",
    help="With --setup: by which name the machine of the relay is reached; https://NAME of a reverse proxy before the base URL.",
)
@options.as_json
@options.place
def show(
    name: str,
    with_setup: bool,
    new_key: bool,
    shell: str,
    host: str | None,
    form: str | None,
    config: str | None,
    database: Path | None,
) -> None:
    """Show what is known of a client, and what it used. With --setup what its person needs.

    \b
    Examples:
      scripts/clients show alice
      scripts/clients show alice --setup
      scripts/clients show alice --setup --new-key --host relay.example.com
    """
    roster, now = Roster.enter(config, database), time.time()
    client = roster.book.client(name)
    if not with_setup and (new_key or host):
        raise click.UsageError("--new-key and --host go with --setup.")
    if with_setup:
        places = _places(roster, host)
        key = roster.book.rotate(roster.actor, name, setup.OVERLAP).key if new_key else None
        if form == "json":
            displaying.as_json(setup.document(name, key, places))
        else:
            _show_setup(setup.lines(name, client.policy.models, key, places, shell), places.hints)
        return
    groups = {one.name: one for one in roster.groups(removed=True)}
    uses = {
        "today": consumption.of_clients(roster.path, consumption.today(), name).get(name),
        "this month": consumption.of_clients(roster.path, consumption.month(), name).get(name),
    }
    own = consumption.of_limits(roster.path, "client", name, client.policy, now)
    if form == "json":
        used = {label.replace(" ", "_"): descriptions.use(line) for label, line in uses.items()}
        of_limits = {"used_of_limits": {str(limit): usd for limit, usd in own.items()}}
        displaying.as_json(descriptions.plain(client, groups, now) | used | of_limits)
        return
    group = groups.get(client.group or "")
    shared = consumption.of_limits(roster.path, "group", group.name, group.policy, now) if group else {}
    displaying.details(client, groups, uses, (own, shared), now)


def _places(roster: Roster, host: str | None) -> setup.Places:
    """Raises Failure where there is no way in, UsageError for a host that is none."""
    row = running.find(roster.source, roster.path).row
    said = None if row is None else json.loads(row.listeners)
    try:
        setup.parse_host(host)
    except ValueError as error:
        raise click.UsageError(f"--host: {error}") from None
    try:
        return setup.places(roster.source.config.listen, said, host=host, own=socket.gethostname())
    except ValueError as error:
        raise Failure(str(error)) from None


def _show_setup(lines: Iterable[str], hints: Iterable[str]) -> None:
    for line in lines:
        echo(line)
    for number, hint in enumerate(hints):
        echo(("" if number else "\n") + f"Note: {hint}.", err=True)


@click.command(context_settings=HELP, short_help="Show what clients used and what it cost.")
@options.some_names
@click.option("--since", type=When(), help="Only requests since then: 24h, 7d, 2w, 2026-11-01.")
@click.option("--group", metavar="NAME", help="Only clients of this group.")
@options.as_json
@options.as_csv
@options.place
def stats(
    names: tuple[str, ...],
    since: datetime | None,
    group: str | None,
    form: str | None,
    config: str | None,
    database: Path | None,
) -> None:
    """Show what clients used and what it cost, those that were removed, too.

    \b
    Examples:
      scripts/clients stats --since 7d
      scripts/clients stats alice bob --since 2026-11-01 --csv
    """
    roster, now = Roster.enter(config, database), time.time()
    if group is not None:
        roster.book.group(group)
    meant = [one for one in roster.clients(names, removed=True) if group in (None, one.group)]
    uses = consumption.of_clients(roster.path, since)
    found = sorted((one for one in meant if one.name in uses), key=lambda one: -(uses[one.name].cost_usd or 0))
    if form is not None:
        rows = [{"name": one.name, "group": one.group, **descriptions.use(uses[one.name])} for one in found]
        displaying.as_json(rows) if form == "json" else displaying.as_csv(rows)
        return
    if not meant and not names:
        echo(NONE if group is None else f"The group {group} has no clients.")
    elif not found:
        span = f" since {since:%Y-%m-%d %H:%M}" if since else ""
        echo(f"No requests{span} of {displaying.named([one.name for one in meant])}.")
        echo(f"What each needs to begin: {command('clients')} show NAME --setup", err=True)
    else:
        displaying.stats(found, uses, now)
