"""`clients group`: clients that share permissions and limits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console.terminal import echo
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.installation import command
from claude_relay.store.clients import consumption, descriptions, managed_settings
from claude_relay.store.clients.book import ClientBook, has_clients
from claude_relay.store.clients.rows import StoredGroup

from . import displaying, options, policies
from .adding import report
from .options import HELP, LINE, Spelled, together
from .roster import Roster
from .switching import Kind, switches

NONE = f"No group yet. Add one: {command('clients')} group add NAME"
EMPTY: dict[str, Any] = {"note": "", "settings": None}


@click.group(context_settings=HELP, short_help="Groups of clients, which share permissions and limits.")
def group() -> None:
    """Groups: their permissions and limits hold for each of their clients, and the limits for all of them together.

    \b
    Examples:
      scripts/clients group add team --usd-per-month 500 --model 'claude-*'
      scripts/clients add alice --group team
      scripts/clients group list
    """


SETTINGS = Spelled("FILE", managed_settings.checked)
"""A file with managed settings for Claude Code."""

fields = together(
    click.option("--note", type=LINE, metavar="TEXT", help="Whatever you want to remember; everybody may read it."),
    click.option(
        "--settings", type=SETTINGS, metavar="FILE",
        help="Managed settings for Claude Code of clients who sign in: a JSON file.",
    ),
)  # fmt: skip


@group.command(context_settings=HELP)
@options.one_name
@fields
@options.policy
@options.place
def add(name: str, config: str | None, database: Path | None, **said: Any) -> None:
    """Add a group.

    \b
    Examples:
      scripts/clients group add team --usd-per-month 500
      scripts/clients group add interns --model '*-haiku-*' --concurrent 2
    """
    roster = Roster.enter(config, database)
    own, others = policies.parted(said)
    roster.check_providers(own["providers"])
    values = {field: others[field] for field in EMPTY if others[field] is not None}
    roster.book.add_group(roster.actor, name, values | {"policy": policies.changed(Policy(), own)})
    echo(f"Added the group {name}. Clients come in by: {command('clients')} edit NAME --group {name}")


@group.command("list", context_settings=HELP)
@click.option("--removed", is_flag=True, help="Removed ones, too.")
@options.as_json
@options.place
def list_(removed: bool, form: str | None, config: str | None, database: Path | None) -> None:
    """Show groups, with what their clients used today.

    \b
    Example:
      scripts/clients group list
    """
    roster = Roster.enter(config, database)
    found, clients = roster.groups(removed=removed), roster.clients(removed=True)
    if form == "json":
        displaying.as_json(
            [descriptions.plain_group(one, [c for c in clients if c.group == one.name]) for one in found]
        )
    elif found:
        displaying.group_table(found, clients, consumption.of_clients(roster.path, consumption.today()))
    else:
        echo(NONE)


@group.command(context_settings=HELP)
@options.names
@options.as_json
@options.place
def show(names: tuple[str, ...], form: str | None, config: str | None, database: Path | None) -> None:
    """Show all of groups, and who is in them.

    \b
    Example:
      scripts/clients group show team
    """
    roster = Roster.enter(config, database)
    clients = roster.clients(removed=True)
    found = [(one, [client for client in clients if client.group == one.name]) for one in roster.groups(names)]
    if form == "json":
        displaying.as_json([descriptions.plain_group(one, members) for one, members in found])
        return
    for number, (one, members) in enumerate(found):
        if number:
            echo()
        used = consumption.of_limits(roster.path, "group", one.name, one.policy, time.time())
        displaying.group_details(one, members, used)


@group.command(context_settings=HELP)
@options.names
@fields
@options.policy
@options.removing
@options.clearing(*EMPTY, *policies.POLICY_FIELDS)
@options.place
def edit(
    names: tuple[str, ...], clear: tuple[str, ...], config: str | None, database: Path | None, **said: Any
) -> None:
    """Change groups, as `clients edit` changes clients.

    \b
    Examples:
      scripts/clients group edit team --usd-per-month 800
      scripts/clients group edit team --settings team-settings.json
      scripts/clients group edit interns --concurrent 2 --clear models
    """
    roster = Roster.enter(config, database)
    own, others = policies.parted(said)
    roster.check_providers(own["providers"])
    values = {field: EMPTY[field] for field in clear if field in EMPTY}
    values |= {field: others[field] for field in EMPTY if others[field] is not None}
    if not values and not clear and not any(value not in (None, ()) for value in own.values()):
        raise click.UsageError("Say what to change, such as --usd-per-month 800.")
    for one in roster.groups(names):
        wanted = values | {"policy": policies.changed(one.policy, own, clear)}
        report(one.name, "changed", roster.book.edit_group(roster.actor, one.name, wanted) != one)


def check(roster: Roster, one: StoredGroup) -> None:
    """Raises ClientError for a group that has clients."""
    if members := [client.name for client in roster.clients() if client.group == one.name]:
        raise has_clients(one.name, members)


GROUPS = Kind(
    "groups",
    "interns",
    " group",
    Roster.groups,
    ClientBook.edit_group,
    ClientBook.remove_group,
    ClientBook.restore_group,
    check,
)
for sub_command in switches(GROUPS):
    group.add_command(sub_command)
