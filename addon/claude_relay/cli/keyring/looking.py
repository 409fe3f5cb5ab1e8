"""`keys list` and `keys export`: what may be told of keys."""

from __future__ import annotations

import time
from pathlib import Path

import click

from claude_relay.cli.console.terminal import echo
from claude_relay.core.config.locate import command

from . import options, showing
from .room import Room
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
    room, now = Room.enter(config, database, to_look=True), time.time()
    every = room.keys()
    if room.relay.row is None:
        echo(room.relay.why, err=True)
    objection = anything if with_removed or status == "removed" or words else not_removed
    found = choose(every, Choice(words, not words, provider, status), objection, now=now)
    if as_json:
        showing.as_json([showing.plain(key, now) for key in found])
        return
    if found:
        showing.table(found, now)
    else:
        echo("No such key." if every else f"No key yet. Add one: {command('keys')} add")
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
    room, now = Room.enter(config, database), time.time()
    found = choose(room.vault.list(), Choice(words, not words, provider, status), anything, now=now)
    if as_csv:
        showing.as_csv(found, now)
    else:
        showing.as_json([showing.plain(key, now) for key in found])
