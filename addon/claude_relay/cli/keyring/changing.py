"""`keys edit`, `enable`, `disable`, `remove`, `restore` and `reset`: what is done to keys that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from claude_relay.cli.console.terminal import confirm, echo
from claude_relay.core.installation import command
from claude_relay.store.vault.records import LIMITS, StoredKey

from . import options, showing
from .keyring import Keyring
from .options import given, led
from .selecting import CHOICE, in_hand, in_use, in_vault, meant, removed


@click.command()
@options.selection_to_edit
@options.fields
@click.option("--no-proxy", is_flag=True, help="Take its own proxy away.")
@click.option("--no-limits", is_flag=True, help="Take its limits away.")
def edit(no_proxy: bool, no_limits: bool, **said: Any) -> None:
    """Change label, tier, group, weight, limits, proxy and notes of keys.

    \b
    Examples:
      scripts/keys edit v1 v2 --tier admin
      scripts/keys edit --all --provider glm --concurrent 4
      scripts/keys edit v3 v4 --group research
    """
    keyring, found = meant(said, in_use)
    fields = led(keyring, given({name: said[name] for name in said if name not in CHOICE}))
    if no_proxy:
        fields["proxy"] = None
    if no_limits:
        fields |= dict.fromkeys(LIMITS)
    if not fields:
        raise click.UsageError("Say what to change, such as --tier admin.")
    say("changed", found, keyring.vault.edit([key.id for key in found], fields))


@click.command()
@options.selection
def enable(**said: Any) -> None:
    """Let keys be used again.

    \b
    Example:
      scripts/keys enable v1
    """
    keyring, found = meant(said, in_use)
    say("enabled", found, keyring.vault.enable([key.id for key in found]))


@click.command()
@options.selection
def disable(**said: Any) -> None:
    """Let no new request use keys; those under way go on.

    \b
    Example:
      scripts/keys disable v1 "team a"
    """
    keyring, found = meant(said, in_use)
    say("disabled", found, keyring.vault.disable([key.id for key in found]))


@click.command()
@options.selection
@click.option("--forever", is_flag=True, help="Delete them, so that nothing brings them back. Needs no secret.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(forever: bool, yes: bool, **said: Any) -> None:
    """Take keys away; `restore` brings them back. Asks before it takes --all of them, or any --forever.

    \b
    Examples:
      scripts/keys remove v3
      scripts/keys remove --all --status removed --forever
    """
    keyring, found = meant(said, in_vault if forever else in_use)
    ids = [key.id for key in found]
    if found and (forever or said["everything"]) and not yes:
        what, how = ("Delete", " for good") if forever else ("Remove", "")
        confirm(f"{what} {showing.number(len(found))}{how}: {showing.names(found)}?")
    if forever:
        say("deleted", found, keyring.vault.erase(ids))
    else:
        say("removed", found, keyring.vault.remove(ids))


@click.command()
@options.selection
def restore(**said: Any) -> None:
    """Bring removed keys back.

    \b
    Example:
      scripts/keys restore v3
    """
    keyring, found = meant(said, removed)
    say("restored", found, keyring.vault.restore([key.id for key in found]))


@click.command(short_help="Lift the cooldowns of keys, so that they are used at once.")
@options.selection
@click.option("--own", is_flag=True, help="Of clients' own credentials (own_credential) in the place of keys.")
def reset(own: bool, **said: Any) -> None:
    """Lift the cooldowns of keys, those of relay.yaml too, so that the relay uses them at once.

    \b
    Examples:
      scripts/keys reset v1
      scripts/keys reset --all --status cooldown
      scripts/keys reset --own
    """
    if own:
        _reset_own(said)
        return
    keyring, found = meant(said, in_hand)
    count = keyring.vault.reset([key.id for key in found])
    if not count:
        which = f"; {showing.number(len(found))} looked at" if found else ""
        echo(f"No cooldown to lift{which}. See: {command('keys')} list")
        return
    echo(f"{count} cooldown{'' if count == 1 else 's'} lifted of {showing.number(len(found))}")


def _reset_own(said: Mapping[str, Any]) -> None:
    if said["words"] or said["everything"] or said["status"] or said["of_group"]:
        raise click.UsageError("--own goes with --provider alone: clients' own credentials have no names here.")
    count = Keyring.enter(said["config"], said["database"]).vault.reset_own(said["provider"])
    what = "clients' own credentials"
    echo(f"{count} cooldown{'' if count == 1 else 's'} lifted of {what}" if count else f"No cooldown to lift of {what}")


def say(done: str, keys: Sequence[StoredKey], ids: Sequence[str]) -> None:
    """Print what was done to which keys, and how many needed nothing."""
    done_to = set(ids)
    changed = [key for key in keys if key.id in done_to]
    unchanged = [key for key in keys if key.id not in done_to]
    if not keys:
        echo(f"No key was {done}: none is meant. See: {command('keys')} list")
    elif not changed:
        echo(f"No key was {done}: nothing to do for {showing.names(unchanged)}.")
    else:
        others = f" ({len(unchanged)} left as they were)" if unchanged else ""
        echo(f"{showing.number(len(changed))} {done}: {showing.names(changed)}{others}")
