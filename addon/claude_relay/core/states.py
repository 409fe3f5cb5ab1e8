"""How keys and pools are, as plain values for status reports: aliases, times and reasons, never a secret."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key for a status report. `until` None: it does not rest, or nobody knows how long.

    status  ready | full (its own limits allow no more now) | resting | probing (its next request is a probe) | out
    """

    alias: str
    status: str
    until: float | None
    reason: str
    in_flight: int
    used: int
    headroom: float


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool for a status report; rests of key × model or family do not take a key from `ready`. `full`: neither ready nor resting."""

    provider: str
    total: int
    ready: int
    resting: int
    out: int
    keys: tuple[KeyState, ...]
    full: int = 0

    @classmethod
    def of(cls, provider: str, keys: Sequence[KeyState]) -> PoolState:
        """Counted from its keys."""
        count = Counter(key.status for key in keys)
        resting = count["resting"] + count["probing"]
        return cls(provider, len(keys), count["ready"], resting, count["out"], tuple(keys), count["full"])
