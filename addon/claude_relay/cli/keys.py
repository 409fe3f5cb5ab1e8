"""`keys`: the vault on the command line. The sub-commands are in `keyring`.

They say what they did in one line each, and print no key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from claude_relay.core.errors import SECRET
from claude_relay.store.vault.vault import VaultError

from .console.terminal import Failure
from .keyring import changing, choosing, entering, looking, proving, proxying, resealing


class Keys(click.Group):
    """Turns a vault's errors into messages, and keeps what looks like a key out of click's own."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Read the options."""
        return _quiet(lambda: super(Keys, self).make_context(*arguments, **more))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return _quiet(lambda: super(Keys, self).invoke(ctx))
        except VaultError as error:
            raise Failure(str(error)) from None


def _quiet[T](step: Callable[[], T]) -> T:
    try:
        return step()
    except click.UsageError as error:
        message = error.format_message()
        if not SECRET.search(message):
            raise
        raise click.UsageError(SECRET.sub("…", message), error.ctx) from None


@click.group(cls=Keys, context_settings={"help_option_names": ["-h", "--help"]})
def keys() -> None:
    """The keys of the vault: add, look at, switch on and off, check.

    A running relay sees every change within 2 seconds. KEY is an id, an alias (v1, anthropic/v1) or a label.

    \b
    Examples:
      scripts/keys add --label "team a"              asks for the key
      scripts/keys import keys.csv --provider anthropic
      scripts/keys list --status revoked
      scripts/keys check --all
      scripts/keys disable --all --provider glm
      scripts/keys proxies add office                a way out for keys
    """


SUBCOMMANDS = (
    looking.list_,
    entering.add,
    entering.import_,
    looking.export,
    changing.edit,
    changing.enable,
    changing.disable,
    changing.remove,
    changing.restore,
    changing.reset,
    choosing.choose_,
    proving.check,
    proving.prune,
    proxying.proxies,
    resealing.rotate_secret,
)
for command in SUBCOMMANDS:
    keys.add_command(command)
