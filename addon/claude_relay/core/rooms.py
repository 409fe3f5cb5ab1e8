"""How much of its scarcest limit each key has left, as the headers of its latest answer say.

rooms.saw("key-id", {"anthropic-ratelimit-requests-remaining": "5", …}, now)
rooms.of("key-id", now)         -> 0.1
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from .limits import headroom

UNSEEN = (1.0, math.inf)


class Rooms:
    """What is left of the keys, by id."""

    def __init__(self) -> None:
        self._room: dict[str, tuple[float, float]] = {}
        self._seen: dict[str, tuple[Mapping[str, str], float]] = {}

    def saw(self, key: str, headers: Mapping[str, str], now: float) -> None:
        """An answer came; its headers are read only when somebody asks: most pools never do."""
        self._seen[key] = headers, now

    def of(self, key: str, now: float) -> float:
        """The share (0.0 to 1.0) that is left as last seen; 1.0 when never seen, or when that limit has been reset since."""
        if key in self._seen:
            headers, seen = self._seen.pop(key)
            self._room[key] = headroom(headers, seen) or self._room.get(key, UNSEEN)
        share, until = self._room.get(key, UNSEEN)
        return share if now < until else 1.0

    def prune(self, keys: Collection[str]) -> None:
        """Forget all keys but these."""
        self._room = {key: room for key, room in self._room.items() if key in keys}
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
