"""How many keys each provider has, and how many of them are ready: as the relay says, else by relay.yaml and the vault."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from pydantic import BaseModel

from claude_relay.core.config import Config
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
        return {name: _pool(keys) for name, keys in rows[0].keys().items()}
    issued = _in_vault(parts)
    return {name: Pool(total=len(provider.keys) + issued[name]) for name, provider in config.providers.items()}


def _in_vault(parts: Parts) -> Counter[str]:
    """How many keys of the vault may be used, by provider. None when it cannot be read: the page Keys says why."""
    try:
        watch: Watch = parts.kept.setdefault("vault watch", Watch(parts.database, "vault"))
        generation = watch.look()
        known: tuple[int, Counter[str]] | None = parts.kept.get("keys by provider")
        if known is None or known[0] != generation:
            found = Counter(key.provider for key in parts.vault(None).list() if key.enabled and key.removed_at is None)
            parts.kept["keys by provider"] = known = generation, found
    except (VaultError, sqlite3.Error, OSError):
        return Counter()
    return known[1]


def _pool(keys: list[dict[str, Any]]) -> Pool:
    states = [str(key["state"]) for key in keys]
    ready = sum(state == "ready" for state in states)
    out = sum(state in ("out", "disabled") for state in states)
    flying = sum(int(key["in_flight"]) for key in keys)
    return Pool(total=len(keys), ready=ready, out=out, waiting=len(keys) - ready - out, in_flight=flying, live=True)
