"""How a pool picks one of the keys that are ready.

A strategy is a function of the candidates (never empty, in the pool's order, all of one tier), of what the pool knows about
them, and of a source of random numbers; `STRATEGIES` is the table. It must not know cooldowns: every candidate may be picked.

    STRATEGIES["least-busy"](candidates, pool, random)      -> the key with the fewest requests under way

None looks at every candidate, so that a choice among a thousand takes microseconds. `headroom`, the default, picks by what
`anthropic-ratelimit-*` headers say is left, ahead of the 429; keys never seen count as full.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from typing import Protocol

from claude_relay.core.exchange import Key

DEFAULT = "headroom"
COMPARED = 16
"""Keys that are compared at most: enough for one of the best, and few enough that not all requests of a moment agree on the same one."""
NEAR = 0.05
"""Shares of a limit that are no difference: what the headers say is of the last answer, and requests have left since."""
TIERS = {"admin": 0, "public": 2}
OTHER_TIER = 1
"""The place of keys without a tier, or of one nobody knows."""


class View(Protocol):
    """What a strategy may ask of the pool."""

    cursor: int

    def position(self, key: Key) -> int:
        """The key's place in the pool."""

    def busy(self, key: Key) -> int:
        """How many requests are under way with it."""

    def used(self, key: Key) -> int:
        """How many requests it has been given."""

    def headroom(self, key: Key) -> float:
        """The share (0.0 to 1.0) of its scarcest limit that is left."""

    def sums(self) -> Sequence[float]:
        """The running sums of the candidates' `chance_of`."""


type Random = Callable[[], float]
type Strategy = Callable[[Sequence[Key], View, Random], Key]


def round_robin(keys: Sequence[Key], view: View, random: Random) -> Key:
    """The next one after the last picked, in the pool's order."""
    return keys[bisect(keys, view.cursor, key=view.position) % len(keys)]


def any_of(keys: Sequence[Key], view: View, random: Random) -> Key:
    """Each with the same chance."""
    return keys[min(int(random() * len(keys)), len(keys) - 1)]


def weighted(keys: Sequence[Key], view: View, random: Random) -> Key:
    """With a chance in proportion to the weights; weights that make no sense count as 0, and if all do, as equal."""
    sums = view.sums()
    if not sums[-1]:
        return any_of(keys, view, random)
    return keys[min(bisect(sums, random() * sums[-1]), len(keys) - 1)]


def chance_of(key: Key) -> float:
    """The key's weight; 0.0 if it makes no sense as one."""
    return key.weight if isfinite(key.weight) and key.weight > 0 else 0.0


def least_used(keys: Sequence[Key], view: View, random: Random) -> Key:
    """The one that was given the fewest requests."""
    return _least(keys, view.used, view, random)


def least_busy(keys: Sequence[Key], view: View, random: Random) -> Key:
    """The one with the fewest requests under way."""
    return _least(keys, view.busy, view, random)


def priority(keys: Sequence[Key], view: View, random: Random) -> Key:
    """The first in the pool's order: later keys only while earlier ones have a cooldown."""
    return keys[0]


def headroom(keys: Sequence[Key], view: View, random: Random) -> Key:
    """Any of those with most left: a twentieth is no difference, so that several relays do not take the same one."""
    compared = _ahead(keys, view)
    left = [view.headroom(key) for key in compared]
    enough = max(left) - NEAR
    return any_of([key for key, share in zip(compared, left, strict=True) if share >= enough], view, random)


def _least(keys: Sequence[Key], measure: Callable[[Key], int], view: View, random: Random) -> Key:
    """The first with the least measure after the last picked."""
    return min(_ahead(keys, view), key=measure)


def _ahead(keys: Sequence[Key], view: View) -> Sequence[Key]:
    """The next ones after the last picked, all of them unless they are very many: the cost of comparing stays flat."""
    start = bisect(keys, view.cursor, key=view.position)
    ahead = keys[start : start + COMPARED]
    return (*ahead, *keys[: min(start, COMPARED - len(ahead))])


STRATEGIES: Mapping[str, Strategy] = {
    "round-robin": round_robin,
    "random": any_of,
    "weighted": weighted,
    "least-used": least_used,
    "least-busy": least_busy,
    "priority": priority,
    "headroom": headroom,
}


def by_tier(keys: Iterable[Key]) -> tuple[tuple[Key, ...], ...]:
    """The keys tier by tier: a later tier is for when no key of an earlier one is of use."""
    tiers: dict[int, list[Key]] = {}
    for key in keys:
        tiers.setdefault(TIERS.get(key.tier, OTHER_TIER), []).append(key)
    return tuple(tuple(tiers[rank]) for rank in sorted(tiers))
