"""Rates by GCRA: how much of a limit per minute is used, as one point in time.

    rate = Rate()
    wait = rate.wait(limit.amount, 1, now)         seconds; 0: there is room
    rate.charge(limit.amount, 1, now)
    rate.charge(limit.amount, -250, now)           it came to 250 less than was charged

`tat` is the theoretical arrival time: when all that was used is made good again. A whole minute's amount may be used at once, and
comes back evenly; in t seconds no more than `amount * (1 + t / 60)` is let through. What weighs more than the whole limit has room
when nothing is used, and is made good afterwards.
https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm

Several relays: each reports what it used (`report`), and takes over what all have where that is something else (`joined`, `absorb`);
between two exchanges each knows its own only. It must not know clocks or where the state is kept. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PERIOD = 60.0
LATE = 1e-6
"""Seconds that rounding may cost somebody who has waited as long as was said."""
LONGEST = 3600.0
"""Seconds ahead that a stored time is believed: the clock may have been another one."""


class Change(NamedTuple):
    """What one relay tells of a rate: where it stands here, by how many seconds it moved since `base`, where it stood for all."""

    tat: float
    moved: float
    base: float


@dataclass(slots=True, eq=False)
class Rate:
    """The state of one limit for one subject.

    tat        no earlier than it was used last
    moved      seconds that were used here since the last report
    base       where it stood for all relays, as far as is known
    unused_at  when it was asked for last by somebody who used nothing of it
    key        what it is kept by
    """

    tat: float = 0.0
    moved: float = 0.0
    base: float = 0.0
    unused_at: float = 0.0
    key: str = ""

    def wait(self, amount: float, cost: float, now: float) -> float:
        """Seconds until so much has room; 0: now."""
        self.unused_at = now
        if self.tat <= now:
            return 0.0
        wait = self.tat + min(cost, amount) * PERIOD / amount - PERIOD - now
        return wait if wait > LATE else 0.0

    def charge(self, amount: float, cost: float, now: float) -> None:
        """So much is used; less than nothing: it came to less than was charged, and what is not made good yet is given back."""
        seconds, tat = cost * PERIOD / amount, self.tat if self.tat > now else now
        if seconds < now - tat:
            seconds = now - tat
        self.tat = tat + seconds
        self.moved += seconds

    def used(self, amount: float, now: float) -> float:
        """How much of the amount is not made good yet."""
        return max(0.0, self.tat - now) * amount / PERIOD

    def report(self) -> Change | None:
        """What to tell others; None: nothing. From now on it counts as told, and as all that there is: else it is `absorb`ed."""
        if not self.moved:
            return None
        change = Change(self.tat, self.moved, self.base)
        self.moved, self.base = 0.0, self.tat
        return change

    def unreported(self, change: Change) -> None:
        """They could not be told."""
        self.moved += change.moved
        self.base = change.base

    def absorb(self, tat: float) -> None:
        """Where it stands for all relays, all in it that was reported here: of a rate that others have used, too."""
        self.tat = max(self.tat, tat + self.moved) if self.moved else tat
        self.base = tat


def joined(stored: float, change: Change) -> float:
    """Where it stands for all, when one relay tells this of it: the same as with one relay where no other has used it meanwhile."""
    return change.tat if stored == change.base else max(change.tat, stored + change.moved)


def believed(stored: float, now: float) -> float:
    """A stored time, unless it is so far ahead that the clock must have been another one."""
    return min(stored, now + LONGEST)
