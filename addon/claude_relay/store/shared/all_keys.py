"""All keys: those of the vault, and those of relay.yaml as this process has them, or else as the relays that run have them.

    keyring = Keyring(config, Vault(database), running(database, now), Aliases(database))
    keyring.every()                          StoredKeys, with cooldowns, and which is chosen
    keyring.secrets(keys)                   the very keys, by id
    keyring.choose("anthropic", key)        it goes before the others; None: none does

All of it waits for the disk. What this module must not know: who asks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from claude_relay.core.config import Config
from claude_relay.core.config.problems import shown, suggest
from claude_relay.core.exchange import Key
from claude_relay.core.keys.aliases import Name, place_of
from claude_relay.core.times import seconds_of
from claude_relay.store.db.database import StoreError
from claude_relay.store.vault.records import InCooldown, StoredKey, mask
from claude_relay.store.vault.vault import Vault

from .relays import RelayRow
from .remembered import Aliases

CONFIGURED, RUNNING, VAULT = "relay.yaml", "running relay", "vault"
"""Where a key comes from; the second: only the running relay has it, from the variables of its own terminal."""


@dataclass(frozen=True)
class Keyring:
    """`rows`: the relays that count, the first before others. `aliases`: what relay.yaml's keys are called."""

    config: Config
    vault: Vault
    rows: Sequence[RelayRow]
    aliases: Aliases

    def every(self) -> tuple[StoredKey, ...]:
        """Those of the vault, then those of the configuration: as this process has them, but where a running relay has others.

        In the order of the running relay, then of this process.
        """
        cooldowns, chosen = self.vault.cooldowns(), self.vault.chosen()
        own = {
            (key.provider, key.alias): StoredKey(
                key.id,
                key.provider,
                key.alias,
                mask(key.secret),
                cooldowns=cooldowns.get((key.provider, key.id), ()),
                source=CONFIGURED,
                chosen=chosen.get(key.provider) == key.id,
            )
            for key in self.configured
        }
        others = {(key.provider, key.alias): key for key in self._of_relays()}
        own = {place: key for place, key in own.items() if place not in others or others[place].mask == key.mask}
        return self.vault.list() + tuple((others | own).values())

    @cached_property
    def configured(self) -> tuple[Key, ...]:
        """The configuration's keys, by the names that they have or will get, and the ids that they are stored by.

        Until a relay of this version has met a key, what is stored of it is by the id that it has in a process. Where the names
        cannot be read, keys go by their place.
        """
        keys = self._of_configuration()
        try:
            names = self.aliases.foresee(keys)
        except StoreError:
            return tuple(keys)
        return tuple(_called(key, names[place_of(key)]) for key in keys)

    def _of_configuration(self) -> list[Key]:
        return [key for name, provider in self.config.providers.items() for key in provider.key_list(name)]

    def _of_relays(self) -> Iterator[StoredKey]:
        """The running relays' keys of their configuration."""
        for row in reversed(self.rows):
            for name, keys in row.keys().items():
                yield from (_running(name, key) for key in keys if key["source"] == CONFIGURED)

    def secrets(self, keys: Collection[StoredKey]) -> dict[str, Key]:
        """The very keys, by id; damaged ones are missing."""
        wanted = {key.id for key in keys}
        sealed = {key.id for key in keys if key.source == VAULT}
        issued = [key for group in self.vault.issue(sealed).values() for key in group] if sealed else []
        return {key.id: key for key in (*self.configured, *issued) if key.id in wanted}

    def choose(self, provider: str, key: StoredKey | None) -> bool:
        """Let this key go before the others of its provider, while it may be used; None: none. Whether that is new.

        Raises ValueError for a key that cannot be chosen, StoreError.
        """
        if key is None:
            return self.vault.choose(provider, None)
        if why := not_to_choose(key):
            raise ValueError(f"{key.name} {why}")
        id = key.id
        if key.source == CONFIGURED:  # what is stored goes by a name that is remembered
            names = self.aliases.name(self._of_configuration())
            id = next(
                (name.id for place, name in names.items() if (place.provider, name.alias) == (provider, key.alias)), id
            )
        return self.vault.choose(provider, id, key.name)

    def provider_named(self, name: str | None) -> str:
        """The provider of that name; None: the only one there is. Raises ValueError."""
        known = list(self.config.providers)
        if name is None and len(known) == 1:
            return known[0]
        if name is None:
            raise ValueError(f"Say which provider: {', '.join(known)}")
        if name not in known:
            raise ValueError(f"relay.yaml has no provider '{shown(name)}'; {suggest(name, known)}")
        return name


def not_to_choose(key: StoredKey) -> str:
    """Why a key cannot go before the others; empty: it can."""
    if key.source == RUNNING:
        return "is known to the running relay alone; do this where the same variables are set"
    if key.removed_at is not None:
        return "was removed; bring it back first"
    return "" if key.enabled else "is disabled; enable it first"


def _called(key: Key, name: Name) -> Key:
    return replace(key, alias=name.alias, id=name.id if name.sure else key.id)


def _running(provider: str, key: Mapping[str, Any]) -> StoredKey:
    """A key as the relay's row tells it; it has no id here, for ids come from secrets."""
    ends = {"out": math.inf, "cooldown": seconds_of(key["until"]) or math.inf}
    cooldowns = (InCooldown("", ends[key["state"]], key["reason"]),) if key["state"] in ends else ()
    id = f"relay:{provider}/{key['alias']}"
    return StoredKey(id, provider, key["alias"], key["mask"], attempts=key["used"], cooldowns=cooldowns, source=RUNNING)
