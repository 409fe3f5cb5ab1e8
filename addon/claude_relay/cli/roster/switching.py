"""`clients stop` and `approve`; and what is done alike to clients and groups: `enable`, `disable`, `remove`, `restore`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from claude_relay.cli.console.terminal import confirm, echo
from claude_relay.core.installation import command
from claude_relay.core.times import length
from claude_relay.store.clients import approvals
from claude_relay.store.clients.book import STOPPED, ClientBook, ClientError
from claude_relay.store.clients.rows import StoredClient, StoredGroup

from . import displaying, options
from .adding import report
from .options import HELP
from .roster import Roster


@dataclass(frozen=True, slots=True)
class Kind[T: (StoredClient, StoredGroup)]:
    """Clients, or groups.

    what, example   for the help texts
    words           how the commands begin
    named           those of these names
    edit, …         what the book does
    check           raises ClientError for one that cannot be removed
    """

    what: str
    example: str
    words: str
    named: Callable[[Roster, tuple[str, ...]], tuple[T, ...]]
    edit: Callable[..., T]
    remove: Callable[..., T]
    restore: Callable[..., T]
    check: Callable[[Roster, T], None]


def switches[T: (StoredClient, StoredGroup)](kind: Kind[T]) -> tuple[click.Command, ...]:
    """The four sub-commands."""

    def switch(names: tuple[str, ...], config: str | None, database: Path | None, *, enabled: bool) -> None:
        roster = Roster.enter(config, database)
        word = "enable" if enabled else "disable"
        for one in kind.named(roster, names):
            after = kind.edit(roster.book, roster.actor, one.name, {"enabled": enabled}, word)
            report(one.name, f"{word}d", after != one)

    @_sub_command(kind, f"Serve {kind.what} again.")
    def enable(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
        switch(names, config, database, enabled=True)

    @_sub_command(kind, f"Refuse {kind.what} from now on; what runs goes on.", "To end that, too: clients stop.")
    def disable(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
        switch(names, config, database, enabled=False)

    more = "Their names and what was used stay."
    more += " A group must have no clients any more." if kind.what == "groups" else ""

    @_sub_command(kind, f"Remove {kind.what}; restore brings them back.", more)
    @options.yes
    def remove(names: tuple[str, ...], yes: bool, config: str | None, database: Path | None) -> None:
        roster = Roster.enter(config, database)
        found = kind.named(roster, names)
        if gone := [one.name for one in found if one.removed_at is not None]:
            raise ClientError(f"removed already: {displaying.named(gone)}")
        for one in found:
            kind.check(roster, one)
        if not yes:
            confirm(f"Remove {displaying.named([one.name for one in found])}?")
        for one in found:
            kind.remove(roster.book, roster.actor, one.name)
            echo(f"{one.name} removed; bring it back: {command('clients')}{kind.words} restore {one.name}")

    @_sub_command(kind, f"Bring removed {kind.what} back, as they were.")
    def restore(names: tuple[str, ...], config: str | None, database: Path | None) -> None:
        roster = Roster.enter(config, database)
        for one in kind.named(roster, names):
            kind.restore(roster.book, roster.actor, one.name)
            echo(f"{one.name} restored")

    return enable, disable, remove, restore


def _sub_command(
    kind: Kind[StoredClient] | Kind[StoredGroup], short: str, more: str = ""
) -> Callable[[Callable[..., None]], click.Command]:
    """Names, the place of the database, and a help text with an example."""

    def made(function: Callable[..., None]) -> click.Command:
        example = f"\b\nExample:\n  scripts/clients{kind.words} {function.__name__} {kind.example}"
        text = "\n\n".join((f"{short} {more}".strip(), example))
        return click.command(context_settings=HELP, help=text, short_help=short)(options.names(options.place(function)))

    return made


CLIENTS = Kind(
    "clients",
    "alice",
    "",
    Roster.clients,
    ClientBook.edit,
    ClientBook.remove,
    ClientBook.restore,
    lambda roster, one: None,
)


@click.command(context_settings=HELP, short_help="End what runs for a client, now.")
@options.one_name
@click.option("--session", type=options.WORD, metavar="ID", help="Only this session; the beginning of its id will do.")
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
      scripts/clients stop alice --session 0b1f6c2e --for 10m
    """
    roster = Roster.enter(config, database)
    roster.book.stop(roster.actor, name, session, lasts)
    which = f"What runs for {name}" + (f" in the session {session}…" if session else "")
    echo(f"{which} ends now; nothing begins for {length(lasts)}.")
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
