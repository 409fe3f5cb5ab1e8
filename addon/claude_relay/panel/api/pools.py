"""How many keys each provider has, and how many of them are ready: as the relay says, else by relay.yaml and the vault."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from claude_relay.core.config import Config
from claude_relay.core.keys.check_results import NO_CREDIT, REVOKED
from claude_relay.panel.common.parts import Parts
from claude_relay.store.db.watch import Watch
from claude_relay.store.vault.vault import VaultError


class Pool(BaseModel):
    """Keys of a provider. `live`: as a running relay says; otherwise it is not known which of them are ready."""

    total: int = 0
    ready: int = 0
    waiting: int = 0
    out: int = 0
    in_flight: int = 0
    live: bool = False


def pools_of(parts: Parts, config: Config) -> dict[str, Pool]:
    """As the newest relay says, else by configuration and vault."""
    rows = parts.relays()
    if rows:
        bad = refused(parts)
        return {name: _pool(name, keys, bad) for name, keys in rows[0].keys().items()}
    issued = Counter(provider for provider, _ in _in_vault(parts))
    return {name: Pool(total=len(provider.keys) + issued[name]) for name, provider in config.providers.items()}


def refused(parts: Parts) -> set[tuple[str, str]]:
    """Provider and alias of those that a check found useless: a relay that has not tried them since thinks better of them."""
    return {place for place, useless in _in_vault(parts).items() if useless}


def _in_vault(parts: Parts) -> Mapping[tuple[str, str], bool]:
    """Provider and alias of keys that are there and enabled → whether a check found them useless.

    Empty when the vault cannot be read: the page Keys says why.
    """
    try:
        watch: Watch = parts.kept.setdefault("vault watch", Watch(parts.database, "vault"))
        generation = watch.look()
        known: tuple[int, dict[tuple[str, str], bool]] | None = parts.kept.get("keys by provider")
        if known is None or known[0] != generation:
            keys = [key for key in parts.vault(None).list() if key.enabled and key.removed_at is None]
            found = {(key.provider, key.alias): key.check_status in (REVOKED, NO_CREDIT) for key in keys}
            parts.kept["keys by provider"] = known = generation, found
    except (VaultError, sqlite3.Error, OSError):
        return {}
    return known[1]


def _pool(provider: str, keys: Sequence[Mapping[str, Any]], bad: set[tuple[str, str]]) -> Pool:
    states = ["out" if (provider, key["alias"]) in bad else str(key["state"]) for key in keys]
    ready = sum(state == "ready" for state in states)
    out = sum(state in ("out", "disabled") for state in states)
    flying = sum(int(key["in_flight"]) for key in keys)
    return Pool(total=len(keys), ready=ready, out=out, waiting=len(keys) - ready - out, in_flight=flying, live=True)
