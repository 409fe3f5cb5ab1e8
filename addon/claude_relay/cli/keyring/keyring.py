"""The configuration and the vault of one call, and the keys of both."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from claude_relay.cli.console import running
from claude_relay.cli.console.acting import acting
from claude_relay.cli.console.common import load_source, read_config, read_for_clients
from claude_relay.cli.console.running import Found
from claude_relay.core.config import Config
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Name, place_of
from claude_relay.core.times import seconds_of
from claude_relay.store.db.database import StoreError
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.vault.records import InCooldown, StoredKey, mask
from claude_relay.store.vault.vault import Vault

CONFIGURED, RUNNING, VAULT = "relay.yaml", "running relay", "vault"
"""Where a key comes from; the second: only the running relay has it, from the variables of its own terminal."""


@dataclass(frozen=True)
class Keyring:
    """What every sub-command works with."""

    config: Config
    vault: Vault
    relay: Found

    @classmethod
    def enter(cls, config: str | None, database: Path | None, *, to_look: bool = False) -> Keyring:
        """Load the configuration; ends with status 2 when it is broken.

        to_look  do with the running relay's providers where this shell lacks variables that the configuration needs
        """
        source = load_source(config, read_for_clients if to_look else read_config)
        known = source.config if source.lacks is None else source.config.model_copy(update={"providers": {}})
        path = database or known.database
        return cls(known, Vault(path, environ=os.environ, actor=acting()), running.find(source, path))

    def keys(self) -> tuple[StoredKey, ...]:
        """Those of the vault, then those of the configuration: as this shell has them, but where the running relay has others.

        In the order of the running relay, then of this shell.
        """
        cooldowns = self.vault.cooldowns()
        own = {
            (key.provider, key.alias): StoredKey(
                key.id,
                key.provider,
                key.alias,
                mask(key.secret),
                cooldowns=cooldowns.get((key.provider, key.id), ()),
                source=CONFIGURED,
            )
            for key in self.configured
        }
        others = {(key.provider, key.alias): key for key in self._of_relay()}
        own = {place: key for place, key in own.items() if place not in others or others[place].mask == key.mask}
        return self.vault.list() + tuple((others | own).values())

    @cached_property
    def configured(self) -> tuple[Key, ...]:
        """The configuration's keys, by the names that they have or will get, and the ids that they are stored by.

        Until a relay of this version has met a key, what is stored of it is by the id that it has in a process. Where the names
        cannot be read, keys go by their place.
        """
        keys = [key for name, provider in self.config.providers.items() for key in provider.key_list(name)]
        try:
            names = Aliases(self.vault.path).foresee(keys)
        except StoreError:
            return tuple(keys)
        return tuple(_called(key, names[place_of(key)]) for key in keys)

    def _of_relay(self) -> Iterator[StoredKey]:
        """The running relay's keys of its configuration."""
        pools = self.relay.row.keys() if self.relay.row is not None else {}
        for name, keys in pools.items():
            yield from (_running(name, key) for key in keys if key["source"] == CONFIGURED)

    def secrets(self, keys: Collection[StoredKey]) -> dict[str, Key]:
        """The very keys, by id; damaged ones are missing."""
        wanted = {key.id for key in keys}
        sealed = {key.id for key in keys if key.source == VAULT}
        issued = [key for group in self.vault.issue(sealed).values() for key in group] if sealed else []
        return {key.id: key for key in (*self.configured, *issued) if key.id in wanted}

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


def _called(key: Key, name: Name) -> Key:
    return replace(key, alias=name.alias, id=name.id if name.sure else key.id)


def _running(provider: str, key: Mapping[str, Any]) -> StoredKey:
    """A key as the relay's row tells it; it has no id here, for ids come from secrets."""
    ends = {"out": math.inf, "cooldown": seconds_of(key["until"]) or math.inf}
    cooldowns = (InCooldown("", ends[key["state"]], key["reason"]),) if key["state"] in ends else ()
    id = f"relay:{provider}/{key['alias']}"
    return StoredKey(id, provider, key["alias"], key["mask"], attempts=key["used"], cooldowns=cooldowns, source=RUNNING)
