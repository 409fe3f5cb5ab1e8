"""`clients`: people and programs with a key of the relay's own. The sub-commands are in `roster`."""

from __future__ import annotations

from typing import Any

import click

from claude_relay.core.clients.credentials import SECRET
from claude_relay.store.db.database import StoreError

from .console.terminal import Failure
from .roster import adding, grouping, moving, switching, viewing


class Clients(click.Group):
    """Turns the store's errors into messages, and keeps client keys out of click's own."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the options."""
        try:
            return super().make_context(*arguments, **more)
        except click.UsageError as error:
            raise _quiet(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except StoreError as error:
            raise Failure(SECRET.sub("…", str(error))) from None
        except click.UsageError as error:
            raise _quiet(error) from None


def _quiet(error: click.UsageError) -> click.UsageError:
    message = error.format_message()
    return click.UsageError(SECRET.sub("…", message), error.ctx) if SECRET.search(message) else error


@click.group(cls=Clients, context_settings={"help_option_names": ["-h", "--help"]})
def clients() -> None:
    """Clients: people and programs with a key of the relay's own, what they may do, and their limits.

    A running relay sees every change within 2 seconds. Who did what is in the audit log: scripts/audit.

    \b
    Examples:
      scripts/clients add alice --usd-per-day 20
      scripts/clients show alice --setup             what alice needs
      scripts/clients list
      scripts/clients rotate alice --overlap 24h
      scripts/clients stop alice
    """


SUBCOMMANDS = (
    adding.add,
    viewing.list_,
    viewing.show,
    adding.edit,
    adding.rotate,
    *switching.switches(switching.CLIENTS),
    switching.stop,
    viewing.stats,
    switching.approve,
    grouping.group,
    moving.export,
    moving.import_,
)
for command in SUBCOMMANDS:
    clients.add_command(command)
