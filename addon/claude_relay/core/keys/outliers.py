"""When a key is the cause of failures of the route (refused, reset, 5xx, silence).

A failure counts against a key only when the very request that met it then succeeded with another key of the provider: a provider
that is down for everybody, and a request that nobody can answer, say nothing about any key. It must not know cooldowns.

    outliers = Outliers()
    outliers.failed("k1")           -> True after 3 such failures among the last 5 tries with this key
    outliers.is_well(now, "k1")     -> True when another key succeeded within the last minute
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

FAILURES, TRIES = 3, 5
RECENT = 60.0
"""Seconds for which a success says that the provider is well."""


@dataclass(frozen=True, slots=True)
class _Success:
    key: str = ""
    at: float = -math.inf


class Outliers:
    """The latest tries with a pool's keys, by which one that fails where others succeed is found. Keys are ids."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._failed: dict[str, deque[bool]] = {}
        self._last = _Success()
        self._last_of_another = _Success()

    def succeeded(self, key: str, now: float) -> None:
        """A try with this key was answered."""
        if key in self._failed:  # a key that never failed needs no book
            self._failed[key].append(False)
        if key != self._last.key:
            self._last_of_another = self._last
        self._last = _Success(key, now)

    def failed(self, key: str) -> bool:
        """A request failed with this key, and succeeded with another. True when the key is the cause."""
        tries = self._failed.setdefault(key, deque(maxlen=TRIES))
        tries.append(True)
        return sum(tries) >= FAILURES

    def is_well(self, now: float, besides: str) -> bool:
        """Whether the provider answered to another key than this one of late."""
        last = self._last if self._last.key != besides else self._last_of_another
        return now - last.at <= RECENT

    def prune(self, keys: Collection[str]) -> None:
        """Forget all keys but these."""
        for gone in self._failed.keys() - set(keys):
            del self._failed[gone]
