"""Tries to sign in that fail cost time, more with each one, and keep the owner out for nobody's sake.

    attempt = delays.begin(name, place, device, now)      raises Problem 429 with Retry-After while it is too early; counted as failed
    delays.passed(attempt)                                it was right

Counted are tries with a name from an address, and those from an address with any name. Whoever tries from many addresses is not made to
wait as a whole, for that would keep the owner out, too: instead an address has fewer tries until it waits. A browser that has signed in
before has a count of its own (`device`), which nobody else's failures touch; and a one-time link (the command `panel reset-password`) asks
nobody to wait. Codes of a second factor, of which there are few, are counted for a name from anywhere: who gets as far has the password,
and its owner has recovery codes, which are too long to be tried and never wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from claude_relay.panel.common.problems import Problem
from claude_relay.store.panel.failures import Failures, Known, subject

FREE, FREE_UNDER_ATTACK = 3, 1
"""Failures with a name, from one address, that cost nothing: people mistype."""
MANY: Final = 30
"""Failures with a name, from anywhere, after which it is under attack."""
FREE_ANY: Final = 20
"""Failures from one address, with any name, that cost nothing."""
FREE_CODES: Final = 5
"""Wrong codes of a second factor that cost nothing."""
LONGEST: Final = 300.0
"""Seconds to wait at most."""
ANYBODY: Final = ""

type Wait = Callable[[Known], float]


@dataclass(frozen=True, slots=True)
class Delays:
    """By what the database says of failures."""

    failures: Failures

    def begin(self, name: str, place: str, device: str, now: float) -> Sequence[str]:
        """What was counted. `device`: of a browser that is known to be this name's own, or of its session; empty: of none."""
        if device:
            own = subject(name, f"device {device}")
            self._count([own], now, lambda known: left(known, own, FREE, now))
            return (own,)
        here = block(place)
        own, all, any = subject(name, here), subject(name, "*"), subject(ANYBODY, here)

        def wait(known: Known) -> float:
            free = FREE if known.get(all, (0, 0.0))[0] <= MANY else FREE_UNDER_ATTACK
            return max(left(known, own, free, now), left(known, any, FREE_ANY, now))

        self._count([own, all, any], now, wait)
        return own, all, any

    def begin_code(self, name: str, now: float) -> Sequence[str]:
        """Of a second factor."""
        own = subject(name, "code")
        self._count([own], now, lambda known: left(known, own, FREE_CODES, now))
        return (own,)

    def passed(self, attempt: Sequence[str]) -> None:
        """It was right."""
        self.failures.forgive(attempt)

    def _count(self, subjects: Sequence[str], now: float, wait: Wait) -> None:
        seconds = self.failures.count(subjects, now, wait)
        if seconds > 0:
            whole = max(1, round(seconds + 0.5))
            text = f"Too many tries that were wrong. Try again in {whole} s."
            raise Problem(429, "slow_down", text, headers={"Retry-After": str(whole)})


def left(known: Known, subject: str, free: int, now: float) -> float:
    """Seconds to wait: one after the first failure that is not free, doubling."""
    count, at = known.get(subject, (0, 0.0))
    return at + min(LONGEST, 2.0 ** min(count - free, 30)) - now if count >= free else 0.0


def block(place: str) -> str:
    """The address, or of IPv6 the network of one customer, who has all of its addresses.

    >>> block("127.0.0.1"), block("2001:db8::1:2")
    ('127.0.0.1', '2001:db8::/64')
    """
    try:
        address = ip_address(place)
    except ValueError:
        return place[:64]
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, 64), strict=False))
    return str(address)
