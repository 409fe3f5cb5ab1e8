"""The configuration and the vault of one call, and the keys of both."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click

from claude_relay.cli.console import running
from claude_relay.cli.console.acting import acting
from claude_relay.cli.console.common import load_source, read_config, read_for_clients
from claude_relay.cli.console.running import Found
from claude_relay.store.shared import all_keys
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.vault.vault import Vault


@dataclass(frozen=True)
class Keyring(all_keys.Keyring):
    """What every sub-command works with."""

    relay: Found

    @classmethod
    def enter(cls, config: str | None, database: Path | None, *, to_look: bool = False) -> Self:
        """Load the configuration; ends with status 2 when it is broken.

        to_look  do with the running relay's providers where this shell lacks variables that the configuration needs
        """
        source = load_source(config, read_for_clients if to_look else read_config)
        known = source.config if source.lacks is None else source.config.model_copy(update={"providers": {}})
        path = database or known.database
        relay = running.find(source, path)
        rows = (relay.row,) if relay.row is not None else ()
        return cls(known, Vault(path, environ=os.environ, actor=acting()), rows, Aliases(path), relay)

    def provider(self, name: str | None) -> str:
        """The provider of that name, or the only one. Raises UsageError."""
        try:
            return self.provider_named(name)
        except ValueError as error:
            text = str(error).replace("Say which provider:", "Say which provider with --provider:")
            raise click.UsageError(text) from None
