"""`/api/usage`: sums by one or two dimensions, as JSON or CSV; `/api/cache-misses`: what missed the prompt cache, and why."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import Depends, Header, Query
from pydantic import BaseModel
from starlette.responses import Response

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.spans import Span, Spanning
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.ledger import missed
from claude_relay.store.ledger.crosstab import Crossed, Dimension, Times, crossed
from claude_relay.store.ledger.filters import HOUR, Only
from claude_relay.store.ledger.lines import COLUMNS, Line
from claude_relay.store.ledger.reports import GROUPS, TIMES

router = area("usage")
MOST: Final = 5_000
"""Lines of one answer as JSON; CSV has all."""
CSV: Final = "text/csv"


class Group(BaseModel):
    """A line: the names in the order of `by`; null where requests have none."""

    names: list[str | None]
    sums: Line


class Usage(BaseModel):
    """Sums. `exact`: percentiles are those of the requests themselves, else they are off by at most a sixth. `left_out`: lines beyond
    `limit`.
    """

    by: list[str]
    since: datetime
    until: datetime
    exact: bool
    total: Line
    data: list[Group]
    left_out: int


class Misses(BaseModel):
    """What missed the prompt cache, the dearest cause first. `usd`: what all that cost."""

    since: datetime
    until: datetime
    usd: float | None
    data: list[missed.CacheMisses]


def filtered(
    model: Annotated[
        str | None, Query(max_length=200, description="A glob: the model, as requested or served.")
    ] = None,
    provider: Annotated[str | None, Query(max_length=200)] = None,
    key: Annotated[str | None, Query(max_length=200, description="ALIAS, or PROVIDER/ALIAS.")] = None,
    client: Annotated[str | None, Query(max_length=200)] = None,
    session: Annotated[str | None, Query(max_length=255)] = None,
    project: Annotated[str | None, Query(max_length=255)] = None,
    client_group: Annotated[str | None, Query(max_length=200, description="In which the client was then.")] = None,
    proxy: Annotated[str | None, Query(max_length=200, description="An outbound proxy, or `direct`.")] = None,
) -> Only:
    """From the query."""
    names = (model, provider, key, client, session, project, client_group, proxy)
    return Only(*(value or None for value in names))


Filtered = Annotated[Only, Depends(filtered)]


@router.get("/usage", responses=documented() | {200: {"content": {CSV: {}}}}, response_model=Usage)
def usage(
    visitor: Reader,
    parts: Own,
    span: Spanning,
    only: Filtered,
    by: Annotated[list[str], Query(description=f"One or two of {', '.join(GROUPS)}.")] = ["model"],  # noqa: B006  FastAPI copies it
    limit: Annotated[int, Query(ge=1, le=MOST)] = 1000,
    format: Annotated[Literal["json", "csv"] | None, Query()] = None,
    accept: Annotated[str, Header()] = "",
) -> Usage | Response:
    """Requests, errors, tokens, cost and times by one or two dimensions. Hours, days, weeks and months are those of your zone."""
    found = sums(parts, by, span, only) or _summed(parts, by, span, only)
    if format == "csv" or (format is None and accept.startswith(CSV)):
        return as_csv(by, found)
    lines = [Group(names=[none_or(name) for name in cell.names], sums=cell.line) for cell in found.cells]
    return Usage(
        by=by,
        since=span.since,
        until=span.until,
        exact=found.exact,
        total=found.total,
        data=lines[:limit],
        left_out=max(0, len(lines) - limit),
    )


@router.get("/cache-misses", responses=documented())
def cache_misses(visitor: Reader, parts: Own, span: Spanning, only: Filtered) -> Misses:
    """Why turns read less from the prompt cache than the turns before had left there, and what that cost."""
    return misses(parts, span, only)


def sums(parts: Parts, by: Sequence[str], span: Span, only: Only, patience: float | None = None) -> Crossed | None:
    """Worked out once for all who look within two seconds. None: it takes longer than `patience`, in seconds. Raises Problem."""
    chosen = tuple(dict.fromkeys(by))
    if not 1 <= len(chosen) <= 2 or not set(chosen) <= set(GROUPS):
        text = f"by is one or two of {', '.join(GROUPS)}."
        raise Problem(422, "invalid", text, errors=[FieldError(field="by", detail=text)])
    key = ("usage", chosen, tuple(sorted(span.query.items())), str(span.zone), str(only))
    return parts.recent.get(key, lambda: _summed(parts, chosen, span, only), patience)


def _summed(parts: Parts, by: Sequence[str], span: Span, only: Only) -> Crossed:
    fine = bool((span.until.astimezone(span.zone).utcoffset() or HOUR) % HOUR)

    def dimension(name: str) -> Dimension:
        if name not in TIMES:
            return name
        return Times(lambda at: TIMES[name](at.astimezone(span.zone)), fine)

    with parts.ledger() as connection:
        found = crossed(connection, [dimension(name) for name in by], since=span.since, until=span.until, only=only)
    if any(name in TIMES for name in by):  # the oldest first
        at = next(n for n, name in enumerate(by) if name in TIMES)
        cells = sorted(found.cells, key=lambda cell: str(cell.names[at]))
        return replace(found, cells=tuple(cells))
    return found


def misses(parts: Parts, span: Span, only: Only) -> Misses:
    """What missed the cache."""
    with parts.ledger() as connection:
        found = missed.cache_misses(connection, only, since=span.since, until=span.until)
    costs = [one.usd for one in found if one.usd is not None]
    return Misses(since=span.since, until=span.until, usd=sum(costs) if costs else None, data=found)


def as_csv(by: Sequence[str], found: Crossed) -> Response:
    """A line for each group, without the total."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*by, *COLUMNS[1:]])
    for cell in found.cells:
        writer.writerow([*map(harmless, cell.names), *astuple(cell.line)[1:]])
    headers = {"content-disposition": f'attachment; filename="usage-by-{"-".join(by)}.csv"'}
    return Response(text.getvalue(), media_type=CSV, headers=headers)


def harmless(name: object) -> object:
    """A name that begins like a formula would be one in a spreadsheet."""
    return f"'{name}" if isinstance(name, str) and name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


def none_or(name: object) -> str | None:
    """As JSON has it."""
    return None if name is None or name == "" else str(name)
