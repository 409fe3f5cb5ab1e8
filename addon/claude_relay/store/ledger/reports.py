"""Sums over the ledger: by model, served model, provider, key, client, group of clients, session, project, error, way out, or time.

    with closing(read_only(path)) as connection:
        report = summarise(connection, by="model", since=datetime(2026, 11, 1, tzinfo=UTC), only=Only(client="alice"))
        report.total.requests, report.lines[0].name

Up to EXACT requests are read one by one. Of more, whole hours come from `rollups` and what is cut off at either end from `requests`:
sums are the same, percentiles are those of a histogram, off by at most a sixth between 0.1 s and 100 s, or 1 and 1,000 tokens a
second; beyond these they are the bound.

What this module must not know: how a report is shown, or how one line of it is worked out. Hours, days,
weeks (from Monday) and months are those of this machine's time zone; the ledger's times are UTC.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from claude_relay.core.installation import command
from claude_relay.store.db.database import StoreError, file_of
from claude_relay.store.db.rollups import MEASURES, measured

from .filters import HOUR, Only, Part, parts_of, span
from .lines import AT, NAMES, SUMS_ONLY, Group, Line, line_of

GROUPS: Final[Mapping[str, str]] = {
    "model": "nullif(requested_model, '')",
    "served": "nullif(served_model, '')",
    "provider": "nullif(provider, '')",
    "key": "nullif(provider, '') || '/' || nullif(key, '')",
    "client": "nullif(client, '')",
    "client-group": "nullif(client_group, '')",
    "session": "nullif(session, '')",
    "project": "nullif(project, '')",
    "error": "nullif(error_type, '')",
    "proxy": "nullif(proxy, '')",
    "hour": "",
    "day": "",
    "week": "",
    "month": "",
}
"""What a report can be grouped by → where a request's group is found; NULL where it has none. Empty: by its time."""

TIMES: Final[Mapping[str, Callable[[datetime], str]]] = {
    "hour": lambda local: f"{local:%Y-%m-%d %H}:00",
    "day": lambda local: f"{local:%Y-%m-%d}",
    "week": lambda local: "{}-W{:02}".format(*local.isocalendar()),
    "month": lambda local: f"{local:%Y-%m}",
}
"""Groups by time → what one is called; the names are in the order of time."""

EXACT: Final = 20_000
"""Requests that are read one by one at most: about a tenth of a second."""

MANY: Final = ("session",)
"""Groups of which there are too many for a histogram each: beyond EXACT requests only the total has percentiles."""
ALL: Final = ""
"""No group at all."""
ALL_OF_THEM: Final = Only()


@dataclass(frozen=True, slots=True)
class Report:
    """Lines by falling number of requests (times: the oldest first), and their total.

    unpriced  served models with requests whose tokens are known and whose cost is not → how many those are
    exact     whether percentiles are those of the requests themselves, not of a histogram
    only      the filters; where they leave nothing, `unfiltered` is how many requests there are without them
    """

    by: str
    since: datetime | None
    lines: tuple[Line, ...]
    total: Line
    until: datetime | None = None
    unpriced: Mapping[str | None, int] = field(default_factory=dict)
    exact: bool = True
    only: Only = ALL_OF_THEM
    unfiltered: int = 0


RAW: Final = """
    SELECT {group}, ttft_ms, iif(stream AND output_tokens > 0 AND duration_ms > ttft_ms,
        output_tokens * 1000.0 / (duration_ms - ttft_ms), NULL) FROM requests {where}"""
"""Ranked in Python: SQLite's window functions take three times as long."""

OF_MODELS: Final[Mapping[str, str]] = {"model": "requested_model, served_model", "served": "served_model"}
"""Groups in which a charge is that of its own model → the models whose charges are in a request's own group."""
KNOWN: Final[Mapping[str, str]] = {
    "input_tokens": "with_input",
    "output_tokens": "with_output",
    "cache_read_tokens": "with_cache_read",
    "cache_write_tokens": "with_cache_write",
    "cost_usd": "with_cost",
}
"""Sum → the measure that says whether anything is known of it."""
MOVED: Final = """
    SELECT {group}, nullif(charges.model, ''), sum(charges.input_tokens), sum(charges.output_tokens), sum(charges.cache_read_tokens),
        sum(coalesce(charges.cache_write_5m_tokens, charges.cache_write_1h_tokens)
            + iif(charges.cache_write_5m_tokens IS NULL, 0, coalesce(charges.cache_write_1h_tokens, 0))),
        sum(iif(requests.cost_usd IS NULL, NULL, charges.cost_usd))
    FROM charges CROSS JOIN (SELECT * FROM requests {where}) AS requests ON requests.id = charges.request
    WHERE charges.model NOT IN (SELECT value FROM json_each(json_array({own})) WHERE value IS NOT NULL)
    GROUP BY 1, 2"""
"""A cost that the request's own sum does not have, since some part of it has no price, moves nowhere."""

LINES: Final = """
    SELECT name, sum(requests), sum(errors), sum(retried),
        iif(sum(with_input), sum(input_tokens), NULL),
        iif(sum(with_output), sum(output_tokens), NULL),
        iif(sum(with_cache_read), sum(cache_read_tokens), NULL),
        iif(sum(with_cache_write), sum(cache_write_tokens), NULL),
        sum(cache_hits) * 1.0 / nullif(sum(cache_asked), 0),
        iif(sum(with_cost), sum(cost_usd), NULL), NULL, NULL, NULL, NULL, sum(estimated)
    FROM ({rows}) GROUP BY name ORDER BY 2 DESC, name"""
"""A Line without percentiles: for tens of thousands of groups SQLite finishes each in half the time that Python takes."""


def summarise(
    connection: sqlite3.Connection,
    *,
    by: str,
    since: datetime | None = None,
    until: datetime | None = None,
    only: Only | None = None,
) -> Report:
    """Sum up what started at `since` or later and before `until`. `by` is one of GROUPS. Raises StoreError when the file is no ledger."""
    try:
        return _summarise(connection, by, since, until, only or Only())
    except sqlite3.OperationalError as error:
        raise explained(connection, error) from error


def explained(connection: sqlite3.Connection, error: sqlite3.OperationalError) -> StoreError:
    """What it means that a table or column of the ledger is missing."""
    path = file_of(connection)
    if "no such table" not in str(error) and "no such column" not in str(error):
        return StoreError(f"{path}: {error}")
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'requests'").fetchone():
        return StoreError(
            f"{path}: an older Claude Relay wrote it – start {command('relay')} once, which brings it up to date"
        )
    return StoreError(f"{path}: it holds no ledger of Claude Relay")


def _summarise(
    connection: sqlite3.Connection, by: str, since: datetime | None, until: datetime | None, only: Only
) -> Report:
    exact = only.session is not None or is_few(connection, since, until) or (by in TIMES and not _whole_hours())
    parts = [span("requests", since, until, only)] if exact else list(parts_of(since, until, only))
    many, width = by in MANY and not exact, len(SUMS_ONLY if exact else NAMES)
    groups: dict[str | None, Group] = {}
    unpriced: dict[str | None, int] = {}
    for part in parts:
        if _sum(connection, ALL if many else by, part, groups, histograms=not exact):
            _count_unpriced(connection, part, unpriced)
    if exact:
        _rank(connection, by, parts[0], groups)
    total = line_of(None, _total(groups.values(), width))
    if by in OF_MODELS:
        _move_charges(connection, by, span("requests", since, until, only), groups, width)
    lines = _many_lines(connection, by, parts) if many else _lines(by, groups)
    listed = dict(sorted(unpriced.items(), key=lambda item: (-item[1], item[0] or "")))
    unfiltered = 0 if lines or only == ALL_OF_THEM else _count(connection, since, until)
    return Report(by, since, tuple(lines), total, until, listed, exact, only, unfiltered)


# -- how they are read


def is_few(connection: sqlite3.Connection, since: datetime | None, until: datetime | None) -> bool:
    """Whether no more requests than EXACT are in a span."""
    part = span("requests", since, until, Only())
    found = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM requests {part.where} LIMIT {EXACT + 1})", part.values
    )
    return bool(found.fetchone()[0] <= EXACT)


def _count(connection: sqlite3.Connection, since: datetime | None, until: datetime | None) -> int:
    part = span("requests", since, until, ALL_OF_THEM)
    return int(connection.execute(f"SELECT count(*) FROM requests {part.where}", part.values).fetchone()[0])


def _whole_hours() -> bool:
    """Whether an hour here is one of UTC: not so in India or Nepal."""
    offset = datetime.now().astimezone().utcoffset() or timedelta()
    return not offset % HOUR


# -- sums


def _sum(
    connection: sqlite3.Connection, by: str, part: Part, groups: dict[str | None, Group], *, histograms: bool
) -> int:
    """Add the part's sums to the groups; returns how many of its requests have no price."""
    sums = measured(part.table)
    chosen = ", ".join(sums[name] for name in (NAMES if histograms else SUMS_ONLY))
    query = f"SELECT {chosen}, {_group(by, part.table)} AS name FROM {part.table} {part.where}"
    query += "" if by == ALL else " GROUP BY name"
    named, unpriced = _named(by), 0
    for row in connection.execute(query, part.values):
        if row[0]:  # without groups a span without requests is a row of NULLs
            groups.setdefault(named(row[-1]), Group()).rows.append(row[:-1])
            unpriced += row[AT["unpriced"]]
    return unpriced


def _rank(connection: sqlite3.Connection, by: str, part: Part, groups: dict[str | None, Group]) -> None:
    named = _named(by)
    query = RAW.format(group=_group(by, part.table), where=part.where)
    for name, time, speed in connection.execute(query, part.values):
        group = groups[named(name)]
        if time is not None:
            group.times.append(time)
        if speed is not None:
            group.speeds.append(speed)


def _group(by: str, table: str) -> str:
    if by not in TIMES:
        return GROUPS.get(by, "NULL")
    return "hour" if table == "rollups" else "substr(started_at, 1, 15)"  # ten minutes: zones differ by quarters


def _named(by: str) -> Callable[[str | None], str | None]:
    """From what SQL grouped by to the name of the group."""
    if by not in TIMES:
        return lambda name: name or None
    known: dict[str | None, str] = {}

    def named(at: str | None) -> str:
        if (found := known.get(at)) is None:
            text = f"{at}:00" if len(at or "") == 13 else f"{at}0"
            found = known[at] = TIMES[by](datetime.fromisoformat(f"{text}+00:00").astimezone())
        return found

    return named


def _total(groups: Iterable[Group], width: int) -> Group:
    total = Group([(0,) * width])
    for group in groups:
        total.rows += group.rows
        total.times += group.times
        total.speeds += group.speeds
    return total


def _count_unpriced(connection: sqlite3.Connection, part: Part, unpriced: dict[str | None, int]) -> None:
    query = f"SELECT {GROUPS['served']} AS name, {measured(part.table)['unpriced']} AS missing FROM {part.table} {part.where}"
    for name, missing in connection.execute(f"{query} GROUP BY name HAVING missing > 0", part.values):
        unpriced[name] = unpriced.get(name, 0) + missing


def _move_charges(
    connection: sqlite3.Connection, by: str, part: Part, groups: dict[str | None, Group], width: int
) -> None:
    """What other models were billed for, beside the answers of a request's own: from its group to theirs. The total stays as it is."""
    query = MOVED.format(group=GROUPS[by], where=part.where, own=OF_MODELS[by])
    for name, model, *sums in connection.execute(query, part.values):
        moved = {measure: number for measure, number in zip(KNOWN, sums, strict=True) if number is not None}
        less = {measure: -number for measure, number in moved.items()}
        more = moved | {KNOWN[measure]: 1 for measure in moved}
        for place, change in ((name, less), (model, more)):
            row = tuple(change.get(measure, 0) for measure in NAMES[:width])
            groups.setdefault(place or None, Group()).rows.append(row)


# -- lines


def _lines(by: str, groups: Mapping[str | None, Group]) -> list[Line]:
    found = [line_of(name, group) for name, group in groups.items()]
    return sorted(found, key=lambda line: line.name or "" if by in TIMES else (-line.requests, line.name or ""))


def _many_lines(connection: sqlite3.Connection, by: str, parts: Sequence[Part]) -> list[Line]:
    rows = " UNION ALL ".join(_rows(by, part) for part in parts)
    values = [value for part in parts for value in part.values]
    return [Line(*row) for row in connection.execute(LINES.format(rows=rows), values)]


def _rows(by: str, part: Part) -> str:
    single = part.table == "requests"
    sums = (f"{MEASURES[name].format(row='')} AS {name}" if single else name for name in SUMS_ONLY)
    return f"SELECT {_group(by, part.table)} AS name, {', '.join(sums)} FROM {part.table} {part.where}"
