"""What an answer used, from the `usage` objects in it.

    >>> tally = Tally()
    >>> tally.absorb({"input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1})
    >>> tally.absorb({"output_tokens": 42})
    >>> tally.usage.output_tokens, tally.usage.cache_write_5m_tokens
    (42, 5)

The numbers of Claude's API are cumulative: a later one takes the place of an earlier one. What is absent, null or nonsense changes
nothing, nor does a 0 after a number, which servers send for what they do not count again. So a stream that was broken off keeps what
its beginning told. Shapes: `Usage`, `MessageDeltaUsage` and `BetaUsage` of the official Python SDK. Knows nothing of streams or prices.

`usage.iterations` lists the runs of models behind one answer; what the totals leave out of them is billed beside these, as `Charge`s:

    compaction                    never in the totals
    advisor_message               never in the totals, at its own model's price
    message                       in the totals; but where another model took over, those of the models that declined are not, and are
                                  billed if they had begun to answer
    fallback_message              in the totals: the model that took over
    another one with a model      beside the totals, as its model has a price of its own

https://docs.claude.com/en/docs/agents-and-tools/tool-use/advisor-tool#usage-and-billing
https://docs.claude.com/en/docs/build-with-claude/compaction, …/refusals-and-fallback
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Final

from claude_relay.core.bodies.lenient import count, mapping, text

from .terms import NAMES, Terms


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and requests of one answer, each billed in one of the columns; None is unknown.

    input_tokens excludes what was read from or written to the cache; output_tokens includes reasoning_tokens.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_tool_requests: int | None = None

    @classmethod
    def total(cls, usages: Iterable[Usage]) -> Usage:
        """Their sum, column by column; None where none of them knows."""
        rows = [_columns(usage) for usage in usages]
        return cls(*rows[0]) if len(rows) == 1 else cls(*map(_sum, zip(*rows, strict=True)))

    def columns(self) -> dict[str, int | None]:
        """Name and number of each column. A quarter of the cost of `dataclasses.asdict`, and every request pays it."""
        return dict(zip(COLUMNS, _columns(self), strict=True))


COLUMNS: Final = tuple(column.name for column in fields(Usage))
_columns: Callable[[Usage], tuple[int | None, ...]] = attrgetter(*COLUMNS)

# name here: where it is in a usage object
_COUNTS = {
    "input": ("input_tokens",),
    "output": ("output_tokens",),
    "read": ("cache_read_input_tokens",),
    "written": ("cache_creation_input_tokens",),
    "written_5m": ("cache_creation", "ephemeral_5m_input_tokens"),
    "written_1h": ("cache_creation", "ephemeral_1h_input_tokens"),
    "reasoning": ("output_tokens_details", "thinking_tokens"),
    # Fetches and runs of code are not billed by the request: https://docs.claude.com/en/docs/about-claude/pricing
    "requests": ("server_tool_use", "web_search_requests"),
}

_INPUT = ("input", "read", "written", "written_5m", "written_1h")

LONGEST_NAME: Final = 255
"""Characters of a model's name."""
MOST_CHARGES: Final = 100
COMPACTION, ADVISOR, DECLINED = "compaction", "advisor", "declined"
_OWN_RUNS = frozenset({"message", "fallback_message"})
_KINDS: Final = {"compaction": COMPACTION, "advisor_message": ADVISOR}
_KIND = re.compile(r"[a-z0-9_]{1,64}")


@dataclass(frozen=True, slots=True)
class Charge:
    """What is billed beside the totals of an answer. `model` None: that of the answer."""

    kind: str
    model: str | None
    usage: Usage

    def terms(self, answers: Terms) -> Terms:
        """At which terms it was served: a compaction at those of its answer, what another model did at no more than where that ran."""
        return replace(answers, unbilled=False) if self.kind == COMPACTION else Terms(geo=answers.geo)


class Tally:
    """Takes the usage objects of one answer in their order. `served`: the model that took over from the one that was asked."""

    def __init__(self) -> None:
        self.served: str | None = None
        self._counts: dict[str, int] = {}
        self._runs: list[dict[str, object]] = []
        self._said: dict[str, object] = {}
        self._usage: Usage | None = None

    def absorb(self, usage: object) -> None:
        """Take one `usage` object; anything else is ignored."""
        reported = mapping(usage)
        self._said |= {name: said for name, long in NAMES.items() if (said := text(reported.get(long)))}
        runs = reported.get("iterations")
        before = self.served
        if isinstance(runs, list):
            self._runs = [run for run in map(mapping, runs) if run][:MOST_CHARGES]
            took_over = [_name(run.get("model")) for run in self._runs if run.get("type") == "fallback_message"]
            self.served = next(filter(None, reversed(took_over)), self.served)
        counts = _read(reported)
        # All of them when another model took over: earlier ones were those of the first.
        if self.served == before or not any(counts.values()):
            counts = {name: number for name, number in counts.items() if number or name not in self._counts}
        self._usage = None
        self._counts |= counts

    @property
    def knows_input(self) -> bool:
        """Whether anything was told of what went in: no request is empty."""
        return any(self._counts.get(name) for name in _INPUT)

    @property
    def usage(self) -> Usage:
        """What is known by now of the answer's own model."""
        if self._usage is None:  # several ask for it after each answer
            self._usage = _usage(self._counts)
        return self._usage

    def terms(self, speed: str = "") -> Terms:
        """At which terms it was served. `speed`: what was asked for, for an answer that does not say it."""
        return Terms.from_words({"speed": speed} | self._said)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What is billed beside it."""
        found = (self._charge(run) for run in self._runs)
        return tuple(charge for charge in found if charge is not None and charge.usage != Usage())

    def _charge(self, run: dict[str, object]) -> Charge | None:
        run_type, model = text(run.get("type")) or "", _name(run.get("model"))
        usage = _usage(_read(run))
        if run_type in _OWN_RUNS:
            declined = self.served is not None and model not in (None, self.served)
            return Charge(DECLINED, model, usage) if declined and usage.output_tokens else None
        if kind := _KINDS.get(run_type):
            return Charge(kind, model, usage)
        return Charge(run_type, model, usage) if model is not None and _KIND.fullmatch(run_type) else None


def _name(model: object) -> str | None:
    """A model's name as it can be stored."""
    found = text(model)
    return found[:LONGEST_NAME].encode("utf-8", "replace").decode() if found else None


def _read(usage: dict[str, object]) -> dict[str, int]:
    found = {name: _at(usage, path) for name, path in _COUNTS.items()}
    return {name: number for name, number in found.items() if number is not None}


def _at(usage: dict[str, object], path: tuple[str, ...]) -> int | None:
    value: object = usage
    for step in path:
        value = mapping(value).get(step)
    return count(value)


def _usage(counts: dict[str, int]) -> Usage:
    short, long = _cache_writes(counts.get("written"), counts.get("written_5m"), counts.get("written_1h"))
    return Usage(
        input_tokens=counts.get("input"),
        output_tokens=counts.get("output"),
        cache_read_tokens=counts.get("read"),
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        reasoning_tokens=counts.get("reasoning"),
        server_tool_requests=counts.get("requests"),
    )


def _cache_writes(total: int | None, short: int | None, long: int | None) -> tuple[int | None, int | None]:
    """Cache writes for 5 minutes, the default, and for 1 hour. The total may have grown after the split was told."""
    if total is None:
        return short, long
    if long is None:
        long = 0 if short is None else max(total - short, 0)
    long = min(long, total)
    return total - long, long


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
