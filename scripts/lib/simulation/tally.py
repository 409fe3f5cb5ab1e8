"""What is counted of a day.

tally.met(429, n=1)
tally.met(200, n=2)
tally.served(waited=0.2)
tally.day("headroom", sticky=True)       -> Day(requests=1, served=1, limited=1, replays=1, …)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Day:
    """The figures of one day.

    served, refused   requests with and without an answer
    limited           429s that keys met; the clients saw none of those that were followed by an answer
    overloaded        529s met
    rejected          401 and 400 about the key itself met
    replays           attempts after a request's first
    cache_hits        share of the sessions' input tokens that came from a prompt cache
    wait_p50, p99     seconds between a request's arrival and the attempt that was answered
    """

    strategy: str
    sticky: bool
    requests: int
    served: int
    refused: int
    limited: int
    overloaded: int
    rejected: int
    replays: int
    cache_hits: float
    wait_p50: float
    wait_p99: float


@dataclass(slots=True)
class DayTally:
    """Counts while the day goes by."""

    statuses: Counter[int] = field(default_factory=Counter)
    requests: int = 0
    replays: int = 0
    waits: list[float] = field(default_factory=list)
    input_tokens: int = 0
    cached_tokens: int = 0

    def met(self, status: int, n: int) -> None:
        """A request's attempt number `n` was answered."""
        self.statuses[status] += 1
        self.replays += n > 1

    def served(self, waited: float) -> None:
        """A request got its answer, its attempt having begun so many seconds after it came."""
        self.requests += 1
        self.waits.append(waited)

    def refused(self) -> None:
        """A request got none."""
        self.requests += 1

    def prompt(self, tokens: int, cached: int) -> None:
        """A session's prompt was read."""
        self.input_tokens += tokens
        self.cached_tokens += cached

    def day(self, strategy: str, sticky: bool) -> Day:
        """All of it."""
        waits = sorted(self.waits)
        return Day(
            strategy=strategy,
            sticky=sticky,
            requests=self.requests,
            served=len(waits),
            refused=self.requests - len(waits),
            limited=self.statuses[429],
            overloaded=self.statuses[529],
            rejected=self.statuses[401] + self.statuses[400],
            replays=self.replays,
            cache_hits=self.cached_tokens / self.input_tokens if self.input_tokens else 0.0,
            wait_p50=percentile(waits, 0.5),
            wait_p99=percentile(waits, 0.99),
        )


def percentile(ordered: list[float], share: float) -> float:
    """The value below which that share of an ordered list lies; 0.0 of an empty one."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
