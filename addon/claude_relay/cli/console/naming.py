"""The help texts name commands as they are called here: they are written for a checkout, `scripts/keys`."""

from __future__ import annotations

import click

from claude_relay.core.installation import command as called


def reworded(command: click.Command) -> click.Command:
    """The command and those below it that are already imported, with the names that fit. Doing so again changes nothing."""
    command.help = (command.help or "").replace("scripts/", called())
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        reworded(inner)
    return command
