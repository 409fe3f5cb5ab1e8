"""Which keys of a pool do not rest, tier by tier, kept until a rest changes or the clock reaches the end of one.

So a choice among a thousand keys costs no look at each of them. It must not know limits, strategies or verdicts.

    Readiness(keys, rests).of("claude-opus-4-5", now).every     -> ((keys of the first tier), (of the second), …)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .exchange import Key
from .rests import Rests, scopes_of
from .strategies import by_tier

MODELS_REMEMBERED = 64

type Tiers = tuple[tuple[Key, ...], ...]


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

    def __init__(self, keys: Sequence[Key], rests: Rests) -> None:
        self._keys = keys
        self._rests = rests
        self._ready: dict[str, Ready] = {}

    def __len__(self) -> int:
        """How many models are remembered."""
        return len(self._ready)

    def of(self, model: str, now: float) -> Ready:
        """Who is ready for a model."""
        ready = self._ready.get(model)
        if ready and ready.version == self._rests.version and ready.since <= now < ready.until:
            return ready
        if len(self._ready) >= MODELS_REMEMBERED:  # clients choose these names
            self._ready.clear()
        self._ready[model] = ready = self._survey(model, now)
        return ready

    def _survey(self, model: str, now: float) -> Ready:
        scopes, rests = scopes_of(model), self._rests
        looks = {
            key: rests.look(key, scopes, now) for key in rests.known()
        }  # nearly always few: the others cost nothing
        every = [key for key in self._keys if key.id not in looks or not looks[key.id].blocked]
        sure = [key for key in every if key.id not in looks or not looks[key.id].half_open]
        until = min((look.changes for look in looks.values()), default=math.inf)
        return Ready(rests.version, now, until, by_tier(every), by_tier(sure))


def outranks(key: Key, other: Key) -> bool:
    """Whether a key is of an earlier tier than another."""
    return key.tier != other.tier and by_tier((other, key))[0][0] is not other
