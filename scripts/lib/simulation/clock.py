"""A clock that jumps: processes are generators that yield the seconds they sleep.

    world = World(start=0.0)
    world.spawn(process(), at=10.0)
    world.run()                      # until no process is left; world.now has moved on

Those due at the same moment run in the order in which they asked. No real time passes and nothing here is random.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator
from itertools import count

type Process[T] = Generator[float, None, T]


class World:
    """Simulated time and all that sleeps in it."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._order = count()
        self._due: list[tuple[float, int, Process[None]]] = []

    def clock(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def spawn(self, process: Process[None], at: float) -> None:
        """Let a process begin at a moment that has not passed."""
        heapq.heappush(self._due, (max(at, self.now), next(self._order), process))

    def run(self) -> None:
        """Until all have ended."""
        while self._due:
            self.now, _, process = heapq.heappop(self._due)
            for seconds in process:  # only as far as its next sleep
                self.spawn(process, self.now + seconds)
                break
