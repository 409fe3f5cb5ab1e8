"""`clients disable`, `enable`, `remove`, `restore`, `stop` and `approve`: what is done to clients that are there."""

from __future__ import annotations

from pathlib import Path

import click

from claude_relay.cli.console.terminal import confirm, echo
from claude_relay.core.installation import command
from claude_relay.store.clients import approvals
from claude_relay.store.clients.book import STOPPED, ClientError

from . import displaying, options
from .adding import report
from .options import HELP
from .roster import Roster


@click.command(context_settings=HELP)
@options.names
@options.place
def enable(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
    """Serve clients again.

    \b
    Example:
      scripts/clients enable alice
    """
    _switch(names, config, database, enabled=True)


@click.command(context_settings=HELP)
@options.names
@options.place
def disable(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
    """Refuse clients from now on; what runs goes on, unless you also `stop` them.

    \b
    Example:
      scripts/clients disable alice bob
    """
    _switch(names, config, database, enabled=False)


def _switch(names: tuple[str, ...], config: str | None, database: Path | None, *, enabled: bool) -> None:
    roster = Roster.enter(config, database)
    word = "enable" if enabled else "disable"
    for client in roster.clients(names):
        after = roster.book.edit(roster.actor, client.name, {"enabled": enabled}, word)
        report(client.name, f"{word}d", after != client)


@click.command(context_settings=HELP, short_help="Remove clients; restore brings them back.")
@options.names
@options.yes
@options.place
def remove(names: tuple[str, ...], yes: bool, config: str | None, database: Path | None) -> None:
    """Remove clients: their keys are refused, their names and what they used stay. `restore` brings them back.

    \b
    Example:
      scripts/clients remove alice
    """
    roster = Roster.enter(config, database)
    found = roster.clients(names)
    if gone := [client.name for client in found if client.removed_at is not None]:
        raise ClientError(f"removed already: {displaying.named(gone)}")
    if not yes:
        confirm(f"Remove {displaying.named([client.name for client in found])}?")
    for client in found:
        roster.book.remove(roster.actor, client.name)
        echo(f"{client.name} removed; bring it back: {command('clients')} restore {client.name}")


@click.command(context_settings=HELP)
@options.names
@options.place
def restore(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
    """Bring removed clients back, with the keys that they had.

    \b
    Example:
      scripts/clients restore alice
    """
    roster = Roster.enter(config, database)
    for client in roster.clients(names):
        roster.book.restore(roster.actor, client.name)
        echo(f"{client.name} restored")


@click.command(context_settings=HELP, short_help="End what runs for a client, now.")
@options.one_name
@click.option("--session", metavar="ID", help="Only this session of Claude Code.")
@click.option(
    "--for",
    "lasts",
    type=options.Length(),
    metavar="TIME",
    default=f"{STOPPED:.0f}s",
    show_default=True,
    help="So long nothing new begins.",
)
@options.place
def stop(name: str, session: str | None, lasts: float, config: str | None, database: Path | None) -> None:
    """End what runs for a client within a second: streams get an error event. For a while nothing new begins.

    \b
    Examples:
      scripts/clients stop alice
      scripts/clients stop alice --session 0b1f6c2e-… --for 10m
    """
    roster = Roster.enter(config, database)
    roster.book.stop(roster.actor, name, session, lasts)
    which = f"What runs for {name}" + (f" in the session {session}" if session else "")
    echo(f"{which} ends now; nothing begins for {displaying.length(lasts)}.")
    echo(f"To refuse the client for good: {command('clients')} disable {name}", err=True)


@click.command(context_settings=HELP, short_help="Let somebody who signs in become a client.")
@click.argument("code", metavar="CODE")
@click.option("--as", "client", metavar="NAME", help="Who it is.")
@click.option("--deny", is_flag=True, help="Nobody: let the sign-in come to nothing.")
@options.place
def approve(code: str, client: str | None, deny: bool, config: str | None, database: Path | None) -> None:
    """Let a sign-in that waits become that of a client. CODE is what the person sees in Claude Code: WDJB-MJHT.

    Approve only a code that the person has told you himself: whoever has begun that sign-in becomes the client.

    \b
    Examples:
      scripts/clients approve WDJB-MJHT --as alice
      scripts/clients approve WDJB-MJHT --deny
    """
    if (client is None) is not deny:
        raise click.UsageError("Say who it is with --as NAME, or --deny.")
    roster = Roster.enter(config, database)
    if client is None:
        found = approvals.deny(roster.path, roster.actor, code)
        echo(f"{found} denied")
    else:
        found = approvals.approve(roster.path, roster.actor, code, client)
        echo(f"{found} signs in as {client}")
