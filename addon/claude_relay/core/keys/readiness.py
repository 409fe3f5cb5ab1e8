"""Which keys of a pool have no cooldown, tier by tier, kept until a cooldown changes or the clock reaches the end of one.

So a choice among a thousand keys costs no look at each of them. It must not know limits, strategies or verdicts.

    Readiness(keys, cooldowns).of("claude-opus-4-5", now).every     -> (Tier of the first, Tier of the second, …)

A mask has a byte for each key, in the pool's order: 1 for those it names, else 0. Masks are combined and applied in a microsecond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from claude_relay.core.exchange import Key

from .cooldowns import Cooldowns, scopes_of
from .selection import by_tier

MODELS_REMEMBERED = 64

type Mask = bytes | bytearray


@dataclass(frozen=True, slots=True)
class Tier:
    """Keys among which a strategy chooses; never empty."""

    keys: tuple[Key, ...]
    mask: bytes


type Tiers = tuple[Tier, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """Who may be chosen for a model. `sure` leaves out the half-open keys."""

    version: int
    since: float
    until: float
    every: Tiers
    sure: Tiers


class Readiness:
    """Who of these keys is ready, by model."""

    def __init__(self, keys: Sequence[Key], cooldowns: Cooldowns) -> None:
        self._keys = keys
        self._cooldowns = cooldowns
        self._place = {key.id: place for place, key in enumerate(keys)}
        self._tiers = [self._mask(tier) for tier in by_tier(keys)]
        self._ready: dict[str, Ready] = {}

    def __len__(self) -> int:
        """How many models are remembered."""
        return len(self._ready)

    def of(self, model: str, now: float) -> Ready:
        """Who is ready for a model."""
        ready = self._ready.get(model)
        if ready and ready.version == self._cooldowns.version and ready.since <= now < ready.until:
            return ready
        if len(self._ready) >= MODELS_REMEMBERED:  # clients choose these names
            self._ready.clear()
        self._ready[model] = ready = self._survey(model, now)
        return ready

    def _survey(self, model: str, now: float) -> Ready:
        scopes, cooldowns = scopes_of(model), self._cooldowns
        known = cooldowns.known() & self._place.keys()  # nearly always few: the others cost nothing
        looks = [(self._place[key], cooldowns.look(key, scopes, now)) for key in known]
        every = bytearray(b"\1" * len(self._keys))
        for place, look in looks:
            every[place] = not look.blocked
        sure = every.copy()
        for place, look in looks:
            sure[place] = sure[place] and not look.half_open
        until = min((look.changes for _, look in looks), default=math.inf)
        return Ready(cooldowns.version, now, until, self._among(every), self._among(sure))

    def _among(self, those: Mask) -> Tiers:
        masks = [both(tier, those) for tier in self._tiers]
        return tuple(Tier(tuple(compress(self._keys, mask)), mask) for mask in masks if 1 in mask)

    def _mask(self, keys: Sequence[Key]) -> bytes:
        mask = bytearray(len(self._place))
        for key in keys:
            mask[self._place[key.id]] = 1
        return bytes(mask)


def both(one: Mask, other: Mask) -> bytes:
    """The keys that are in both masks."""
    if 0 not in one:
        return bytes(other)
    if 0 not in other:
        return bytes(one)
    return (int.from_bytes(one) & int.from_bytes(other)).to_bytes(len(one))


def outranks(key: Key, other: Key) -> bool:
    """Whether a key is of an earlier tier than another."""
    return key.tier != other.tier and by_tier((other, key))[0][0] is not other
