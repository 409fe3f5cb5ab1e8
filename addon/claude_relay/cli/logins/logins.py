"""The configuration and the accounts of one call, and which accounts its words mean.

logins = Logins.enter(config, database)
logins.meant(("anthropic/v3", "me@example.com"), everything=False, provider=None, objection=in_use)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from claude_relay.cli.console.acting import acting
from claude_relay.cli.console.common import load_source, read_config, read_for_clients
from claude_relay.cli.console.taking_back import original
from claude_relay.core.config import Config, Provider, WayOut, way_out
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.errors import clean
from claude_relay.core.installation import command
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Vault

type Objection = Callable[[Account], str]
"""Why a command cannot do anything with an account; empty when it can."""

WORDS: tuple[Callable[[Account], str], ...] = (
    lambda account: account.id,
    lambda account: account.name,
    lambda account: account.alias,
    lambda account: account.label,
    lambda account: account.account,
)
NO_OAUTH = (
    "No provider of relay.yaml has `oauth`: say there where its accounts log in, and as which client of your own. "
    "docs/accounts.md shows how."
)


def in_use(account: Account) -> str:
    """For what concerns accounts that are there."""
    return "was removed; bring it back with restore" if account.removed_at else ""


def removed(account: Account) -> str:
    """For bringing back."""
    return "" if account.removed_at else "was not removed"


def anything(account: Account) -> str:
    """No objection."""
    return ""


@dataclass(frozen=True)
class Logins:
    """What every sub-command works with."""

    config: Config
    vault: Vault
    accounts: Accounts

    @classmethod
    def enter(cls, config: str | None, database: Path | None, *, to_look: bool = False) -> Logins:
        """Load the configuration; ends with status 2 when it is broken. `to_look`: its providers are of no interest."""
        source = load_source(config, read_for_clients if to_look else read_config)
        vault = Vault(database or source.config.database, environ=os.environ, actor=acting())
        return cls(source.config, vault, Accounts(vault))

    @property
    def way(self) -> WayOut:
        """What the environment says of the way out, but for what leads through the relay."""
        return way_out(self.config, original(os.environ))

    def provider(self, name: str | None) -> tuple[str, Provider]:
        """The provider of that name, or the only one whose accounts can log in. Raises UsageError."""
        known = [name for name, provider in self.config.providers.items() if provider.oauth is not None]
        if not known:
            raise click.UsageError(NO_OAUTH)
        if name is None and len(known) > 1:
            raise click.UsageError(f"Say which provider with --provider: {', '.join(known)}")
        chosen = known[0] if name is None else name
        if chosen not in known:
            has = chosen in self.config.providers
            what = "has no `oauth` in relay.yaml" if has else "is no provider of relay.yaml"
            raise click.UsageError(f"'{shown(chosen)}' {what}; {suggest(chosen, known)}")
        return chosen, self.config.providers[chosen]

    def one(self, word: str, provider: str | None = None, objection: Objection = in_use) -> Account:
        """The account of that name. Raises UsageError."""
        return self._named(self.accounts.list(), word, provider, objection)

    def meant(
        self, words: Sequence[str], *, everything: bool, provider: str | None, objection: Objection
    ) -> tuple[Account, ...]:
        """The accounts that are meant, each once. Raises UsageError."""
        if bool(words) == everything:
            raise click.UsageError(
                "Name accounts (id, alias, label or e-mail), or say --all, with --provider as you like."
            )
        every = self.accounts.list()
        if everything:
            return tuple(one for one in every if provider in (None, one.provider) and not objection(one))
        named = {self._named(every, word, provider, objection).id for word in words}
        return tuple(one for one in every if one.id in named)

    @staticmethod
    def _named(every: Sequence[Account], word: str, provider: str | None, objection: Objection) -> Account:
        pool = [one for one in every if provider in (None, one.provider)]
        for name in WORDS:
            found = [one for one in pool if name(one) == word and word]
            possible = [one for one in found if not objection(one)]
            if len(possible) > 1:
                raise click.UsageError(
                    f"'{clean(word)}' may be {' or '.join(one.name for one in possible)}; say which."
                )
            if possible:
                return possible[0]
            if found:
                raise click.UsageError(f"{found[0].name} {objection(found[0])}.")
        raise click.UsageError(f"No account is called '{clean(word)}'. See: {command('accounts')} list")
