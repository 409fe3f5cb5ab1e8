"""Concurrent requests: a place for each, of those that this relay holds a lease of.

    slots = Slots()
    slots.take(bounds, ticks)            None: taken, all of them; else the bound that has no place
    slots.free(bounds, ticks)
    wants = slots.wants(ticks)           what to tell of each to who gives leases: once a second, and at once where some are `lacking`
    slots.leased({key: 4}, until)        what came of it

A place counts as long as its lease, by a clock that all relays on the machine have. Who cannot renew lets nothing begin any more before
others may have its places. It must not know who waits, nor where leases are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .demand import Bound

IDLE = 10.0
"""Seconds for which places are held that nobody uses."""
SOON, MOST = 2.0, 60.0
"""Seconds that a request runs while nothing is known of them, and that are said at most."""
WEIGHT = 0.1
"""Of the latest in the mean of how long they run."""


class Want(NamedTuple):
    """What a relay says of one limit: how many may run in all, how many run and wait here."""

    limit: int
    busy: int
    waiting: int


@dataclass(slots=True)
class Held:
    """The places of one limit for one subject. Until `until` (ticks) `leased` of them are this relay's."""

    limit: int
    leased: int = 0
    until: float = 0.0
    busy: int = 0
    waiting: int = 0
    used_at: float = 0.0
    lasts: float = SOON

    def has_room(self, ticks: float) -> bool:
        """Whether one more may run."""
        return self.busy < min(self.leased, self.limit) and ticks < self.until


class Slots:
    """All places that this relay holds. `ticks`: seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}

    def full(self, bounds: Iterable[Bound], ticks: float) -> Bound | None:
        """The first that has no place; None: all have."""
        found = None
        for bound in bounds:
            held = self._held(bound)
            held.used_at = ticks
            if not held.has_room(ticks):
                found = found or bound
        return found

    def lacking(self, bounds: Iterable[Bound], ticks: float) -> bool:
        """Whether others, or nobody, hold places of these that may be free."""
        return any((held := self._held(bound)).leased < held.limit or ticks >= held.until for bound in bounds)

    def unleased(self, bounds: Iterable[Bound], ticks: float) -> bool:
        """Whether this relay has no place of one of these."""
        return any(not (held := self._held(bound)).leased or ticks >= held.until for bound in bounds)

    def _held(self, bound: Bound) -> Held:
        limit = int(bound.limit.amount)
        held = self.held.get(bound.key)
        if held is None:
            held = self.held[bound.key] = Held(limit)
        held.limit = limit
        return held

    def take(self, bounds: Iterable[Bound], ticks: float) -> Bound | None:
        """A place of each, or of none. Returns the first that has none; None: taken."""
        bounds = tuple(bounds)
        if (full := self.full(bounds, ticks)) is not None:
            return full
        held = self.held
        for bound in bounds:
            held[bound.key].busy += 1
        return None

    def give_back(self, keys: Iterable[str], ticks: float, since: float) -> None:
        """They are free again. `since`: when they were taken."""
        for key in keys:
            held = self.held[key]
            held.busy -= 1
            held.used_at = ticks
            held.lasts += WEIGHT * (max(0.0, ticks - since) - held.lasts)

    def waits(self, bounds: Iterable[Bound], more: int) -> None:
        """One waits for them now (1), or no longer (-1)."""
        for bound in bounds:
            self._held(bound).waiting += more

    def soon(self, bound: Bound) -> float:
        """Seconds until one more may have its place, as far as the earlier ones tell."""
        held = self.held[bound.key]
        return min(MOST, max(1.0, held.lasts * (held.waiting + 1) / held.limit))

    def want(self, key: str, ticks: float) -> Want | None:
        """What to tell. None: nobody has used it for IDLE; it is forgotten, and its lease given back."""
        held = self.held[key]
        if held.busy or held.waiting or ticks < held.used_at + IDLE:
            return Want(held.limit, held.busy, held.waiting)
        del self.held[key]
        return None

    def wants(self, ticks: float) -> dict[str, Want]:
        """All of them."""
        found = ((key, self.want(key, ticks)) for key in tuple(self.held))
        return {key: want for key, want in found if want is not None}

    def leased(self, given: Mapping[str, int], until: float) -> bool:
        """So many are this relay's until then. Returns whether there are more of any than before."""
        more = False
        for key, held in self.held.items():
            if key in given:
                more = more or given[key] > held.leased
                held.leased, held.until = given[key], until
        return more

    def used(self, key: str) -> int:
        """How many run here."""
        held = self.held.get(key)
        return 0 if held is None else held.busy


def share(limit: int, want: Want, others: Mapping[str, Want], held: Mapping[str, int], me: str, turn: int) -> int:
    """How many places a relay gets, so that with those of the others there are never more than the limit.

    others  what they want, by relay; `held`: what they have. `turn`: grows slowly, so that what cannot be divided goes round

    A relay alone gets all. Of others it gets what is free, at least its share. Where one of them has too few, nobody has more than
    its share, and nobody more than it uses.
    """
    free = max(0, limit - sum(held.values()))
    if not others:
        return min(limit, free)
    names = sorted([me, *others])
    count = len(names)
    place = (names.index(me) + turn) % count
    fair = limit // count + (place < limit % count)
    desired = want.busy + want.waiting
    starving = any(one.busy + one.waiting > held.get(name, 0) for name, one in others.items())
    return min(free, min(desired, fair) if starving else max(desired, fair))
