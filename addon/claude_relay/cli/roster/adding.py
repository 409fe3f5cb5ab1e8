"""`clients add`, `edit` and `rotate`: who there is, and by which key."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console.terminal import echo
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.installation import command
from claude_relay.core.times import iso
from claude_relay.store.clients.book import Made

from . import displaying, options, policies
from .options import HELP
from .roster import Roster

CLIENT_FIELDS = ("group", "note", "tags", "owner", "priority", "expires_at", "expires_after")
EMPTY: dict[str, Any] = {
    "group": None, "note": "", "tags": (), "owner": "", "expires_at": None, "expires_after": None,
}  # fmt: skip
"""What a field is when it is cleared."""


@click.command(context_settings=HELP, short_help="Add a client; prints its key, this once.")
@options.one_name
@options.client_fields
@options.policy
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@options.place
def add(name: str, form: str | None, config: str | None, database: Path | None, **said: Any) -> None:
    """Add a client and print its key, this once: what is stored of it does not give it back.

    \b
    Examples:
      scripts/clients add alice --group team --usd-per-day 20
      scripts/clients add ci --model 'claude-haiku-*' --rpm 60 --expires 90d
      scripts/clients add guest --expires-after 8h --concurrent 2
    """
    roster = Roster.enter(config, database)
    own, others = policies.parted(said)
    roster.check_providers(own["providers"])
    values = {field: others[field] for field in CLIENT_FIELDS if others[field] not in (None, ())}
    made = roster.book.add(roster.actor, name, values | {"policy": policies.changed(Policy(), own)})
    _print_key(made, form, "Added", f"Next, what {name} needs: {command('clients')} show {name} --setup")


@click.command(context_settings=HELP, short_help="Change a client.")
@options.names
@options.client_fields
@options.policy
@options.removing
@options.clearing(*EMPTY, *policies.POLICY_FIELDS)
@options.place
def edit(
    names: tuple[str, ...], clear: tuple[str, ...], config: str | None, database: Path | None, **said: Any
) -> None:
    """Change clients. What is not named stays; a list that is given replaces the one before, a limit is added to the others.

    \b
    Examples:
      scripts/clients edit alice --usd-per-day 30 --note "moved to research"
      scripts/clients edit alice bob --group team --clear models
      scripts/clients edit alice --no-limit '60 requests/minute' --rpm 120
      scripts/clients edit alice --concurrent none
    """
    roster = Roster.enter(config, database)
    own, others = policies.parted(said)
    roster.check_providers(own["providers"])
    fields = {field: EMPTY[field] for field in clear if field in EMPTY}
    fields |= {field: others[field] for field in CLIENT_FIELDS if others[field] not in (None, ())}
    if not fields and not clear and not any(value not in (None, ()) for value in own.values()):
        raise click.UsageError("Say what to change, such as --rpm 60.")
    for client in roster.clients(names):
        wanted = fields | {"policy": policies.changed(client.policy, own, clear)}
        report(client.name, "changed", roster.book.edit(roster.actor, client.name, wanted) != client)


def report(name: str, done: str, happened: bool) -> None:
    """Print what was done."""
    echo(f"{name} {done}" if happened else f"{name} was like that already")


@click.command(context_settings=HELP, short_help="Give a client a new key; the old one is valid for a while.")
@options.one_name
@click.option(
    "--overlap",
    type=options.Length(zero=True),
    metavar="TIME",
    default="24h",
    show_default=True,
    help="So long the old key is valid still; 0: not at all, and sign-ins end.",
)
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@options.place
def rotate(name: str, overlap: float, form: str | None, config: str | None, database: Path | None) -> None:
    """Give a client a new key and print it, this once. The old one goes on for --overlap.

    \b
    Examples:
      scripts/clients rotate alice
      scripts/clients rotate alice --overlap 0      the old key was seen
    """
    roster = Roster.enter(config, database)
    made = roster.book.rotate(roster.actor, name, overlap)
    until = time.time() + overlap
    then = (
        f"The old one is valid until {displaying.when(iso(until))}."
        if overlap
        else "The old one is refused from now on."
    )
    _print_key(made, form, "A new key for", then)


def _print_key(made: Made, form: str | None, done: str, then: str) -> None:
    """On a line of its own, so that it can be copied."""
    if form == "json":
        displaying.as_json({"name": made.client.name, "key": made.key, "mask": made.client.keys[-1].mask})
        return
    echo(f"{done} {made.client.name}. The key, shown this once:\n", err=True)
    echo(made.key)
    echo(f"\n{then}", err=True)
