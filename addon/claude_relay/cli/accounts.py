"""`accounts`: OAuth accounts on the command line. The sub-commands are in `logins`.

They say what they did in one line each, and print no token.
"""

from __future__ import annotations

from typing import Any

import click

from claude_relay.store.vault.vault import VaultError

from .console.terminal import Failure
from .logins import arriving, exchanging, listing_them, pausing


class AccountCommands(click.Group):
    """Turns a vault's errors into messages."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except VaultError as error:
            raise Failure(str(error)) from None


@click.group(cls=AccountCommands, context_settings={"help_option_names": ["-h", "--help"]})
def accounts() -> None:
    """OAuth accounts of your own: log in, look at, renew, switch on and off.

    For providers with `oauth` in relay.yaml. A running relay sees every change within 2 seconds, and renews tokens by itself.
    ACCOUNT is an id, an alias (v1, anthropic/v1), a label or an e-mail.

    \b
    Examples:
      scripts/accounts login
      scripts/accounts list
      scripts/accounts check --all
      scripts/accounts disable anthropic/v3
    """


SUBCOMMANDS = (
    arriving.login,
    listing_them.list_,
    listing_them.show,
    exchanging.refresh,
    exchanging.check,
    pausing.enable,
    pausing.disable,
    pausing.remove,
    pausing.restore,
    arriving.import_,
)
for command in SUBCOMMANDS:
    accounts.add_command(command)
