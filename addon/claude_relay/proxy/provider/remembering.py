"""What slow questions were answered with: asked once at a time, in a thread, and remembered for a while.

    remembered = Remembered[str](3.0)
    await remembered.get("http://127.0.0.1:11434", fetch)     -> "qwen3-coder:30b"; None: no answer, now or before

It must not know what is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

FRESH: Final = 60.0
"""Seconds for which an answer counts."""
FRESH_FAILURE: Final = 3.0
MOST: Final = 500
"""Answers that are remembered."""


class _Found[T](NamedTuple):
    """`value`: None when nothing was said. `until`: by the monotonic clock."""

    value: T | None
    until: float


class Remembered[T]:
    """Answers by what they are about. `patience`: seconds that anybody waits for one."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._found: OrderedDict[Hashable, _Found[T]] = OrderedDict()
        self._fetching: dict[Hashable, asyncio.Task[None]] = {}

    async def get(self, place: Hashable, fetch: Callable[[], T | None], *, known_will_do: bool = False) -> T | None:
        """The answer; when none comes in time, the one before.

        fetch          runs in a thread and must end by itself; None: no answer
        known_will_do  with an answer that is too old nobody waits for the next
        """
        found = self._found.get(place)
        if found is None or found.until < time.monotonic():
            task = self._fetching.get(place)
            if task is None:
                task = self._fetching[place] = asyncio.create_task(self._fetch(place, fetch))
            if found is None or found.value is None or not known_will_do:
                await asyncio.wait([task], timeout=self._patience)
        found = self._found.get(place)
        return found.value if found is not None else None

    async def _fetch(self, place: Hashable, fetch: Callable[[], T | None]) -> None:
        try:
            value = await asyncio.to_thread(fetch)
            fresh = FRESH if value is not None else FRESH_FAILURE
            if value is None and (before := self._found.get(place)) is not None:
                value = before.value  # whoever does not answer may only be busy
            self._found[place] = _Found(value, time.monotonic() + fresh)
            self._found.move_to_end(place)
            while len(self._found) > MOST:
                self._found.popitem(last=False)
        finally:
            del self._fetching[place]
