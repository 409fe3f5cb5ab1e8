"""A clock for cooldowns and waits: seconds since the epoch that never go back, whatever is done to the system's clock.

    steady = Steady(time.time, time.monotonic)
    steady()            -> 1795305600.0
    steady.ahead()      -> seconds by which it is ahead of the system's clock: 0.0 until that is set back
    steady.jumped(600)  -> seconds by which the system's clock went ahead at once, in the last ten minutes; None: it did not

It follows the system's clock forward (a machine that slept, a clock that was set right at its start), so that cooldowns end when people
expect it; when the system's clock is set back it goes on by the monotonic one, so that three seconds stay three seconds. What others
say in dates, and what is stored for other processes, is in the system's terms: `ahead` translates.
"""

from __future__ import annotations

import math
from collections.abc import Callable

JUMP = 30.0
"""Seconds by which the system's clock goes ahead at once when it was set, or when the machine slept."""
SLACK = 1.0
"""Seconds by which the two clocks may drift apart before the system's counts as set anew."""


class Steady:
    """See the module's text. `wall`: seconds since the epoch; `ticks`: seconds that never go back."""

    def __init__(self, wall: Callable[[], float], ticks: Callable[[], float]) -> None:
        self.wall = wall
        self._ticks = ticks
        self._offset = wall() - ticks()
        """From ticks to this clock's time; only ever grows."""
        self._jump = 0.0, -math.inf
        """The last jump ahead, and when, in ticks."""

    def __call__(self) -> float:
        """Seconds since the epoch; never less than before."""
        ticks = self._ticks()
        offset = self.wall() - ticks
        if offset > self._offset:
            if offset > self._offset + JUMP:
                self._jump = offset - self._offset, ticks
            self._offset = offset
        return ticks + self._offset

    def ahead(self) -> float:
        """Seconds by which this clock is ahead of the system's; 0.0 while they agree."""
        ahead = self() - self.wall()
        return ahead if ahead > SLACK else 0.0

    def jumped(self, within: float) -> float | None:
        """Seconds by which the system's clock went ahead at once, if it did in the last so many seconds."""
        self()
        by, at = self._jump
        return by if self._ticks() < at + within else None
