"""`keys list` and `keys export`: what may be told of keys."""

from __future__ import annotations

import time
from pathlib import Path

import click

from claude_relay.cli.console.terminal import echo
from claude_relay.core.installation import command

from . import options, showing
from .keyring import Keyring
from .selecting import Choice, anything, choose, not_removed


@click.command("list", short_help="Show keys, those of relay.yaml too.")
@options.words
@options.filters
@click.option("--removed", "with_removed", is_flag=True, help="Removed keys, too.")
@options.as_json
@options.place
def list_(
    words: tuple[str, ...],
    provider: str | None,
    of_group: str | None,
    status: str | None,
    with_removed: bool,
    as_json: bool,
    config: str | None,
    database: Path | None,
) -> None:
    """Show keys, those of relay.yaml too, as the running relay has them.

    \b
    Examples:
      scripts/keys list
      scripts/keys list --status limited --json
    """
    keyring, now = Keyring.enter(config, database, to_look=True), time.time()
    every = keyring.every()
    if keyring.relay.row is None:
        echo(keyring.relay.in_lines, err=True)
    objection = anything if with_removed or status == "removed" or words else not_removed
    found = choose(every, Choice(words, not words, provider, status, of_group), objection, now=now)
    if as_json:
        showing.as_json([showing.plain(key, now) for key in found])
        return
    if found:
        showing.table(found, now)
    else:
        echo(f"None of {showing.number(len(every))} fits." if every else f"No key yet. Add one: {command('keys')} add")
    hidden = sum(key.removed_at is not None for key in every)
    if hidden and objection is not_removed:
        echo(f"{hidden} removed; see them with --removed.", err=True)


@click.command(short_help="Print what is known of keys, as JSON or CSV.")
@options.words
@options.filters
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV in place of JSON.")
@options.place
def export(
    words: tuple[str, ...],
    provider: str | None,
    of_group: str | None,
    status: str | None,
    as_csv: bool,
    config: str | None,
    database: Path | None,
) -> None:
    """Print what is known of keys, removed ones too, without the keys themselves.

    With a column `key` filled in, `import` takes it.

    \b
    Example:
      scripts/keys export --csv > keys.csv
    """
    keyring, now = Keyring.enter(config, database), time.time()
    found = choose(keyring.vault.list(), Choice(words, not words, provider, status, of_group), anything, now=now)
    if as_csv:
        showing.as_csv(found, now)
    else:
        showing.as_json([showing.plain(key, now) for key in found])
