"""Requests that wait for a place, in a fair order: of two clients the one with twice the priority gets twice as many turns.

    queue = FairQueue()
    waiter = queue.add("alice", weight=2, bounds=bounds, wake=…)       None: too many wait
    for waiter in queue.order(): ...       whoever can be served is: queue.serve(waiter)
    queue.remove(waiter)                   it left

One queue for each group, and for each client without one: those in it wait for the same places. Start-time fair queueing over turns:
each request gets a number, by which its client's turns are as far apart as its weight says. It must not know places or clocks.
https://en.wikipedia.org/wiki/Fair_queuing
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field

from .demand import Bound

MOST = 1_000
MOST_OF_ONE = 250
"""That wait in one queue, and of one client."""


@dataclass(slots=True, eq=False)
class Waiter:
    """One request. `wake`: called when it is served."""

    client: str
    bounds: tuple[Bound, ...]
    wake: Callable[[], None]
    tag: float
    served: bool = False


def _tag(waiter: Waiter) -> float:
    return waiter.tag


@dataclass(slots=True)
class FairQueue:
    """Those that wait for the places of one group or client."""

    now: float = 0.0
    """The number of the latest that was served."""
    waiting: list[Waiter] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many wait."""
        return len(self.waiting)

    def add(self, client: str, weight: int, bounds: tuple[Bound, ...], wake: Callable[[], None]) -> Waiter | None:
        """One more; None: there are too many."""
        if len(self.waiting) >= MOST or self.count.get(client, 0) >= MOST_OF_ONE:
            return None
        tag = max(self.now, self.last.get(client, 0.0)) + 1 / weight
        waiter = Waiter(client, bounds, wake, tag)
        self.last[client] = tag
        self.count[client] = self.count.get(client, 0) + 1
        insort(self.waiting, waiter, key=_tag)
        return waiter

    def position(self, waiter: Waiter) -> int:
        """1: it is the next, as far as places go."""
        return self.waiting.index(waiter) + 1

    def order(self) -> tuple[Waiter, ...]:
        """All of them, whose turn is first first."""
        return tuple(self.waiting)

    def serve(self, waiter: Waiter) -> None:
        """It has its place."""
        self.now = max(self.now, waiter.tag)
        waiter.served = True
        self.remove(waiter)

    def remove(self, waiter: Waiter) -> None:
        """It waits no longer. A second time does nothing."""
        if waiter not in self.waiting:
            return
        self.waiting.remove(waiter)
        self.count[waiter.client] -= 1
        if not self.count[waiter.client]:
            del self.count[waiter.client]
        if not self.waiting:
            self.last.clear()
            self.now = 0.0
