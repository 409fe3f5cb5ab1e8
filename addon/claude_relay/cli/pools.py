"""How many keys each provider has: as the running relay says, else by configuration and vault of this shell. No secret is needed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from claude_relay.core.config import Config
from claude_relay.core.config.listening import routed
from claude_relay.store.shared.relays import RelayRow
from claude_relay.store.vault.vault import Vault, VaultError


def counts(config: Config, row: RelayRow | None) -> Mapping[str, int]:
    """Keys by provider."""
    if row is not None:
        return {name: len(keys) for name, keys in row.keys().items()}
    issued = vault_keys(config.database)
    return {name: len(provider.keys) + issued[name] for name, provider in config.providers.items()}


def needs_none(config: Config, row: RelayRow | None) -> bool:
    """Whether a client needs no credential of its own: there are keys, and no provider of a route to which its own would go through.

    A placeholder there would hide the login that such a provider is to get.
    """
    found = counts(config, row)
    return any(found.values()) and not wants_own(config, row)


def wants_own(config: Config, row: RelayRow | None) -> list[str]:
    """The providers to which routes lead and a client's own credential goes through: without a key, or where it takes part."""
    if row is not None:
        return [name for name, pool in json.loads(row.pools).items() if pool["own"]]
    found, reachable = counts(config, None), routed(config)
    return [
        name
        for name, provider in config.providers.items()
        if name in reachable and provider.takes_own(has_keys=found[name] > 0)
    ]


def vault_keys(path: Path) -> Counter[str]:
    """How many keys of the vault may be issued, by provider. None when the file cannot be read: `doctor` says why."""
    try:
        keys = Vault(path, environ={}).list()
    except VaultError:
        return Counter()
    return Counter(key.provider for key in keys if key.enabled and key.removed_at is None)
