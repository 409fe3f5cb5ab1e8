"""Failed sign-ins cost time, more with each one, and lock nobody out.

    delays.before(name, place, now)        raises Problem 429 with Retry-After while it is too early
    delays.failed(name, place, now)

Failures are counted for a name from one address, and for a name from anywhere: whoever guesses from many addresses slows the name down
only to SLOWEST, so that the owner, from an address without failures, is never kept out by others.
"""

from __future__ import annotations

from dataclasses import dataclass

from claude_relay.panel.common.problems import Problem
from claude_relay.store.panel.admins import Admins

FREE = 3
"""Failures that cost nothing: people mistype."""
LONGEST = 300.0
"""Seconds to wait at most, for an address that fails."""
SLOWEST = 5.0
"""Seconds to wait at most where it is others who failed."""
MANY = 20
"""Failures of a name from anywhere that cost nothing."""


@dataclass(frozen=True, slots=True)
class Delays:
    """By what the database says of failures."""

    admins: Admins

    def before(self, name: str, place: str, now: float) -> None:
        """Raises Problem when somebody has to wait."""
        own, all = _subjects(name, place)
        known = self.admins.failures([own, all], now)
        count, at = known.get(own, (0, 0.0))
        until = at + min(LONGEST, 2.0 ** (count - FREE)) if count > FREE else 0.0
        count, at = known.get(all, (0, 0.0))
        if count > MANY:
            until = max(until, at + min(SLOWEST, 0.25 * (count - MANY)))
        if (left := until - now) > 0:
            seconds = max(1, round(left + 0.5))
            text = f"Too many wrong passwords. Try again in {seconds} s."
            raise Problem(429, "slow_down", text, headers={"Retry-After": str(seconds)})

    def failed(self, name: str, place: str, now: float) -> None:
        """One more."""
        self.admins.failed(_subjects(name, place), now)

    def passed(self, name: str, place: str) -> None:
        """It was right."""
        self.admins.forgive(_subjects(name, place))


def _subjects(name: str, place: str) -> tuple[str, str]:
    return f"{name.lower()[:100]} {place}", f"{name.lower()[:100]} *"
