"""`keys check` and `keys prune`: real requests, and what follows from their answers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from claude_relay.cli.console.taking_back import original
from claude_relay.cli.console.terminal import echo
from claude_relay.core.config import led, way_out
from claude_relay.core.installation import command
from claude_relay.core.keys.check_results import LIMITED, REVOKED, VALID, CheckResult
from claude_relay.store.vault.records import StoredKey
from claude_relay.store.vault.rows import moment
from claude_relay.upstream import checking

from . import options, showing
from .changing import say
from .keyring import Keyring
from .selecting import in_hand, in_use, meant

NONE = f"There is no key to check. See: {command('keys')} list"


@click.command(short_help="Ask the provider about each key.")
@options.selection
@options.checking
@options.as_json
def check(parallel: int, timeout: float, as_json: bool, **said: Any) -> None:
    """Ask the provider about each key with one cheap request (a list of one model). Status 1 unless all are valid or limited.

    valid, limited (until when), no-credit, revoked, unreachable (the provider is), unclear (the answer says nothing about the key).
    A key that is found valid and was out is used again.

    \b
    Examples:
      scripts/keys check --all
      scripts/keys check v1 --json
    """
    keyring, found = meant(said, in_hand)
    results, now = _check(keyring, found, parallel, timeout), time.time()
    checked = [(key, results[key.id]) for key in found]
    if as_json:
        showing.as_json([{"name": key.name, "id": key.id, **_plain(result)} for key, result in checked])
    elif checked:
        showing.results(checked, now)
    else:
        echo(NONE)
    raise SystemExit(any(result.status not in (VALID, LIMITED) for _, result in checked))


@click.command(short_help="Check keys, then remove those that are revoked.")
@options.selection
@options.checking
@click.option("--dry-run", is_flag=True, help="Only say which.")
def prune(parallel: int, timeout: float, dry_run: bool, **said: Any) -> None:
    """Check keys, then remove those that are revoked; `restore` brings them back.

    \b
    Examples:
      scripts/keys prune --all --dry-run
      scripts/keys prune --all --provider anthropic
    """
    keyring, found = meant(said, in_use)
    results = _check(keyring, found, parallel, timeout)
    revoked = [key for key in found if results[key.id].status == REVOKED]
    if not found:
        echo(NONE)
    elif not revoked:
        echo(f"No key is revoked; {showing.number(len(found))} checked")
    elif dry_run:
        echo(f"{showing.number(len(revoked))} revoked: {showing.names(revoked)}")
    else:
        say("removed", found, keyring.vault.prune([key.id for key in revoked], [REVOKED]))


def _check(keyring: Keyring, keys: Sequence[StoredKey], parallel: int, timeout: float) -> dict[str, CheckResult]:
    """Ask all of them, with a progress bar; what was found is written down, also when Ctrl-C ends it early."""
    from rich.progress import MofNCompleteColumn, Progress

    from claude_relay.cli.console.screen import Screen

    results: dict[str, CheckResult] = {}
    secrets, way = keyring.secrets(keys), way_out(keyring.config, original(os.environ))
    providers = {name: led(provider, way) for name, provider in keyring.config.providers.items()}
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn())
    silent = not sys.stderr.isatty()
    with Progress(*columns, console=Screen(stderr=True), transient=True, disable=silent) as bar:
        task = bar.add_task("Checking", total=len(keys))

        def done(key: StoredKey, result: CheckResult) -> None:
            results[key.id] = result
            bar.advance(task)

        try:
            checking.check(keys, secrets, providers, parallel=parallel, timeout=timeout, clock=time.time, done=done)
        finally:
            if results:
                keyring.vault.record(results)
    return results


def _plain(result: CheckResult) -> dict[str, str | None]:
    return {"status": result.status, "until": moment(result.until), "reason": result.reason}
