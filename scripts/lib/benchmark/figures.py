"""Figures of a run and how they compare. What this module must not know: how they were measured, how they are shown.

Targets take turns in rounds, and a comparison is made between slices of the same round; what counts is the median of the rounds, beside
the bounds of their middle half: single rounds tell of the machine.

>>> Spread.of([1.0, 9.0, 3.0, 2.0, 4.0])
Spread(median=3.0, low=2.0, high=4.0)
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all rounds. `low`, `high`: a quarter of them lies below, a quarter above."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """At least one value."""
        found = list(values)
        low, median, high = statistics.quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
        return cls(median, low, high)


def percentile(values: Sequence[int], share: float) -> float:
    """The value that so large a share of the sorted values does not exceed; 0 when there are none."""
    return float(values[min(len(values) - 1, int(len(values) * share))]) if values else 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """One target in one round: requests (or events) a second; milliseconds that they took; milliseconds of processor time for each.

    Processor time is what a busy machine distorts least.
    """

    rate: float
    p50: float
    p99: float
    cpu: float

    @classmethod
    def of(cls, microseconds: Iterable[int], seconds: float, cpu_seconds: float) -> Slice:
        """From single times."""
        times = sorted(microseconds)
        middle, end = percentile(times, 0.5) / 1000, percentile(times, 0.99) / 1000
        return cls(len(times) / seconds, middle, end, 1000 * cpu_seconds / max(1, len(times)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """The rounds of several targets under the same load. All targets have the same number of rounds."""

    name: str
    rounds: Mapping[str, list[Slice]]

    def figure(self, target: str, of: Callable[[Slice], float]) -> Spread:
        """One figure of one target."""
        return Spread.of(of(one) for one in self.rounds[target])

    def ratio(self, target: str, base: str) -> Spread:
        """How many times as many requests a second as `base`."""
        return Spread.of(t.rate / b.rate for t, b in self.pairs(target, base))

    def cpu(self, target: str, base: str) -> Spread:
        """How many times as much processor time for each as `base`."""
        return Spread.of(t.cpu / b.cpu for t, b in self.pairs(target, base) if b.cpu)

    def added(self, target: str, base: str, of: Callable[[Slice], float]) -> Spread:
        """Milliseconds more than `base`."""
        return Spread.of(of(t) - of(b) for t, b in self.pairs(target, base))

    def pairs(self, target: str, base: str) -> Iterable[tuple[Slice, Slice]]:
        """The slices of the same round."""
        return zip(self.rounds[target], self.rounds[base], strict=True)


@dataclass(frozen=True, slots=True)
class Requests:
    """Keep-alive requests: so many connections, bodies of so many bytes."""

    connections: int
    size: int
    compared: Comparison


@dataclass(frozen=True, slots=True)
class Streams:
    """Streams: the delay of every event since it was sent, and the time to the first event of content."""

    delays: Comparison
    firsts: Comparison


@dataclass(frozen=True, slots=True)
class Team:
    """Requests beside so many idle connections and slow readers; requests with the keys of so many clients that have limits."""

    idle: int
    slow: int
    crowd: Comparison
    clients: int
    limited: Comparison


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in bytes after so many requests."""

    program: str
    after: Mapping[int, int]

    @property
    def growth(self) -> float:
        """How much larger at the last mark than at the one before: 0.1 is ten per cent."""
        before, last = list(self.after.values())[-2:]
        return last / before - 1


@dataclass(frozen=True, slots=True)
class Web:
    """mitmweb with a browser. `compared`: `with` pages of bodies and the look at the prompt cache, and `without`.

    updates, pages  how many of flows, and of bodies, the browser got while the memory was measured
    """

    compared: Comparison
    memory: Memory
    updates: int
    pages: int


@dataclass(frozen=True, slots=True)
class Asking:
    """A page or figures of the panel, fetched several times: seconds in ascending order, and the largest answer in bytes, compressed."""

    path: str
    seconds: Sequence[float]
    size: int

    @property
    def p95(self) -> float:
        """Seconds."""
        return self.seconds[min(len(self.seconds) - 1, int(0.95 * len(self.seconds)))]


@dataclass(frozen=True, slots=True)
class PanelFigures:
    """The panel over so many requests: its pages; figures over the whole ledger; what open dashboards cost, and how often they loaded."""

    requests: int
    pages: Sequence[Asking]
    whole: Sequence[Asking]
    dashboards: int
    loaded: int
    compared: Comparison


@dataclass(frozen=True, slots=True)
class Choosing:
    """A strategy among a thousand keys in some state: what a choice takes, over the rounds."""

    strategy: str
    state: str
    microseconds: Spread


@dataclass(frozen=True, slots=True)
class Reporting:
    """A report over a ledger of so many requests; the rounds in seconds."""

    name: str
    rows: int
    seconds: Spread


@dataclass(frozen=True, slots=True)
class Translating:
    """A format: milliseconds for a long request, microseconds for a chunk of a stream, over the rounds."""

    format: str
    request: Spread
    chunk: Spread


@dataclass(frozen=True, slots=True)
class Soak:
    """A minute of mixed traffic with failing keys. `answered`: whole answers; `tries`: requests that reached the upstream."""

    seconds: float
    sent: int
    answered: int
    left: int
    broken: int
    hung: int
    errored: int
    slowest: float
    statuses: Mapping[str, int]
    rows: int
    attempt_rows: int
    tries: int
    memory: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Kills:
    """The relay killed under load.

    answered  requests of which the client had the last byte; `missing`: those of them without a row; `doubled`: with two
    torn      requests without all of their attempts, attempts without their request
    """

    kills: int
    seconds: float
    sent: int
    answered: int
    rows: int
    missing: int
    doubled: int
    torn: int


@dataclass(slots=True)
class Results:
    """All that was measured."""

    requests: list[Requests] = field(default_factory=list)
    streams: Streams | None = None
    memory: list[Memory] = field(default_factory=list)
    choosing: list[Choosing] = field(default_factory=list)
    translating: list[Translating] = field(default_factory=list)
    soak: Soak | None = None
    reports: list[Reporting] = field(default_factory=list)
    kills: Kills | None = None
    web: Web | None = None
    team: Team | None = None
    panel: PanelFigures | None = None


def noise(results: Results, target: str) -> float | None:
    """How far one target itself varied: the width of the middle half of its rounds, as a share of their median."""
    found = [requests.compared.figure(target, lambda one: one.rate) for requests in results.requests]
    shares = [(rate.high - rate.low) / rate.median for rate in found if rate.low != rate.high]
    return statistics.median(shares) if shares else None
