"""Sums of the ledger by the hour: what a report over a million requests is read from.

A row of `rollups` is an hour (UTC) of requests that are alike in all of DIMENSIONS; its other columns are sums of MEASURES. Triggers
on `requests` keep it true in the same transaction, whoever adds, prices or deletes; a row without requests goes.

    create(db)                         once, by a migration
    measured("requests")["errors"]     the sum's SQL over single requests; over "rollups": over their sums

Percentiles come from two histograms with BUCKETS geometric buckets each, two counts to a column (the second times PACK), since each
column costs every report. A percentile read from one is off by at most a sixth inside its bounds.

What this module must not know: what is asked of the sums (`reports`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlite_utils import Database

FIRST_DIMENSIONS: Final = (
    "session",
    "requested_model",
    "provider",
    "key",
    "served_model",
    "client",
    "project",
    "error_type",
)
DIMENSIONS: Final = (*FIRST_DIMENSIONS, "proxy", "client_group")
"""Columns of `requests`, those that the table began with and what came later.
In `rollups` an unknown one is an empty text, so that it can be part of the primary key."""

SLOT: Final = "substr({row}started_at, 1, 13)"
"""The hour: 2026-11-01T08."""

BUCKETS: Final = 24
PACK: Final = 1 << 31
DECADES: Final = 3
INNER: Final = BUCKETS - 2
WIDTH: Final = 10 ** (DECADES / INNER)

LOWEST: Final[Mapping[str, float]] = {"ttft": 100.0, "speed": 1.0}
"""Histogram → where its second bucket begins: milliseconds, tokens a second; the last one begins 10 ** DECADES times higher."""

VALUES: Final[Mapping[str, str]] = {
    "ttft": "{row}ttft_ms",
    "speed": "iif({row}stream AND {row}output_tokens > 0 AND {row}duration_ms > {row}ttft_ms, "
    "{row}output_tokens * 1000.0 / ({row}duration_ms - {row}ttft_ms), NULL)",
}
"""Histogram → what it counts of a request. A speed is that of a streamed answer after its first token."""

COUNTED: Final[Mapping[str, str]] = {
    "requests": "1",
    "errors": "{row}finished IN ('error', 'upstream_closed')",
    "retried": "{row}attempts > 1",
    "input_tokens": "coalesce({row}input_tokens, 0)",
    "output_tokens": "coalesce({row}output_tokens, 0)",
    "cache_read_tokens": "coalesce({row}cache_read_tokens, 0)",
    "cache_write_tokens": "coalesce({row}cache_write_5m_tokens, 0) + coalesce({row}cache_write_1h_tokens, 0)",
    "cost_usd": "coalesce({row}cost_usd, 0.0)",
    "with_input": "{row}input_tokens IS NOT NULL",
    "with_output": "{row}output_tokens IS NOT NULL",
    "with_cache_read": "{row}cache_read_tokens IS NOT NULL",
    "with_cache_write": "coalesce({row}cache_write_5m_tokens, {row}cache_write_1h_tokens) IS NOT NULL",
    "with_cost": "{row}cost_usd IS NOT NULL",
    "unpriced": "{row}cost_usd IS NULL AND coalesce({row}input_tokens, {row}output_tokens) IS NOT NULL",
    "cache_hits": "iif({row}input_tokens IS NOT NULL, coalesce({row}cache_read_tokens, 0), 0)",
    "cache_asked": "coalesce({row}input_tokens + {row}cache_read_tokens + coalesce({row}cache_write_5m_tokens, 0) "
    "+ coalesce({row}cache_write_1h_tokens, 0), 0)",
}
"""Sum → what a request adds to it. `with_…`: requests of which that is known."""


def edges(histogram: str) -> list[float]:
    """Where the buckets after the first begin."""
    return [LOWEST[histogram] * WIDTH**n for n in range(BUCKETS - 1)]


def middles(histogram: str) -> list[float]:
    """What each bucket stands for: its geometric middle; the first and the last one, which are open, their bound."""
    starts = edges(histogram)
    return [starts[0], *(start * WIDTH**0.5 for start in starts[:-1]), starts[-1]]


def unpacked(columns: Sequence[int]) -> list[int]:
    """Of one histogram: how many values lie in each bucket or below it."""
    below, counts = 0, []
    for column in columns:
        counts.append(below := below + column % PACK)
        counts.append(below := below + column // PACK)
    return counts


def columns_of(histogram: str) -> list[str]:
    """Its columns in `rollups`, in order."""
    return [f"{histogram}_{n:02}" for n in range(0, BUCKETS, 2)]


def _packed(histogram: str) -> dict[str, str]:
    value, starts = VALUES[histogram], edges(histogram)

    def inside(bucket: int) -> str:
        bounds = [f"{value} >= {start:.6g}" for start in starts[max(bucket - 1, 0) : bucket]]
        return " AND ".join(bounds + [f"{value} < {end:.6g}" for end in starts[bucket : bucket + 1]])

    names = columns_of(histogram)
    return {
        name: f"CASE WHEN {inside(n)} THEN 1 WHEN {inside(n + 1)} THEN {PACK} ELSE 0 END"
        for name, n in zip(names, range(0, BUCKETS, 2), strict=True)
    }


FIRST: Final[Mapping[str, str]] = dict(COUNTED) | _packed("ttft") | _packed("speed")
LATER: Final[Mapping[str, str]] = {"estimated": "{row}estimated"}
MEASURES: Final[Mapping[str, str]] = dict(FIRST) | dict(LATER)
"""Column of `rollups` → what a request adds to it: those that the table began with, and those that came later."""


def measured(table: str) -> dict[str, str]:
    """Measure → its sum in SQL, over rows of `requests` or of `rollups`."""
    if table == "rollups":
        return {name: f"sum({name})" for name in MEASURES}
    return {name: f"sum({value.format(row='')})" for name, value in MEASURES.items()}


def create(db: Database, names: Iterable[str] = MEASURES, dimensions: Sequence[str] = DIMENSIONS) -> None:
    """The table, filled from what is there, and the triggers. The SQL is part of a migration: to change it takes a new one.

    names, dimensions  columns that the table has; what is left out is a later migration's
    """
    names, key = tuple(names), ("hour", *dimensions)
    sums = ", ".join(f"{name} {'REAL' if name == 'cost_usd' else 'INTEGER'} NOT NULL" for name in names)
    db.execute(
        f"CREATE TABLE rollups ({', '.join(f'{name} TEXT NOT NULL' for name in key)}, {sums}, "
        f"PRIMARY KEY ({', '.join(key)})) WITHOUT ROWID"
    )
    groups = ", ".join(str(n) for n in range(1, len(key) + 1))
    totals = ", ".join(value for name, value in measured("requests").items() if name in names)
    db.execute(
        f"INSERT INTO rollups SELECT {', '.join(_key('', dimensions))}, {totals} FROM requests GROUP BY {groups}"
    )
    _create_triggers(db, names, dimensions)


def add_estimated(db: Database) -> None:
    """The column for estimated requests, of which there were none before."""
    _drop_triggers(db)
    db.execute("ALTER TABLE rollups ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0")
    _create_triggers(db, tuple(MEASURES), FIRST_DIMENSIONS)


def create_anew(db: Database) -> None:
    """With further dimensions: they are part of the key, so all is summed anew."""
    _drop_triggers(db)
    db.execute("DROP TABLE rollups")
    create(db)


def _drop_triggers(db: Database) -> None:
    for name in TRIGGERS:
        db.execute(f"DROP TRIGGER {name}")


def _create_triggers(db: Database, names: Sequence[str], dimensions: Sequence[str]) -> None:
    read = [name for name in READ if name not in LATER or name in names]
    counted = ", ".join(dict.fromkeys((*dimensions, "started_at", *read)))
    added, changed, taken = TRIGGERS
    add, take = _add(names, dimensions), _take(names, dimensions)
    db.execute(f"CREATE TRIGGER {added} AFTER INSERT ON requests BEGIN {add} END")
    db.execute(f"CREATE TRIGGER {changed} AFTER UPDATE OF {counted} ON requests BEGIN {take} {add} END")
    db.execute(f"CREATE TRIGGER {taken} AFTER DELETE ON requests BEGIN {take} END")


TRIGGERS: Final = ("rollups_added", "rollups_changed", "rollups_taken")
READ: Final = (
    "finished",
    "attempts",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_usd",
    "stream",
    "ttft_ms",
    "duration_ms",
    "estimated",
)
"""Columns of `requests` that the measures read."""


def _key(row: str, dimensions: Sequence[str] = DIMENSIONS) -> list[str]:
    return [SLOT.format(row=row), *(f"ifnull({row}{name}, '')" for name in dimensions)]


def _add(names: Sequence[str], dimensions: Sequence[str]) -> str:
    columns = ", ".join(("hour", *dimensions, *names))
    values = ", ".join([*_key("new.", dimensions), *(MEASURES[name].format(row="new.") for name in names)])
    sums = ", ".join(f"{name} = {name} + excluded.{name}" for name in names)
    key = ", ".join(("hour", *dimensions))
    return f"INSERT INTO rollups ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO UPDATE SET {sums};"


def _take(names: Sequence[str], dimensions: Sequence[str]) -> str:
    key = zip(("hour", *dimensions), _key("old.", dimensions), strict=True)
    where = " AND ".join(f"{name} = {value}" for name, value in key)
    sums = ", ".join(f"{name} = {name} - ({MEASURES[name].format(row='old.')})" for name in names)
    return f"UPDATE rollups SET {sums} WHERE {where}; DELETE FROM rollups WHERE {where} AND requests = 0;"
