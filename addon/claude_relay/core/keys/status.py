"""How keys and pools are, as plain values for status reports: aliases, times and reasons, never a secret."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .cooldown import Rest


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

    @classmethod
    def of(
        cls,
        alias: str,
        rests: Mapping[str, Rest],
        why_full: str,
        now: float,
        in_flight: int,
        used: int,
        headroom: float,
    ) -> KeyState:
        """From a key's rests by scope; only those that still matter are told. `why_full` empty: its limits allow more."""
        rests = {scope: rest for scope, rest in rests.items() if rest.careful or now < rest.opens}
        status = "full" if why_full else "ready"
        if own := rests.get(""):
            status = "out" if own.until == math.inf else "probing" if now >= own.opens else "resting"
        until = own.until if own and status == "resting" else None
        reasons = [f"{scope}: {rest.reason}" if scope else rest.reason for scope, rest in rests.items()]
        reason = "; ".join([*reasons, why_full] if status == "full" else reasons)
        return cls(alias, status, until, reason, in_flight, used, headroom)


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
