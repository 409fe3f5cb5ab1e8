"""Which model a provider has, where the configuration leaves it to the provider: `models: {"claude-*": first}`.

    discovery = Discovery()
    await discovery.named(runtime, (Hop("ollama", "first"),))     -> (Hop("ollama", "qwen3-coder:30b"),)

A server on one's own machine has whatever was loaded into it, so it is asked for its list; the first model in it that can hold a
conversation is taken. What it says counts for a minute. A later look happens while requests go on with what was known.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final, NamedTuple

from claude_relay.asking import listed
from claude_relay.core.config import FIRST, NO_KEY, led
from claude_relay.core.exchange import Hop, Key

from .runtime import Runtime

FRESH: Final = 60.0
"""Seconds for which an answer counts."""
FRESH_FAILURE: Final = 3.0
PATIENCE: Final = 3.0
"""Seconds a request waits for the list."""
OF_ANOTHER_KIND: Final = ("embed", "rerank", "whisper", "tts", "moderation")
"""What the names of models have in them that cannot hold a conversation."""


class Found(NamedTuple):
    """What a provider said. `model`: None when it said nothing."""

    model: str | None
    until: float


class Discovery:
    """The models of all providers that were asked."""

    def __init__(self) -> None:
        self._found: dict[str, Found] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def named(self, runtime: Runtime, hops: tuple[Hop, ...]) -> tuple[Hop, ...]:
        """The hops, with real names. A provider that does not tell keeps the word: what it answers then says what is wrong."""
        if all(hop.model != FIRST for hop in hops):
            return hops
        return tuple(
            [
                replace(hop, model=await self.first(runtime, hop.provider) or FIRST) if hop.model == FIRST else hop
                for hop in hops
            ]
        )

    async def first(self, runtime: Runtime, name: str) -> str | None:
        """The provider's first model; None when it does not tell."""
        place = runtime.config.providers[name].base_url
        found = self._found.get(place)
        if found is None or found.until < time.monotonic():
            task = self._asking.get(place)
            if task is None:
                task = self._asking[place] = asyncio.create_task(self._ask(runtime, name, place))
            if found is None or found.model is None:
                await asyncio.wait([task], timeout=PATIENCE)
        found = self._found.get(place)
        return found.model if found is not None else None

    async def _ask(self, runtime: Runtime, name: str, place: str) -> None:
        try:
            pool = runtime.pools[name]
            key = pool.keys[0] if pool.keys else Key(name, "", NO_KEY, "")
            provider = led(runtime.config.providers[name], runtime.way)
            names = await asyncio.to_thread(listed, provider, key, timeout=PATIENCE)
            model = next((name for name in names if not any(word in name.lower() for word in OF_ANOTHER_KIND)), None)
            known = self._found.get(place)
            if model is None and known is not None:  # it may only be busy with loading
                model = known.model
            self._found[place] = Found(model, time.monotonic() + (FRESH if model and names else FRESH_FAILURE))
        finally:
            del self._asking[place]
