"""What `doctor` says of OAuth accounts: those that nobody can renew, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from claude_relay.core.config import Config
from claude_relay.core.installation import command
from claude_relay.core.oauth.timing import ACTIVE, REVOKED
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Vault, VaultError

from .checks import OK, WARN, Check

CLIENT = "set CLAUDE_CLIENT_ID, or oauth.client_id in relay.yaml, to that of your own client"


def logins(config: Config) -> Iterator[Check]:
    """One finding for each provider without a client and each account with a trouble; one for all other accounts.

    Nothing of accounts where there are none, or no vault can be read.
    """
    for name, provider in config.providers.items():
        if provider.oauth is not None and not provider.oauth.client_id:
            yield Check("accounts", WARN, f"accounts of {name} can neither log in nor be renewed: no client id", CLIENT)
    try:
        with closing(Vault(config.database, environ={})) as vault:
            found = [one for one in Accounts(vault).list() if one.removed_at is None]
    except VaultError:
        return  # `checks.vault` says why
    now = time.time()
    troubled = {one.id: check for one in found if (check := _trouble(one, config, now)) is not None}
    yield from troubled.values()
    if well := len(found) - len(troubled):
        yield Check("accounts", OK, f"{well} account{'' if well == 1 else 's'} active")


def _trouble(account: Account, config: Config, now: float) -> Check | None:
    again = f"log in again: {command('accounts')} login --account {account.name}"
    provider, state = config.providers.get(account.provider), account.state(now)
    if state == REVOKED:
        return Check("accounts", WARN, f"{account.name} is revoked: {account.reason}", again)
    if provider is None or (account.renews and provider.oauth is None):
        lacks = "relay.yaml has no provider of its name" if provider is None else "its provider has no `oauth`"
        remedy = f"mend relay.yaml, or: {command('accounts')} remove {account.name}"
        return Check("accounts", WARN, f"{account.name} cannot be renewed: {lacks}", remedy)
    if state == ACTIVE and not account.failures:
        return None
    if not account.renews:
        return Check("accounts", WARN, f"{account.name} is {state} and has no refresh token", again)
    if account.reason:
        return Check("accounts", WARN, f"{account.name} is {state} and could not be renewed: {account.reason}", again)
    remedy = f"start the relay, which renews it, or: {command('accounts')} refresh {account.name}"
    return Check("accounts", WARN, f"{account.name} is {state}", remedy)
