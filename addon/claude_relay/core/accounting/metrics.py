"""Counters and histograms of settled requests, and the text that Prometheus reads.

    metrics = Metrics()
    metrics.settled(request, attempts)                  a few microseconds, on the event loop
    "".join(metrics.render(Gauges(…)))                  # HELP claude_relay_requests_total …

Labels are bounded: providers and verdicts come from the configuration and the verdict table, models are the first 200 that a provider
answered for, and neither a key nor a session is a label. Must not know who asks for the text, nor pools, ledger or clock.

The text: https://prometheus.io/docs/instrumenting/exposition_formats/, the names: https://prometheus.io/docs/practices/naming/
"""

# ruff: noqa: D102 (the fields of a row, which store/ledger/rows describes)

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import Protocol

from claude_relay.core.exchange import status_class

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MODELS = 200
LONGEST_NAME = 128
OTHER, NONE = "other", "none"
PREFIX = "claude_relay_"
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

FIRST_TOKEN_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0)
DURATION_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
"""Seconds."""

type Labels = tuple[str, ...]


class Billed(Protocol):
    """What was billed at the price of one model: a try, or a charge beside it."""

    @property
    def model(self) -> str | None: ...
    @property
    def input_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...
    @property
    def cache_read_tokens(self) -> int | None: ...
    @property
    def cache_write_5m_tokens(self) -> int | None: ...
    @property
    def cache_write_1h_tokens(self) -> int | None: ...
    @property
    def cost_usd(self) -> float | None: ...


class Attempted(Billed, Protocol):
    """What counts of one try: a row of `attempts`. Tokens and cost are what its provider billed for it."""

    @property
    def provider(self) -> str: ...
    @property
    def verdict(self) -> str | None: ...
    @property
    def charges(self) -> Sequence[Billed]: ...


class Settled(Protocol):
    """What counts of a request: a row of `requests`. `_ms`: milliseconds."""

    @property
    def provider(self) -> str | None: ...
    @property
    def served_model(self) -> str | None: ...
    @property
    def finished(self) -> str: ...
    @property
    def status(self) -> int | None: ...
    @property
    def stream(self) -> bool: ...
    @property
    def ttft_ms(self) -> float | None: ...
    @property
    def duration_ms(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Gauges:
    """How the relay is at this moment.

    keys           how many, by provider and state: ready, cooldown, out, full
    in_flight      requests under way
    sessions       conversations with a binding at a key
    ledger_queue   rows that are not in the database yet
    ledger_failing the last try to write to the database failed
    rejected       what the relay has refused for its own protection, by reason, since its start
    """

    keys: Mapping[tuple[str, str], int] = field(default_factory=dict)
    in_flight: int = 0
    sessions: int = 0
    ledger_queue: int = 0
    ledger_failing: bool = False
    rejected: Mapping[str, int] = field(default_factory=dict)


class Names:
    """Model names that may be labels. A client can ask for any model, so a name counts once a provider has answered for it.

    names.label("claude-opus-5", served=True)       -> "claude-opus-5", from now on
    names.label("no-such-model", served=False)      -> "other"
    """

    def __init__(self, most: int = MODELS) -> None:
        """`most`: how many names; all later ones are `other`."""
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str | None, *, served: bool) -> str:
        """The name as a label; `none` when there is none."""
        if name in self._known:
            return name
        if not name:
            return NONE
        if served and len(self._known) < self._most and len(name) <= LONGEST_NAME and name.isprintable():
            self._known.add(name)
            return name
        return OTHER


class Count:
    """A family of counters: it only ever grows."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Labels) -> None:
        """`text`: one line for people."""
        self.name, self.text, self.labels = PREFIX + name, text, labels
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def add(self, labels: Labels, amount: float) -> None:
        """Count so many more."""
        self._sums[labels] += amount

    def lines(self) -> Iterator[str]:
        """One line a counter."""
        for labels, value in list(self._sums.items()):
            yield f"{self.name}{braces(self.labels, labels)} {value}\n"


class Histogram:
    """A family of histograms of seconds; it has labels."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Labels, bounds: Sequence[float]) -> None:
        """`bounds`: the upper ends of the buckets, ascending, without infinity."""
        self.name, self.text, self.labels = PREFIX + name, text, labels
        self._bounds = bounds
        self._ends = (*map(str, bounds), "+Inf")
        self._buckets: dict[Labels, list[int]] = {}
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def observe(self, labels: Labels, seconds: float) -> None:
        """One more."""
        buckets = self._buckets.get(labels)
        if buckets is None:
            buckets = self._buckets[labels] = [0] * len(self._ends)
        buckets[bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def lines(self) -> Iterator[str]:
        """All lines of one histogram at once, so that they agree."""
        for labels, buckets in list(self._buckets.items()):
            inside, sums = braces(self.labels, labels), list(accumulate(buckets))
            lines = [f'_bucket{inside[:-1]},le="{end}"}} {n}' for end, n in zip(self._ends, sums, strict=True)]
            lines += f"_sum{inside} {self._sums[labels]}", f"_count{inside} {sums[-1]}"
            yield "".join(f"{self.name}{line}\n" for line in lines)


KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
}
_KINDS = tuple(KINDS)
_tokens: Callable[[Billed], tuple[int | None, ...]] = attrgetter(*KINDS.values())


class Metrics:
    """All of them, for one relay. Fed and read on one thread."""

    def __init__(self, names: Names | None = None) -> None:
        """`names`: models that may be labels."""
        self.names = names or Names()
        pair = ("provider", "model")
        self._requests = Count("requests_total", "Settled requests.", (*pair, "finished", "status"))
        self._attempts = Count("attempts_total", "Tries at providers, by what became of them.", ("provider", "verdict"))
        self._tokens = Count(
            "tokens_total", "Tokens as providers billed them; input is without cache.", (*pair, "kind")
        )
        self._cost = Count("cost_usd_total", "What the tokens cost, in US dollars, as far as prices are known.", pair)
        self._limited = Count("limited_total", "Requests over a limit of a client or group.", ("subject", "measure"))
        self._first = Histogram(
            "time_to_first_token_seconds",
            "From the start of a request to the first byte of its streamed answer.",
            pair,
            FIRST_TOKEN_BOUNDS,
        )
        self._duration = Histogram(
            "request_duration_seconds", "From the start of a request to its settlement.", pair, DURATION_BOUNDS
        )

    def settled(self, request: Settled, attempts: Sequence[Attempted]) -> None:
        """Count a request, once, when it is over."""
        good = request.status is not None and request.status < 400
        pair = request.provider or NONE, self.names.label(request.served_model, served=good)
        self._requests.add((*pair, request.finished, status_class(request.status) or NONE), 1)
        if good and request.stream and request.ttft_ms is not None:
            self._first.observe(pair, request.ttft_ms / 1000)
        if request.duration_ms is not None:
            self._duration.observe(pair, request.duration_ms / 1000)
        for attempt in attempts:
            self._attempts.add((attempt.provider, attempt.verdict or NONE), 1)
            self._spent(attempt.provider, attempt, request.served_model)
            for charge in attempt.charges:
                self._spent(attempt.provider, charge, request.served_model)

    def limited(self, subject: str, measure: str) -> None:
        """A request was refused for a limit. `subject`: client or group; `measure`: what the limit is of."""
        self._limited.add((subject, measure), 1)

    def _spent(self, provider: str, billed: Billed, served: str | None) -> None:
        tokens = _tokens(billed)
        if billed.cost_usd is None and not any(tokens):
            return
        pair = provider, self.names.label(billed.model or served, served=True)
        for kind, amount in zip(_KINDS, tokens, strict=True):
            if amount:
                self._tokens.add((*pair, kind), amount)
        if billed.cost_usd is not None:
            self._cost.add(pair, billed.cost_usd)

    def render(self, gauges: Gauges) -> Iterator[str]:
        """Prometheus' text in pieces of a few lines; whoever asks may do other things between two of them."""
        for family in (
            self._requests,
            self._attempts,
            self._tokens,
            self._cost,
            self._limited,
            self._first,
            self._duration,
        ):
            yield head(family.name, family.text, family.kind)
            yield from family.lines()
        yield from gauge(
            "keys", "Keys by state: ready, cooldown, out, full.", ("provider", "state"), gauges.keys.items()
        )
        for name, text, value in (
            ("requests_in_flight", "Requests under way.", gauges.in_flight),
            ("sessions", "Conversations that have a binding at a key.", gauges.sessions),
            ("ledger_queue_rows", "Rows that are not in the database yet.", gauges.ledger_queue),
            ("ledger_failing", "1 while the database cannot be written.", int(gauges.ledger_failing)),
        ):
            yield from gauge(name, text, (), [((), value)])
        yield head(f"{PREFIX}rejected_total", "What the relay has refused for its own protection.", "counter")
        for reason, count in gauges.rejected.items():
            yield f"{PREFIX}rejected_total{braces(('reason',), (reason,))} {count}\n"


def gauge(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, int]]) -> Iterator[str]:
    """A family of gauges."""
    yield head(PREFIX + name, text, "gauge")
    for own, value in values:
        yield f"{PREFIX}{name}{braces(labels, own)} {value}\n"


def head(name: str, text: str, kind: str) -> str:
    """The two lines before a family."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def braces(names: Labels, values: Labels) -> str:
    """`{provider="anthropic",model="m"}`; empty without labels."""
    pairs = ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""
