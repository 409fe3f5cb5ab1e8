"""`keys choose`: the key that goes before the others of its provider."""

from __future__ import annotations

import time
from pathlib import Path

import click

from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.core.installation import command

from . import options
from .keyring import Keyring
from .selecting import Choice, anything, choose


@click.command("choose", short_help="Let one key go before the others of its provider.")
@click.argument("word", required=False, metavar="[KEY]")
@click.option("--none", "nothing", is_flag=True, help="No key goes before the others any more.")
@options.provider_of
@options.place
def choose_(word: str | None, nothing: bool, provider: str | None, config: str | None, database: Path | None) -> None:
    """Let one key go before the others of its provider: every request uses it while it may be used, the others stand behind it.

    A conversation moves to it, too; only what another key has made (a file, a batch) stays with that key. A running relay follows
    within a second.

    \b
    Examples:
      scripts/keys choose v3
      scripts/keys choose --none --provider anthropic
    """
    if (word is None) is not nothing:
        raise click.UsageError("Name one key (id, alias or label), or say --none.")
    keyring = Keyring.enter(config, database)
    if word is None:
        name = keyring.provider(provider)
        done = keyring.choose(name, None)
        echo(f"No key of {name} goes before the others" + ("" if done else "; none did"))
        return
    found = choose(keyring.every(), Choice((word,), provider=provider), anything, now=time.time())
    if len(found) != 1:
        raise Failure(f"{word} may be {' or '.join(key.name for key in found)}; say which.")
    try:
        done = keyring.choose(found[0].provider, found[0])
    except ValueError as error:
        raise Failure(f"{error}.") from None
    again = "" if done else " already"
    echo(f"{found[0].name} goes before the others of {found[0].provider}{again}. See: {command('keys')} list")
