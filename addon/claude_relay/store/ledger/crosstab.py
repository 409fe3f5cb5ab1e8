"""Sums over the ledger by one or two dimensions at once, times among them in any zone and of any length.

    found = crossed(connection, ("client", Times(day_in(zone))), since=…, until=…, only=Only(provider="glm"))
    found.cells[0].names, found.cells[0].line.cost_usd     -> ("alice", "2026-11-27"), 4.2
    found.total, found.along(1)                            the sum of all; those of the second dimension alone
    dearest(connection, ("client", "session"), most=5)     -> {"client": [Spender("alice", 812, 4.1), …], …}, in one reading

As in `reports`, up to EXACT requests are read one by one, and of more, whole hours come from `rollups`. What this module must not know: how
it is shown, and where the visitor is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from claude_relay.store.db.rollups import measured

from .filters import Only, Part, parts_of, span
from .lines import NAMES, SUMS_ONLY, Group, Line, line_of
from .reports import GROUPS, KNOWN, MANY, MOVED, OF_MODELS, TIMES, explained, is_few

NAMED: Final = tuple(name for name in GROUPS if name not in TIMES)
"""Dimensions that are columns."""


@dataclass(frozen=True, slots=True)
class Times:
    """A dimension of time. `name`: of the group that an hour, or with `fine` a minute, is in; the time is UTC."""

    name: Callable[[datetime], Any]
    fine: bool = False


type Dimension = str | Times
type Names = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """Requests that are alike in all dimensions; `names`: in the order of these, None where a request has none."""

    names: Names
    line: Line


@dataclass(frozen=True, slots=True)
class Crossed:
    """Cells by falling number of requests. `exact`: percentiles are those of the requests, not of histograms."""

    cells: tuple[Cell, ...]
    total: Line
    exact: bool
    groups: dict[Names, Group] = field(repr=False, default_factory=dict)

    def along(self, n: int) -> dict[Any, Line]:
        """The sums of one dimension alone."""
        found: dict[Any, list[Group]] = {}
        for names, group in self.groups.items():
            found.setdefault(names[n], []).append(group)
        return {name: line_of(None, together(groups)) for name, groups in found.items()}


def crossed(
    connection: sqlite3.Connection,
    by: Sequence[Dimension],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    only: Only | None = None,
) -> Crossed:
    """What started at `since` or later and before `until`. `by`: names of NAMED, and Times. Raises StoreError."""
    try:
        return _crossed(connection, by, since, until, only or Only())
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


@dataclass(frozen=True, slots=True)
class Spender:
    """A name of one dimension. `name` None: requests that have none; `cost_usd` None: not known of any request."""

    name: str | None
    requests: int
    cost_usd: float | None


def dearest(
    connection: sqlite3.Connection,
    by: Sequence[str],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    most: int = 5,
) -> dict[str, list[Spender]]:
    """The names that cost most, of each dimension alone. Raises StoreError."""
    try:
        counts, costs = _spent(connection, by, list(parts_of(since, until, Only())))
        for n, dimension in enumerate(by):
            if dimension in OF_MODELS:
                part = span("requests", since, until, Only())
                query = MOVED.format(group=GROUPS[dimension], where=part.where, own=OF_MODELS[dimension])
                for name, model, *sums in connection.execute(query, part.values):
                    for place, change in ((name, -(sums[-1] or 0.0)), (model, sums[-1] or 0.0)):
                        costs[n][place] = costs[n].get(place, 0.0) + change
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error
    return {
        dimension: [
            Spender(name, counts[n].get(name, 0), costs[n].get(name))
            for name in sorted(
                counts[n].keys() | costs[n].keys(),
                key=lambda name: (-costs[n].get(name, 0.0), -counts[n].get(name, 0), name or ""),
            )[:most]
        ]
        for n, dimension in enumerate(by)
    }


def _spent(
    connection: sqlite3.Connection, by: Sequence[str], parts: Sequence[Part]
) -> tuple[list[dict[str | None, int]], list[dict[str | None, float]]]:
    """Requests and costs by name, for each dimension. Row by row: to group by all of them, SQLite would sort what is hardly alike."""
    counts: list[dict[str | None, int]] = [{} for _ in by]
    costs: list[dict[str | None, float]] = [{} for _ in by]
    for part in parts:
        each = "requests, iif(with_cost, cost_usd, NULL)" if part.table == "rollups" else "1, cost_usd"
        query = f"SELECT {', '.join(_columns(by, part.table))}, {each} FROM {part.table} {part.where}"
        for *names, requests, cost in connection.execute(query, part.values):
            for n, name in enumerate(names):
                counts[n][name] = counts[n].get(name, 0) + requests
                if cost is not None:
                    costs[n][name] = costs[n].get(name, 0.0) + cost
    return counts, costs


def together(groups: Iterable[Group]) -> Group:
    """One group of several."""
    total = Group()
    for group in groups:
        total.rows += group.rows
        total.times += group.times
        total.speeds += group.speeds
    return total


def _crossed(
    connection: sqlite3.Connection, by: Sequence[Dimension], since: datetime | None, until: datetime | None, only: Only
) -> Crossed:
    exact = only.session is not None or is_few(connection, since, until)
    single = exact or any(isinstance(one, Times) and one.fine for one in by)
    parts = [span("requests", since, until, only)] if single else list(parts_of(since, until, only))
    for n, dimension in enumerate(by):
        if isinstance(dimension, Times):
            connection.create_function(f"time_{n}", 1, _named(dimension), deterministic=True)
    chosen = SUMS_ONLY if exact or any(one in MANY for one in by) else NAMES
    groups: dict[Names, Group] = {}
    for part in parts:
        _sum(connection, by, part, chosen, groups)
    if exact:
        _rank(connection, by, parts[0], groups)
    total = line_of(None, together([Group([(0,) * len(chosen)]), *groups.values()]))
    for n, dimension in enumerate(by):
        if dimension in OF_MODELS:
            _move(connection, by, n, span("requests", since, until, only), groups, chosen)
    cells = [Cell(names, line_of(None, group)) for names, group in groups.items()]
    cells.sort(key=lambda cell: (-cell.line.requests, *(str(name or "") for name in cell.names)))
    return Crossed(tuple(cells), total, exact, groups)


def _sum(
    connection: sqlite3.Connection,
    by: Sequence[Dimension],
    part: Part,
    chosen: Sequence[str],
    groups: dict[Names, Group],
) -> None:
    sums = measured(part.table)
    columns = [sums[name] for name in chosen] + _columns(by, part.table)
    numbers = ", ".join(str(len(chosen) + n + 1) for n in range(len(by)))
    grouping = f" GROUP BY {numbers}" if by else ""
    for row in connection.execute(f"SELECT {', '.join(columns)} FROM {part.table} {part.where}{grouping}", part.values):
        if row[0]:
            groups.setdefault(row[len(chosen) :], Group()).rows.append(row[: len(chosen)])


def _rank(connection: sqlite3.Connection, by: Sequence[Dimension], part: Part, groups: dict[Names, Group]) -> None:
    """Times and speeds, one by one."""
    speed = "iif(stream AND output_tokens > 0 AND duration_ms > ttft_ms, output_tokens * 1000.0 / (duration_ms - ttft_ms), NULL)"
    columns = ", ".join(["ttft_ms", speed, *_columns(by, part.table)])
    for time, rate, *names in connection.execute(f"SELECT {columns} FROM requests {part.where}", part.values):
        group = groups[tuple(names)]
        if time is not None:
            group.times.append(time)
        if rate is not None:
            group.speeds.append(rate)


def _move(
    connection: sqlite3.Connection,
    by: Sequence[Dimension],
    at: int,
    part: Part,
    groups: dict[Names, Group],
    chosen: Sequence[str],
) -> None:
    """What other models were billed for, from a request's own group to theirs, as in `reports`."""
    dimension = by[at]
    assert isinstance(dimension, str)
    names_of = f"json_array({', '.join(_columns(by, part.table))})"
    query = MOVED.format(group=names_of, where=part.where, own=OF_MODELS[dimension])
    for packed, model, *sums in connection.execute(query, part.values):
        names = tuple(json.loads(packed))
        moved = {measure: number for measure, number in zip(KNOWN, sums, strict=True) if number is not None}
        less = {measure: -number for measure, number in moved.items()}
        more = moved | {KNOWN[measure]: 1 for measure in moved}
        for place, change in ((names, less), ((*names[:at], model, *names[at + 1 :]), more)):
            groups.setdefault(place, Group()).rows.append(tuple(change.get(measure, 0) for measure in chosen))


def _columns(by: Sequence[Dimension], table: str) -> list[str]:
    found = []
    for n, dimension in enumerate(by):
        if isinstance(dimension, Times):
            text = "hour" if table == "rollups" else f"substr(started_at, 1, {16 if dimension.fine else 13})"
            found.append(f"time_{n}({text})")
        else:
            found.append(GROUPS[dimension])
    return found


def _named(times: Times) -> Callable[[str], Any]:
    """For SQLite: it is called for every row, so that what was said once is remembered."""
    known: dict[str, Any] = {}

    def named(text: str) -> Any:
        if text not in known:
            known[text] = times.name(
                datetime.fromisoformat(text if len(text) > 13 else f"{text}:00").replace(tzinfo=UTC)
            )
        return known[text]

    return named
