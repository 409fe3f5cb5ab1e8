"""How keys and pools are, as plain values for status reports: aliases, times and reasons, never a secret."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key for a status report. `until` None: ready, or out (see `status`: ready, resting, probing, out)."""

    alias: str
    status: str
    until: float | None
    reason: str
    in_flight: int
    used: int
    headroom: float


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool for a status report; rests of key × model or family do not take a key from `ready`."""

    provider: str
    total: int
    ready: int
    resting: int
    out: int
    keys: tuple[KeyState, ...]
