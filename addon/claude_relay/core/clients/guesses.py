"""How often anybody may try: each address by itself, and all together.

    attempts = Attempts(each=10, all=300, within=600.0)
    attempts.wait("192.0.2.7", now)        0.0: it may; else seconds until it may
    attempts.count("192.0.2.7", now)       it has

Each is a bucket that fills evenly. Of so many addresses as may be remembered the one that tried longest ago is forgotten first; what all
together may try is bounded whatever is forgotten. Constant time. `now`: monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from claude_relay.core.addresses import ip_of

MOST: Final = 4096
"""Addresses that are remembered."""


class Attempts:
    """`each`, `all`: attempts at once, of an address and of all; `within` so many seconds there are as many again."""

    def __init__(self, *, each: int, all: int, within: float, most: int = MOST) -> None:
        self._each, self._all, self._within, self._most = each, all, within, most
        self._of: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._together = (0.0, 0.0)

    def wait(self, peer: str, now: float) -> float:
        """Seconds until this address may try; 0: it may."""
        of = self._used(self._of.get(whole(peer), (0.0, now)), self._each, now)
        together = self._used(self._together, self._all, now)
        return max(0.0, self._until(of, self._each), self._until(together, self._all))

    def count(self, peer: str, now: float) -> None:
        """It has tried."""
        key = whole(peer)
        self._of[key] = (self._used(self._of.get(key, (0.0, now)), self._each, now) + 1, now)
        self._of.move_to_end(key)
        if len(self._of) > self._most:
            self._of.popitem(last=False)
        self._together = (self._used(self._together, self._all, now) + 1, now)

    def _used(self, before: tuple[float, float], most: int, now: float) -> float:
        used, at = before
        return max(0.0, used - (now - at) * most / self._within)

    def _until(self, used: float, most: int) -> float:
        return (used + 1 - most) * self._within / most


def whole(peer: str) -> str:
    """The network that one visitor has: an IPv4 address, or 64 bits of an IPv6 one."""
    address = ip_of(peer)
    if address is None or address.version == 4:
        return str(address or "?")
    return address.packed[:8].hex()
