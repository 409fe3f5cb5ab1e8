"""How much is measured: the whole benchmark (about eight minutes), or a short run.

>>> replace(FULL, rounds=1).rounds
1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

__all__ = ["ALL", "FULL", "PARTS", "QUICK", "Plan", "replace"]

PARTS: Final = ("requests", "streams", "memory", "choosing", "translating", "reports")
ALL: Final = (*PARTS, "mitmweb", "team", "panel")
"""With what takes another half an hour."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Bounds of a run; everything that runs is bounded by a count or a time.

    rounds, seconds     slices of each target at each load, and their length: short, as a machine's speed may change every second;
                        at one connection, where tenths of a millisecond count, four times as many, half as long
    streams, events     side by side, and events in each, at `rate` a second; they begin over `spread` seconds
    choosing            rounds of each strategy, some milliseconds each
    translating         rounds of each format, some milliseconds each
    reports             rows of the ledger that reports are made of
    web_requests        streams after which memory of mitmweb with a browser is read: a tenth of them, half, all
    web_rounds          with and without pages and cache misses, of `web_slice` streams each
    idle, slow          connections of a crowd: that want nothing, and that read their stream as good as never
    clients             those that have keys of the relay's own, and limits of every kind
    team_rounds, team_seconds    with and without a crowd, with and without clients
    panel_keys, panel_clients    in the database of the panel, beside the requests that `reports` says
    panel_visits        of each page
    dashboards          that are open; panel_rounds, panel_seconds: with and without them
    memory              marks: resident memory is read after so many requests; at least two
    """

    parts: tuple[str, ...] = PARTS
    rounds: int = 35
    seconds: float = 0.15
    connections: tuple[int, ...] = (1, 16)
    sizes: tuple[int, ...] = (2_048, 102_400)
    stream_rounds: int = 5
    streams: int = 100
    events: int = 80
    rate: float = 20.0
    spread: float = 2.0
    memory: tuple[int, ...] = (5_000, 20_000, 35_000, 50_000)
    choosing: int = 5
    translating: int = 15
    reports: int = 1_000_000
    web: bool = False
    web_requests: int = 100_000
    web_rounds: int = 30
    web_slice: int = 300
    idle: int = 10_000
    slow: int = 1_000
    clients: int = 1_000
    team_rounds: int = 20
    team_seconds: float = 1.0
    panel_keys: int = 1_000
    panel_clients: int = 500
    panel_visits: int = 40
    dashboards: int = 10
    panel_rounds: int = 14
    panel_seconds: float = 5.0

    def slices(self, connections: int) -> tuple[int, float]:
        """How many there are of each target, and how many seconds each takes."""
        return (self.rounds, self.seconds) if connections > 1 else (4 * self.rounds, self.seconds / 2)


FULL: Final = Plan()
QUICK: Final = Plan(
    parts=PARTS[:-1],
    rounds=12,
    seconds=0.1,
    stream_rounds=1,
    events=60,
    memory=(3_000, 4_500, 6_000),
    web_requests=10_000,
    web_rounds=8,
    idle=1_000,
    slow=100,
    clients=200,
    team_rounds=6,
    panel_visits=10,
    panel_rounds=4,
)
