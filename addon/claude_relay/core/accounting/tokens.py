"""What an answer used, from the `usage` objects in it.

    >>> tally = Tally()
    >>> tally.absorb({"input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1})
    >>> tally.absorb({"output_tokens": 42})
    >>> tally.usage.output_tokens, tally.usage.cache_write_5m_tokens
    (42, 5)

The numbers of Claude's API are cumulative: a later one takes the place of an earlier one, and what is absent, null or
nonsense changes nothing. So a stream that was broken off keeps what its beginning told. Shapes: `Usage`,
`MessageDeltaUsage` and `BetaUsage` of the official Python SDK. Knows nothing of streams or prices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final

from claude_relay.core.reading.lenient import count, mapping


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


class Tally:
    """Takes the usage objects of one answer in their order."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._compactions: list[dict[str, int]] = []

    def absorb(self, usage: object) -> None:
        """Take one `usage` object; anything else is ignored."""
        told = mapping(usage)
        self._counts |= _read(told)
        iterations = told.get("iterations")
        if isinstance(iterations, list):
            # The SDK says of BetaUsage.iterations: the tokens of compactions are not in the totals. An advisor's are left
            # out: they belong to another model.
            self._compactions = [
                _read(entry) for entry in map(mapping, iterations) if entry.get("type") == "compaction"
            ]

    @property
    def usage(self) -> Usage:
        """What is known by now."""
        if not self._compactions:
            return _usage(self._counts)
        return Usage.total(_usage(counts) for counts in (self._counts, *self._compactions))


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
