"""The configuration and the vault of one call, and the keys of both."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import click

from claude_relay.cli.common import load_config
from claude_relay.core.config import Config
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.exchange import Key
from claude_relay.store.keys import StoredKey, mask
from claude_relay.store.vault import Vault

CONFIGURED = "relay.yaml"


@dataclass(frozen=True, slots=True)
class Room:
    """What every sub-command works with."""

    config: Config
    vault: Vault

    @classmethod
    def enter(cls, config: str | None, database: Path | None) -> Room:
        """Load the configuration; ends with status 2 when it is broken."""
        loaded = load_config(config)
        return cls(loaded, Vault(database or loaded.database, environ=os.environ))

    def keys(self) -> tuple[StoredKey, ...]:
        """Those of the vault, then those of the configuration."""
        rests = self.vault.rests()
        return self.vault.list() + tuple(
            StoredKey(key.id, name, key.alias, mask(key.secret), rests=rests.get((name, key.id), ()), source=CONFIGURED)
            for name, provider in self.config.providers.items()
            for key in provider.key_list(name)
        )

    def secrets(self, keys: Collection[StoredKey]) -> dict[str, Key]:
        """The very keys, by id; damaged ones are missing."""
        wanted = {key.id for key in keys}
        sealed = {key.id for key in keys if key.source != CONFIGURED}
        lent = [key for group in self.vault.lend(sealed).values() for key in group] if sealed else []
        listed = [key for name, provider in self.config.providers.items() for key in provider.key_list(name)]
        return {key.id: key for key in (*listed, *lent) if key.id in wanted}

    def provider(self, name: str | None) -> str:
        """The provider of that name, or the only one. Raises UsageError."""
        known = list(self.config.providers)
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise click.UsageError(f"Say which provider with --provider: {', '.join(known)}")
        if name not in known:
            raise click.UsageError(f"relay.yaml has no provider '{shown(name)}'; {suggest(name, known)}")
        return name
