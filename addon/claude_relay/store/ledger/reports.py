"""Sums over the ledger: by model, served model, provider, key, client, session, project, error, hour, day, week or month.

    with closing(read_only(path)) as connection:
        report = summarise(connection, by="model", since=datetime(2026, 11, 1, tzinfo=UTC), only=Only(client="alice"))
        report.total.requests, report.lines[0].name

Up to EXACT requests are read one by one. Of more, whole hours come from `rollups` and what is cut off at either end from `requests`:
sums are the same, percentiles are those of a histogram, off by at most a sixth between 0.1 s and 100 s, or 1 and 1,000 tokens a
second; beyond these they are the bound.

What this module must not know: how a report is shown. Hours, days, weeks (from Monday) and months are those of this machine's time
zone; the ledger's times are UTC.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from claude_relay.core.config.locate import command
from claude_relay.core.times import iso
from claude_relay.store.db.database import StoreError, file_of
from claude_relay.store.db.rollups import COUNTED, LATER, MEASURES, columns_of, measured, middles, unpacked

GROUPS: Final[Mapping[str, str]] = {
    "model": "nullif(requested_model, '')",
    "served": "nullif(served_model, '')",
    "provider": "nullif(provider, '')",
    "key": "nullif(provider, '') || '/' || nullif(key, '')",
    "client": "nullif(client, '')",
    "session": "nullif(session, '')",
    "project": "nullif(project, '')",
    "error": "nullif(error_type, '')",
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

HOUR: Final = timedelta(hours=1)
LAST: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Only:
    """Which requests count; None: all.

    model     a glob for the model that was asked for or the one that served
    key       an alias, or PROVIDER/ALIAS
    session   its id or how that begins
    """

    model: str | None = None
    provider: str | None = None
    key: str | None = None
    client: str | None = None
    session: str | None = None
    project: str | None = None

    def conditions(self) -> Iterator[tuple[str, list[Any]]]:
        """SQL for `requests` as for `rollups`, each with its values."""
        if self.model is not None:
            yield "(requested_model GLOB ? OR served_model GLOB ?)", [self.model] * 2
        if self.key is not None:
            provider, slash, alias = self.key.rpartition("/")
            yield ("provider = ? AND key = ?", [provider, alias]) if slash else ("key = ?", [alias])
        if self.session is not None:
            yield "session >= ? AND session < ?", [self.session, self.session + LAST]
        for name in ("provider", "client", "project"):
            if (wanted := getattr(self, name)) is not None:
                yield f"{name} = ?", [wanted]


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


@dataclass(frozen=True, slots=True)
class Report:
    """Lines by falling number of requests (times: the oldest first), and their total.

    unpriced  served models with requests whose tokens are known and whose cost is not → how many those are
    exact     whether percentiles are those of the requests themselves, not of a histogram
    """

    by: str
    since: datetime | None
    lines: tuple[Line, ...]
    total: Line
    until: datetime | None = None
    unpriced: Mapping[str | None, int] = field(default_factory=dict)
    exact: bool = True


COLUMNS: Final = tuple(name.name for name in fields(Line))

NAMES: Final = (*COUNTED, *LATER, *columns_of("ttft"), *columns_of("speed"))
AT: Final[Mapping[str, int]] = {name: n for n, name in enumerate(NAMES)}
TTFT: Final = slice(AT[columns_of("ttft")[0]], AT[columns_of("ttft")[-1]] + 1)
SPEED: Final = slice(AT[columns_of("speed")[0]], AT[columns_of("speed")[-1]] + 1)
SUMS_ONLY: Final = NAMES[: TTFT.start]
MIDDLES: Final = {histogram: middles(histogram) for histogram in ("ttft", "speed")}

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
    FROM charges CROSS JOIN (
        SELECT id, requested_model, served_model, requests.cost_usd FROM requests {where}
    ) AS requests ON requests.id = charges.request
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


@dataclass(frozen=True, slots=True)
class Part:
    """A table and the span of it that is read."""

    table: str
    where: str
    values: list[Any]


@dataclass(slots=True)
class Group:
    """Rows of sums, in the order of NAMES, of one group; and where requests are read one by one, their times and speeds."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)

    def summed(self) -> tuple[Any, ...]:
        """One row; it keeps the counts of histograms packed, since none comes near PACK."""
        return self.rows[0] if len(self.rows) == 1 else tuple(map(sum, zip(*self.rows, strict=True)))


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


def condition(conditions: Iterable[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    """A WHERE clause, empty when there is nothing to ask, and its values."""
    found = list(conditions)
    where = " AND ".join(text for text, _ in found)
    return (f"WHERE {where}" if where else ""), [value for _, values in found for value in values]


def _summarise(
    connection: sqlite3.Connection, by: str, since: datetime | None, until: datetime | None, only: Only
) -> Report:
    exact = only.session is not None or _few(connection, since, until) or (by in TIMES and not _whole_hours())
    parts = [_span("requests", since, until, only)] if exact else list(_parts(since, until, only))
    many, width = by in MANY and not exact, len(SUMS_ONLY if exact else NAMES)
    groups: dict[str | None, Group] = {}
    unpriced: dict[str | None, int] = {}
    for part in parts:
        if _sum(connection, ALL if many else by, part, groups, histograms=not exact):
            _count_unpriced(connection, part, unpriced)
    if exact:
        _rank(connection, by, parts[0], groups)
    total = _line(None, _total(groups.values(), width))
    if by in OF_MODELS:
        _move_charges(connection, by, _span("requests", since, until, only), groups, width)
    lines = _many_lines(connection, by, parts) if many else _lines(by, groups)
    listed = dict(sorted(unpriced.items(), key=lambda item: (-item[1], item[0] or "")))
    return Report(by, since, tuple(lines), total, until, listed, exact)


# -- which rows


def _few(connection: sqlite3.Connection, since: datetime | None, until: datetime | None) -> bool:
    part = _span("requests", since, until, Only())
    found = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM requests {part.where} LIMIT {EXACT + 1})", part.values
    )
    return bool(found.fetchone()[0] <= EXACT)


def _whole_hours() -> bool:
    """Whether an hour here is one of UTC: not so in India or Nepal."""
    offset = datetime.now().astimezone().utcoffset() or timedelta()
    return not offset % HOUR


def _span(table: str, since: datetime | None, until: datetime | None, only: Only) -> Part:
    column, form = ("started_at", iso) if table == "requests" else ("hour", lambda at: iso(at)[:13])
    # Without a beginning the whole table is read in its own order, which is twice as fast as by the index.
    bounds = [(f"{column} >= ?", [form(since)])] if since else []
    bounds += [(f"{column} < ?", [form(until)])] if until else []
    return Part(table, *condition([*bounds, *only.conditions()]))


def _parts(since: datetime | None, until: datetime | None, only: Only) -> Iterator[Part]:
    """Whole hours, and what is before and after them."""
    first = _floor(since + HOUR - timedelta(microseconds=1)) if since else None
    last = _floor(until) if until else None
    if first and last and first >= last:
        yield _span("requests", since, until, only)
        return
    if since and first and since < first:
        yield _span("requests", since, first, only)
    yield _span("rollups", first, last, only)
    if until and last and last < until:
        yield _span("requests", last, until, only)


def _floor(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


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
    found = [_line(name, group) for name, group in groups.items()]
    return sorted(found, key=lambda line: line.name or "" if by in TIMES else (-line.requests, line.name or ""))


def _many_lines(connection: sqlite3.Connection, by: str, parts: Sequence[Part]) -> list[Line]:
    rows = " UNION ALL ".join(_rows(by, part) for part in parts)
    values = [value for part in parts for value in part.values]
    return [Line(*row) for row in connection.execute(LINES.format(rows=rows), values)]


def _rows(by: str, part: Part) -> str:
    single = part.table == "requests"
    sums = (f"{MEASURES[name].format(row='')} AS {name}" if single else name for name in SUMS_ONLY)
    return f"SELECT {_group(by, part.table)} AS name, {', '.join(sums)} FROM {part.table} {part.where}"


def _line(name: str | None, group: Group) -> Line:
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
