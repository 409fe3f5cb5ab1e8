"""`accounts refresh` and `accounts check`: tokens are exchanged, and a real request says whether they are taken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from claude_relay.cli.console import grid
from claude_relay.cli.console.terminal import echo, echo_json
from claude_relay.core.config import led
from claude_relay.core.installation import command
from claude_relay.core.keys.check_results import LIMITED, VALID, CheckResult
from claude_relay.core.oauth.timing import ACTIVE
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.renewing import AT_ONCE, Outcome, Renewal, renew_all
from claude_relay.store.vault.rows import moment
from claude_relay.upstream import checking
from claude_relay.upstream.token_endpoint import fetching

from . import arguments
from .arguments import HELP
from .logins import Logins, in_use

NONE = f"There is no account. Log in: {command('accounts')} login"


@click.command(context_settings=HELP, short_help="Exchange the tokens of accounts for the next ones, now.")
@arguments.selection
@arguments.timeout
@arguments.as_json
def refresh(
    words: tuple[str, ...],
    everything: bool,
    provider: str | None,
    timeout: float,
    as_json: bool,
    config: str | None,
    database: Path | None,
) -> None:
    """Exchange the tokens of accounts for the next ones, now. A running relay does so by itself. Status 1 unless all have new ones.

    \b
    Examples:
      scripts/accounts refresh anthropic/v3
      scripts/accounts refresh --all --json
    """
    logins = Logins.enter(config, database)
    found = logins.meant(words, everything=everything, provider=provider, objection=in_use)
    results = renewed(logins, found, timeout)
    if as_json:
        echo_json([{"name": one.name, "id": one.id, "outcome": it.outcome, "reason": it.reason} for one, it in results])
    for one, it in () if as_json else results:
        echo(f"{one.name} {SAID[it.outcome]}" + (f": {it.reason}" if it.reason else ""))
    if not results and not as_json:
        echo(NONE)
    raise SystemExit(any(not it.fresh for _, it in results))


SAID = {
    Outcome.RENEWED: "has new tokens",
    Outcome.OTHERS: "has new tokens, which another process got",
    Outcome.REVOKED: "is revoked",
    Outcome.FAILED: "could not be renewed",
    Outcome.FINAL: "cannot be renewed",
}


@click.command(context_settings=HELP, short_help="Ask the provider about each account.")
@arguments.selection
@arguments.timeout
@arguments.as_json
def check(
    words: tuple[str, ...],
    everything: bool,
    provider: str | None,
    timeout: float,
    as_json: bool,
    config: str | None,
    database: Path | None,
) -> None:
    """Ask the provider about each account with one cheap request; tokens that are over are exchanged first.

    Status 1 unless all are valid or limited.

    \b
    Examples:
      scripts/accounts check --all
      scripts/accounts check anthropic/v3 --json
    """
    logins, now = Logins.enter(config, database), time.time()
    found = logins.meant(words, everything=everything, provider=provider, objection=in_use)
    renewed(logins, [one for one in found if one.renews and one.state(now) != ACTIVE], timeout)
    results = _checked(logins, found, timeout)
    if as_json:
        echo_json([{"name": one.name, "id": one.id, "status": it.status, "until": moment(it.until), "reason": it.reason}
            for one, it in results])  # fmt: skip
    elif results:
        cells = {
            "account": [one.name for one, _ in results],
            "who": [one.account for one, _ in results],
            "state": [it.status for _, it in results],
            "why": [it.reason for _, it in results],
        }
        grid.show(cells, always=("account", "state"), expendable=("who",), wraps={"why": 24, "who": 16})
    else:
        echo(NONE)
    raise SystemExit(any(it.status not in (VALID, LIMITED) for _, it in results))


def _checked(logins: Logins, accounts: Sequence[Account], timeout: float) -> list[tuple[Account, CheckResult]]:
    ids = {one.id for one in accounts}
    issued = [key for group in logins.vault.issue(ids).values() for key in group] if ids else []
    secrets = {
        key.id: replace(key, renews=False) for key in issued
    }  # they were renewed: what is refused now is no good
    stored = [key for key in logins.vault.list() if key.id in ids]
    providers = {name: led(provider, logins.way) for name, provider in logins.config.providers.items()}
    results: dict[str, CheckResult] = {}
    checking.check(
        stored,
        secrets,
        providers,
        parallel=AT_ONCE,
        timeout=timeout,
        clock=time.time,
        done=lambda key, result: results.__setitem__(key.id, result),
    )
    if results:
        logins.vault.record(results)
    return [(one, results[one.id]) for one in accounts]


def renewed(logins: Logins, accounts: Sequence[Account], timeout: float) -> list[tuple[Account, Renewal]]:
    """What came of each."""
    fetch = fetching(logins.config.providers, logins.way, timeout=timeout)
    return list(zip(accounts, renew_all(logins.accounts, accounts, fetch), strict=True))
