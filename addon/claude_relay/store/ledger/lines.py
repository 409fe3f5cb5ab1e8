"""From the sums of one group to its line in a report: rates, and percentiles by rank or from a histogram.

    line_of("claude-sonnet-5", Group(rows=[sums, …], times=[410.0, …]))
    -> Line(name="claude-sonnet-5", requests=2, ttft_p50_ms=410.0, …)

What this module must not know: SQL, spans of time, what requests are grouped by.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from claude_relay.store.db.rollups import COUNTED, LATER, columns_of, middles, unpacked

NAMES: Final = (*COUNTED, *LATER, *columns_of("ttft"), *columns_of("speed"))
AT: Final[Mapping[str, int]] = {name: n for n, name in enumerate(NAMES)}
TTFT: Final = slice(AT[columns_of("ttft")[0]], AT[columns_of("ttft")[-1]] + 1)
SPEED: Final = slice(AT[columns_of("speed")[0]], AT[columns_of("speed")[-1]] + 1)
SUMS_ONLY: Final = NAMES[: TTFT.start]
MIDDLES: Final = {histogram: middles(histogram) for histogram in ("ttft", "speed")}


@dataclass(frozen=True, slots=True)
class Line:
    """One group, or the total. None: not known of any of its requests.

    name      the group; None for the requests that have none, and for the total
    errors    requests that ended with an error, also in the middle of an answer; a client that left is none
    retried   requests that took more than one try
    cache_hit_rate  0 to 1: what was read from the cache of all that went in (input, cache reads and cache writes), over the
              requests of which input and cache reads are known
    ttft_…    milliseconds until the first byte of content; half (p50) and 95 % (p95) of the requests had it sooner
    speed_…   tokens a second of streamed answers, after the first token; half and 95 % of them were slower
    estimated  requests of which some tokens were not told by the provider
    """

    name: str | None
    requests: int
    errors: int
    retried: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cache_hit_rate: float | None
    cost_usd: float | None
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    speed_p50: float | None = None
    speed_p95: float | None = None
    estimated: int = 0


COLUMNS: Final = tuple(name.name for name in fields(Line))


@dataclass(slots=True)
class Group:
    """Rows of sums, in the order of NAMES, of one group; and where requests are read one by one, their times and speeds."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    def summed(self) -> tuple[Any, ...]:
        """One row; it keeps the counts of histograms packed, since none comes near PACK."""
        return self.rows[0] if len(self.rows) == 1 else tuple(map(sum, zip(*self.rows, strict=True)))


def line_of(name: str | None, group: Group) -> Line:
    """The line of a group; sorts its times and speeds in place."""
    row = group.summed()
    of = dict(zip(SUMS_ONLY, row, strict=False))

    def known(what: str, counter: str) -> Any:
        return of[what] if of[counter] else None

    return Line(
        name,
        of["requests"],
        of["errors"],
        of["retried"],
        known("input_tokens", "with_input"),
        known("output_tokens", "with_output"),
        known("cache_read_tokens", "with_cache_read"),
        known("cache_write_tokens", "with_cache_write"),
        of["cache_hits"] / of["cache_asked"] if of["cache_asked"] else None,
        known("cost_usd", "with_cost"),
        *(_percentiles(group.times) if group.times else _of_histogram("ttft", row[TTFT])),
        *(_percentiles(group.speeds) if group.speeds else _of_histogram("speed", row[SPEED])),
        estimated=of["estimated"],
    )


def _percentiles(times: list[float]) -> tuple[float | None, float | None]:
    """p50 and p95 by nearest rank: the smallest value that at least so many per cent do not exceed. Sorts in place."""
    times.sort()
    return times[_rank_of(50, len(times)) - 1], times[_rank_of(95, len(times)) - 1]


def _of_histogram(histogram: str, packed: Sequence[int]) -> tuple[float | None, float | None]:
    """The same of a histogram."""
    below = unpacked(packed)
    if not below or not below[-1]:
        return None, None
    number, values = below[-1], MIDDLES[histogram]
    return values[bisect_left(below, _rank_of(50, number))], values[bisect_left(below, _rank_of(95, number))]


def _rank_of(percent: int, number: int) -> int:
    return (percent * number + 99) // 100
