"""`accounts enable`, `disable`, `remove` and `restore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from claude_relay.cli.console.terminal import confirm, echo
from claude_relay.core.installation import command
from claude_relay.store.vault.account_rows import Account

from . import arguments
from .arguments import HELP
from .logins import Logins, Objection, anything, in_use, removed


@click.command(context_settings=HELP)
@arguments.selection
def enable(**said: Any) -> None:
    """Let accounts be used again.

    \b
    Example:
      scripts/accounts enable anthropic/v3
    """
    logins, found = meant(said, in_use)
    say("enabled", found, logins.vault.enable([one.id for one in found]))


@click.command(context_settings=HELP, short_help="Let no new request use accounts; they are renewed all the same.")
@arguments.selection
def disable(**said: Any) -> None:
    """Let no new request use accounts; those under way go on, and the accounts stay logged in.

    \b
    Example:
      scripts/accounts disable anthropic/v3
    """
    logins, found = meant(said, in_use)
    say("disabled", found, logins.vault.disable([one.id for one in found]))


@click.command(context_settings=HELP, short_help="Take accounts away.")
@arguments.selection
@click.option("--forever", is_flag=True, help="Delete them with their tokens, so that nothing brings them back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(forever: bool, yes: bool, **said: Any) -> None:
    """Take accounts away; `restore` brings them back, as long as their tokens last, for they are not renewed meanwhile.

    \b
    Examples:
      scripts/accounts remove anthropic/v3
      scripts/accounts remove me@example.com --forever
    """
    logins, found = meant(said, anything if forever else in_use)
    ids = [one.id for one in found]
    if found and (forever or said["everything"]) and not yes:
        what, how = ("Delete", " for good") if forever else ("Remove", "")
        confirm(f"{what} {', '.join(one.name for one in found)}{how}?")
    if forever:
        say("deleted", found, logins.vault.erase(ids))
    else:
        say("removed", found, logins.vault.remove(ids))


@click.command(context_settings=HELP)
@arguments.selection
def restore(**said: Any) -> None:
    """Bring removed accounts back.

    \b
    Example:
      scripts/accounts restore anthropic/v3
    """
    logins, found = meant(said, removed)
    say("restored", found, logins.vault.restore([one.id for one in found]))


def meant(said: Mapping[str, Any], objection: Objection) -> tuple[Logins, tuple[Account, ...]]:
    """The accounts that the options of `arguments.selection` mean."""
    logins = Logins.enter(said["config"], said["database"], to_look=True)
    return logins, logins.meant(
        said["words"], everything=said["everything"], provider=said["provider"], objection=objection
    )


def say(done: str, accounts: Sequence[Account], ids: Sequence[str]) -> None:
    """Print what was done to which."""
    changed = [one.name for one in accounts if one.id in set(ids)]
    unchanged = [one.name for one in accounts if one.id not in set(ids)]
    if not accounts:
        echo(f"No account was {done}: none is meant. See: {command('accounts')} list")
    elif not changed:
        echo(f"No account was {done}: nothing to do for {', '.join(unchanged)}.")
    else:
        others = f" ({len(unchanged)} left as they were)" if unchanged else ""
        echo(f"{len(changed)} account{'' if len(changed) == 1 else 's'} {done}: {', '.join(changed)}{others}")
