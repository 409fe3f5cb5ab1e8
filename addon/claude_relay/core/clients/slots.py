"""Concurrent requests: a place for each, of those that this relay holds a lease of.

    slots = Slots()
    slots.take(bounds, ticks)            None: taken, all of them; else the bound that has no place
    slots.free(bounds, ticks)
    wants = slots.wants(ticks)           what has changed, for who gives leases: once a second, and at once where some are `lacking`
    slots.leased({key: 4}, until)        what came of it

A place counts as long as its lease, by a clock that all relays on the machine have. Who cannot renew lets nothing begin any more before
others may have its places. It must not know who waits, nor where leases are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .demand import Bound

IDLE, IDLE_ALONE = 10.0, 60.0
"""Seconds for which places are held that nobody uses; and where no other relay runs that may want them."""
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
    """The places of one limit for one subject. `leased` of them are this relay's, as long as its leases last."""

    limit: int
    leased: int = 0
    busy: int = 0
    waiting: int = 0
    used_at: float = 0.0
    lasts: float = SOON


class Slots:
    """All places that this relay holds, until `until`. `ticks`: seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.held: dict[str, Held] = {}
        self.until = 0.0
        self.urgent = False
        """Whether one was touched of which this relay has not all places."""
        self._touched: set[str] = set()
        """Those of which there is something to tell."""
        self._aging: deque[tuple[float, set[str]]] = deque()
        """Those of which something was told, and when: whoever is in none of the later sets is idle in the end."""

    def full(self, bounds: Iterable[Bound], ticks: float) -> Bound | None:
        """The first that has no place; None: all have."""
        found = None
        for bound in bounds:
            held = self._held(bound)
            held.used_at = ticks
            if ticks >= self.until or held.busy >= held.leased or held.busy >= held.limit:
                found = found or bound
        return found

    def lacking(self, bounds: Iterable[Bound], ticks: float) -> bool:
        """Whether others, or nobody, hold places of these that may be free."""
        return ticks >= self.until or any((held := self._held(bound)).leased < held.limit for bound in bounds)

    def unleased(self, bounds: Iterable[Bound], ticks: float) -> bool:
        """Whether this relay has no place of one of these."""
        return ticks >= self.until or any(not self._held(bound).leased for bound in bounds)

    def _held(self, bound: Bound) -> Held:
        limit = int(bound.limit.amount)
        held = self.held.get(bound.key)
        if held is None:
            held = self.held[bound.key] = Held(limit)
        held.limit = limit
        self.urgent = self.urgent or held.leased != limit
        self._touched.add(bound.key)
        return held

    def take(self, bounds: Sequence[Bound], ticks: float) -> Bound | None:
        """A place of each, or of none. Returns the first that has none; None: taken."""
        for n, bound in enumerate(bounds):
            held = self.held.get(bound.key)
            if held is None or held.limit != bound.limit.amount:
                held = self._held(bound)
            if ticks >= self.until or held.busy >= held.leased or held.busy >= held.limit:
                for earlier in bounds[:n]:
                    self.held[earlier.key].busy -= 1
                return self.full(bounds, ticks)
            held.busy += 1
            held.used_at = ticks
            self._touched.add(bound.key)
        return None

    def give_back(self, keys: Iterable[str], ticks: float, since: float) -> None:
        """They are free again. `since`: when they were taken."""
        for key in keys:
            held = self.held[key]
            held.busy -= 1
            held.used_at = ticks
            held.lasts += WEIGHT * ((ticks - since if ticks > since else 0.0) - held.lasts)
            self._touched.add(key)

    def waits(self, bounds: Iterable[Bound], more: int) -> None:
        """One waits for them now (1), or no longer (-1)."""
        for bound in bounds:
            self._held(bound).waiting += more

    def soon(self, bound: Bound) -> float:
        """Seconds until one more may have its place, as far as the earlier ones tell."""
        held = self.held[bound.key]
        return min(MOST, max(1.0, held.lasts * (held.waiting + 1) / held.limit))

    def wants(self, ticks: float, idle: float = IDLE) -> dict[str, Want | None]:
        """What to tell of those that were used since this was asked last. None: nobody has used it for so many seconds; it is
        forgotten, and its lease given back.
        """
        said: dict[str, Want | None] = {}
        self.urgent = False
        if self._touched:
            touched, self._touched = self._touched, set()
            self._aging.append((ticks, touched))
            for key in touched:
                if (held := self.held.get(key)) is not None:
                    said[key] = Want(held.limit, held.busy, held.waiting)
        while self._aging and ticks >= self._aging[0][0] + idle:
            for key in self._aging.popleft()[1]:
                held = self.held.get(key)
                if held is not None and not (held.busy or held.waiting) and ticks >= held.used_at + idle:
                    del self.held[key]
                    said[key] = None
        return said

    def leased(self, given: Mapping[str, int], until: float) -> tuple[bool, bool]:
        """All leases last until then; so many places are this relay's of those in `given`. Returns whether there are more of any than
        before, and whether there are fewer.
        """
        self.until = until
        more = fewer = False
        for key, places in given.items():
            if (held := self.held.get(key)) is not None:
                more, fewer = more or places > held.leased, fewer or places < held.leased
                held.leased = places
        return more, fewer

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
