"""`accounts list` and `accounts show`: what may be told of accounts."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import click

from claude_relay.cli.console.terminal import Failure, echo, echo_json
from claude_relay.core.installation import command
from claude_relay.store.db.database import MissingDatabase, StoreError, explain, read_only
from claude_relay.store.shared.key_windows import windows_by_key

from . import arguments, figures
from .arguments import HELP
from .figures import ByAccount
from .logins import Logins, anything


@click.command("list", context_settings=HELP, short_help="Show accounts, and how far their windows are used.")
@click.option("--provider", metavar="NAME", help="Only accounts of this provider.")
@click.option("--removed", "with_removed", is_flag=True, help="Removed ones, too.")
@arguments.as_json
@arguments.place
def list_(provider: str | None, with_removed: bool, as_json: bool, config: str | None, database: Path | None) -> None:
    """Show accounts: active, expiring (and not renewed), expired, revoked.

    \b
    Examples:
      scripts/accounts list
      scripts/accounts list --json
    """
    logins, now = Logins.enter(config, database, to_look=True), time.time()
    every = [one for one in logins.accounts.list() if provider in (None, one.provider)]
    found = [one for one in every if with_removed or not one.removed_at]
    windows = windows_of(logins.vault.path)
    if as_json:
        echo_json([one.plain(now) | {"windows": [row.plain(now) for row in windows.get(one.id, ())]} for one in found])
        return
    if found:
        figures.table(found, windows, now)
    else:
        echo(f"No account yet. Log in: {command('accounts')} login")
    if hidden := len(every) - len(found):
        echo(f"{hidden} removed; see them with --removed.", err=True)


@click.command(context_settings=HELP, short_help="Show all of one account.")
@click.argument("word", metavar="ACCOUNT")
@arguments.as_json
@arguments.place
def show(word: str, as_json: bool, config: str | None, database: Path | None) -> None:
    """Show what is known of one account: its state and why, its tokens' times, its windows.

    \b
    Example:
      scripts/accounts show anthropic/v3
    """
    logins, now = Logins.enter(config, database, to_look=True), time.time()
    account = logins.one(word, objection=anything)
    windows = windows_of(logins.vault.path).get(account.id, ())
    if as_json:
        echo_json(account.plain(now) | {"windows": [row.plain(now) for row in windows]})
    else:
        figures.details(account, windows, now)


def windows_of(path: Path) -> ByAccount:
    """The windows of all keys, by key."""
    try:
        with closing(read_only(path)) as connection:
            return windows_by_key(connection)
    except MissingDatabase:
        return {}
    except (sqlite3.Error, StoreError) as error:
        raise Failure(explain(path, error)) from None
