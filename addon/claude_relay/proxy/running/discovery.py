"""Which models providers have, as they say themselves.

    discovery = Discovery()
    await discovery.named(runtime, (Target("ollama", "first"),))     -> (Target("ollama", "qwen3-coder:30b"),)
    await discovery.lists(runtime, ("anthropic",), own)           -> {"anthropic": {"claude-opus-5-5": {…}, …}}

A server on one's own machine has whatever was loaded into it (`models: {"claude-*": first}`), so it is asked for its list; the first
model in it that can hold a conversation is taken. The lists of providers of Claude's format are what `/v1/models` answers with. What a
provider says counts for a minute; nobody waits longer than PATIENCE for it, and no key is judged by it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from claude_relay.core.config import led
from claude_relay.core.config.filling import FIRST, NO_KEY
from claude_relay.core.exchange import Key, Target
from claude_relay.core.keys.pool import Pool
from claude_relay.core.routing.catalogue import Lists, Models
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.messages.wire import CREDENTIALS, Signature
from claude_relay.proxy.provider.listing import listing
from claude_relay.proxy.provider.remembering import Remembered
from claude_relay.upstream.queries import listed

from .runtime import Runtime

PATIENCE: Final = 3.0
"""Seconds a request waits for a list, and a provider has for it."""
KEYS_QUERIED: Final = 3
"""Keys of a pool that are asked one after the other, when those before get no list."""
OF_ANOTHER_KIND: Final = ("embed", "rerank", "whisper", "tts", "moderation")
"""What the names of models have in them that cannot hold a conversation."""
GO_ALONG: Final = frozenset({b"anthropic-beta", b"anthropic-version"})
"""Headers that a client's own credential may need."""


class Discovery:
    """What all providers that were asked have said."""

    def __init__(self) -> None:
        self._first = Remembered[str](PATIENCE)
        self._lists = Remembered[Models](PATIENCE)

    async def named(self, runtime: Runtime, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """The targets, with real names. A provider that does not tell keeps the word: what it answers then says what is wrong."""
        if all(target.model != FIRST for target in targets):
            return targets
        return tuple(
            [
                replace(target, model=await self.first(runtime, target.provider) or FIRST)
                if target.model == FIRST
                else target
                for target in targets
            ]
        )

    async def first(self, runtime: Runtime, name: str) -> str | None:
        """The provider's first model; None when it does not tell. A later look happens while requests go on with what was known."""
        provider, pool = led(runtime.config.providers[name], runtime.way), runtime.pools[name]
        key = pool.keys[0] if pool.keys else Key(name, "", NO_KEY, "")

        def fetch() -> str | None:
            names = listed(provider, key, timeout=PATIENCE)
            return next((name for name in names if not any(word in name.lower() for word in OF_ANOTHER_KIND)), None)

        return await self._first.get(provider.base_url, fetch, known_will_do=True)

    async def lists(self, runtime: Runtime, names: Sequence[str], own: Mapping[str, str]) -> Lists:
        """The lists of providers of Claude's format, without those that do not tell. `own`: a client's credential, see `own_fields`."""
        found = await asyncio.gather(*[self._list(runtime, name, own) for name in names])
        return {name: models for name, models in zip(names, found, strict=True) if models}

    async def _list(self, runtime: Runtime, name: str, own: Mapping[str, str]) -> Models | None:
        provider, pool = led(runtime.config.providers[name], runtime.way), runtime.pools[name]
        if pool.keys:
            keys, place = keys_to_query(pool, NOW()), (name, provider.base_url)
            return await self._lists.get(place, partial(listing, provider, keys, timeout=PATIENCE))
        if not own or not pool.passthrough:
            return None
        credential = hashlib.sha256(repr(sorted(own.items())).encode()).digest()  # others may have other models
        fetch = partial(listing, provider, [Key(name, "", "", "")], own=own, timeout=PATIENCE)
        return await self._lists.get((name, provider.base_url, credential), fetch)


def keys_to_query(pool: Pool, now: float) -> tuple[Key, ...]:
    """The keys that may get a list, the ready ones first; those that are out get none."""
    known = list(zip(pool.keys, pool.state(now).keys, strict=True))
    usable = sorted((pair for pair in known if pair[1].status != "out"), key=lambda pair: pair[1].status != "ready")
    return tuple(key for key, _ in usable[:KEYS_QUERIED])


def own_fields(signature: Signature | None) -> dict[str, str]:
    """A client's own credential with what belongs to it, by lower-case names; empty when it has none."""
    fields = signature.fields if signature is not None else ()
    kept = {name.lower(): value for name, value in fields if name.lower() in CREDENTIALS | GO_ALONG}
    if CREDENTIALS.isdisjoint(kept):
        return {}
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in kept.items()}
