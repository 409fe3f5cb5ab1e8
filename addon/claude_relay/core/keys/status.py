"""How keys and pools are, as plain values for status reports: aliases, times and reasons, never a secret."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .cooldown import Cooldown


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key for a status report. `until` None: it has no cooldown, or nobody knows how long.

    limits  what is left of each of the provider's limits, as a share
    status  ready | full (its own limits allow no more now) | cooldown | probing (its next request is a probe) | out
    """

    alias: str
    status: str
    until: float | None
    reason: str
    in_flight: int
    used: int
    headroom: float
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        alias: str,
        cooldowns: Mapping[str, Cooldown],
        why_full: str,
        now: float,
        in_flight: int,
        used: int,
        headroom: float,
        limits: Mapping[str, float],
    ) -> KeyState:
        """From a key's cooldowns by scope; only those that still matter are told. `why_full` empty: its limits allow more."""
        cooldowns = {
            scope: cooldown for scope, cooldown in cooldowns.items() if cooldown.careful or now < cooldown.opens
        }
        status = "full" if why_full else "ready"
        if own := cooldowns.get(""):
            status = "out" if own.until == math.inf else "probing" if now >= own.opens else "cooldown"
        until = own.until if own and status == "cooldown" else None
        reasons = [f"{scope}: {cooldown.reason}" if scope else cooldown.reason for scope, cooldown in cooldowns.items()]
        reason = "; ".join([*reasons, why_full] if status == "full" else reasons)
        return cls(alias, status, until, reason, in_flight, used, headroom, limits)


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool for a status report; cooldowns of key × model do not take a key from `ready`. `full`: neither ready nor in cooldown."""

    provider: str
    total: int
    ready: int
    in_cooldown: int
    out: int
    keys: tuple[KeyState, ...]
    full: int = 0

    @classmethod
    def of(cls, provider: str, keys: Sequence[KeyState]) -> PoolState:
        """Counted from its keys."""
        count = Counter(key.status for key in keys)
        in_cooldown = count["cooldown"] + count["probing"]
        return cls(provider, len(keys), count["ready"], in_cooldown, count["out"], tuple(keys), count["full"])
