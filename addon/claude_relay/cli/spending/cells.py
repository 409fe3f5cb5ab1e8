"""Figures for a table: none wider than five characters but the cost.

>>> count(12_345), percent(0.5), dollars(0.0123), duration(1234.5)
('12.3k', '50%', '$0.0123', '1.2s')
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from claude_relay.core.times import shown
from claude_relay.store.ledger.lines import Line

UNITS: Final = (("G", 10**9), ("M", 10**6), ("k", 10**3))


def count(number: float | None) -> str:
    """Three digits or more of the number: 999, 12.3k, 4.56M; a dash when unknown."""
    if number is None:
        return "—"
    for unit, size in UNITS:
        if number >= size:
            return f"{number / size:.{_decimals(number / size)}f}{unit}"
    return f"{number:.0f}"


def _decimals(number: float) -> int:
    return 0 if number >= 99.95 else 1 if number >= 9.995 else 2


def percent(share: float | None) -> str:
    """Of 1."""
    return "—" if share is None else f"{100 * share:.0f}%"


def dollars(cost: float | None) -> str:
    """Cents from a dollar on, hundredths of them below."""
    return "—" if cost is None else f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


ABOUT: Final = "~"
"""Before a cost that is estimated in part."""


def about(estimated: int) -> str:
    """The mark of a sum with so many estimated requests in it."""
    return ABOUT if estimated else ""


def estimates(number: int) -> str:
    """What the mark means."""
    count = "1 request estimated: it" if number == 1 else f"{number:,} requests estimated: they"
    return f"{ABOUT} {count} ended before the provider reported how many tokens it took."


def no_room(titles: Iterable[str], shown: Collection[str]) -> str:
    """Which columns are left out."""
    names = [title.replace("-\n", "").replace("\n", " ") for title in titles if title not in shown]
    return f"No room for: {', '.join(names)}. --json has them."


def duration(milliseconds: float | None) -> str:
    """Milliseconds as a length of time; a dash when unknown."""
    return "—" if milliseconds is None else shown(milliseconds / 1000)


CELLS: Final[Mapping[str, Callable[[Line], str]]] = {
    "reqs": lambda line: count(line.requests),
    "er-\nrors": lambda line: count(line.errors),
    "re-\ntried": lambda line: percent(line.retried / line.requests if line.requests else None),
    "tok.\nin": lambda line: count(line.input_tokens),
    "tok.\nout": lambda line: count(line.output_tokens),
    "cache\nread": lambda line: count(line.cache_read_tokens),
    "cache\nwrite": lambda line: count(line.cache_write_tokens),
    "cache\nhit": lambda line: percent(line.cache_hit_rate),
    "cost": lambda line: about(line.estimated) + dollars(line.cost_usd),
    "ttft\np50": lambda line: duration(line.ttft_p50_ms),
    "ttft\np95": lambda line: duration(line.ttft_p95_ms),
    "tok/s\np50": lambda line: count(line.speed_p50),
    "tok/s\np95": lambda line: count(line.speed_p95),
}
"""A table's columns after the name."""

EXPENDABLE: Final = ("tok/s\np95", "cache\nwrite", "ttft\np95", "tok/s\np50", "tok.\nin", "re-\ntried", "cache\nread")
"""Columns that go first where a terminal is too narrow, in this order."""
