"""When a key is to blame for failures of the route (refused, reset, 5xx, silence).

Only after several of its last outcomes, and only if it does worse than its siblings: when the provider is down for every key,
none of them suffers. It must not know rests.

    blame = RouteBlame()
    blame.failed("k1", now)      -> True after 3 failures among its last 5 outcomes, if another key succeeded since the first of them
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

FAILURES, OUTCOMES = 3, 5


@dataclass(frozen=True, slots=True)
class _Success:
    key: str = ""
    at: float = -math.inf


class RouteBlame:
    """The latest outcomes of a pool's keys, as far as they matter for the route."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self._outcomes: dict[str, deque[float | None]] = {}
        self._last = _Success()
        self._last_of_another = _Success()

    def succeeded(self, key: str, now: float) -> None:
        """An attempt with this key was answered."""
        if key in self._outcomes:  # a key that never failed needs no book
            self._outcomes[key].append(None)
        if key != self._last.key:
            self._last_of_another = self._last
        self._last = _Success(key, now)

    def failed(self, key: str, now: float) -> bool:
        """An attempt with this key failed on the way. True when the key is to blame."""
        outcomes = self._outcomes.setdefault(key, deque(maxlen=OUTCOMES))
        outcomes.append(now)
        failures = [when for when in outcomes if when is not None]
        sibling = self._last if self._last.key != key else self._last_of_another
        return len(failures) >= FAILURES and sibling.at >= failures[0]

    def prune(self, keys: Collection[str]) -> None:
        """Forget all keys but these."""
        for gone in self._outcomes.keys() - set(keys):
            del self._outcomes[gone]
