"""How much of its scarcest limit each key has left: what the headers of its latest answer said, brought up to now.

    refilled      limits of a minute are token buckets: what was left grows evenly until the reset; a window of hours does not
    families      a window of one family of models counts for requests for these
    under way     a request not answered yet has taken its part, which no header says: what answers took of this key on average

    rooms.started("key-id")
    rooms.answered("key-id")
    rooms.saw("key-id", {"anthropic-ratelimit-requests-remaining": "5", …}, now, now)
    rooms.of("key-id", now)         -> 0.1

Both matter: without the second, all requests that come before the first answer go to the same key.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from claude_relay.core.bodies.ratelimits import Left, all_left, family_of, family_shares, windows_in

USUAL_COST = 0.05
"""What a request takes of a key that nothing is known of."""
WEIGHT = 0.2
"""Of the newest answer in the average."""


@dataclass(slots=True)
class _Limit:
    """One key: `share` was left when it was `seen`, and grows by `gain` a second until `reset`, when all is there again.

    cost     what an answer takes
    families what is left of windows of one family: share and reset
    waiting  the latest headers, when nobody has read them yet; `answers` since the last reading
    each     all limits of which they said something, as of `seen`
    """

    share: float = 1.0
    seen: float = -math.inf
    reset: float = -math.inf
    gain: float = 0.0
    cost: float = USUAL_COST
    families: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    waiting: tuple[Mapping[str, str], float, float] | None = None
    each: tuple[Left, ...] = ()
    answers: int = 0

    def left(self, now: float) -> float:
        """The share that is left, requests under way not counted."""
        return 1.0 if now >= self.reset else self.share + self.gain * (now - self.seen)

    def read(self) -> None:
        """Read the latest headers; what is missing against the refilled share is the cost of the answers since the last time."""
        assert self.waiting is not None
        (headers, seen, today), self.waiting = self.waiting, None
        each = all_left(headers, today)
        if not each:
            return
        found = min(each)
        shares = family_shares(windows_in(headers, today))
        self.families = {family: (left.share, left.reset + (seen - today)) for family, left in shares.items()}
        taken = (self.left(seen) - found.share) / self.answers
        if self.seen > -math.inf and taken > 0:
            self.cost += WEIGHT * (taken - self.cost)
        self.each = tuple(one._replace(reset=one.reset + (seen - today)) for one in each)
        reset = found.reset + (seen - today)
        self.share, self.seen, self.reset, self.answers = found.share, seen, reset, 0
        self.gain = (1.0 - found.share) / (reset - seen) if found.refills and reset > seen else 0.0


UNSEEN = _Limit()


class Headroom:
    """What is left of the keys, by id."""

    def __init__(self) -> None:
        self._headroom: dict[str, _Limit] = {}
        self._under_way: Counter[str] = Counter()

    def started(self, key: str) -> None:
        """A request with this key begins."""
        self._under_way[key] += 1

    def answered(self, key: str) -> None:
        """It was answered or given up."""
        self._under_way[key] -= 1
        if self._under_way[key] <= 0:
            del self._under_way[key]

    def saw(self, key: str, headers: Mapping[str, str], now: float, today: float) -> None:
        """A good answer came; its headers, which name dates by `today`, are read only when somebody asks: most pools never do."""
        limit = self._headroom.setdefault(key, _Limit())
        limit.waiting = headers, now, today
        limit.answers += 1

    def heard(self, key: str, left: Left, seen: float, ahead: float) -> None:
        """What an answer said that somebody else got, if nothing newer is known here. Its reset is a date; `ahead`: of this clock."""
        limit = self._headroom.setdefault(key, _Limit())
        if seen > limit.seen and limit.waiting is None:
            limit.share, limit.seen, limit.reset, limit.gain = left.share, seen, left.reset + ahead, 0.0

    def of(self, key: str, now: float, kind: str = "") -> float:
        """The share (1.0: all) that is left; below 0.0 when more is under way than fits. `kind`: of the request (`kinds`)."""
        limit = self._headroom.get(key, UNSEEN)
        if limit.waiting:
            limit.read()
        left = 1.0 if now >= limit.reset else limit.share + limit.gain * (now - limit.seen)
        if limit.families and kind:
            share, reset = limit.families.get(family_of(kind), (1.0, math.inf))
            left = min(left, share if now < reset else 1.0)
        return left - limit.cost * self._under_way[key] if key in self._under_way else left

    def each(self, key: str, now: float) -> dict[str, float]:
        """Limit → the share that is left of it, requests under way not counted; empty when nothing was said."""
        limit = self._headroom.get(key, UNSEEN)
        if limit.waiting:
            limit.read()
        return {one.name: _grown(one, limit.seen, now) for one in limit.each}

    def prune(self, keys: Collection[str]) -> None:
        """Forget all keys but these."""
        self._headroom = {key: limit for key, limit in self._headroom.items() if key in keys}


def _grown(one: Left, seen: float, now: float) -> float:
    if now >= one.reset:
        return 1.0
    gain = (1.0 - one.share) / (one.reset - seen) if one.refills and one.reset > seen else 0.0
    return one.share + gain * (now - seen)
