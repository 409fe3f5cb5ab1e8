"""/usage: sums by one or two dimensions, as a chart and a table; with view=cache, what missed the prompt cache."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.core.accounting.cache_misses import explained
from claude_relay.panel.api import usage as api
from claude_relay.panel.api.usage import Filtered
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.spans import Span, Spanning
from claude_relay.panel.common.texts import Words
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger.crosstab import Crossed
from claude_relay.store.ledger.lines import Line
from claude_relay.store.ledger.reports import GROUPS, TIMES

from . import charts
from .addresses import address
from .overview import PATIENCE, spans_of, tokens
from .shell import N_, PageReader, pages, render, words_of

router = pages()
ROWS: Final = 200
"""Lines of the table; the CSV has all."""
BARS: Final = 12
MOST: Final = 400
"""Steps of a chart."""
DAY, HOUR, WINDOW = timedelta(days=1), timedelta(hours=1), timedelta(days=30)
STEPS: Final = {"hour": HOUR, "day": DAY, "week": timedelta(days=7), "month": None}
NAMES: Final = {
    "model": N_("Model"),
    "served": N_("Model that served"),
    "provider": N_("Provider"),
    "key": N_("Key"),
    "client": N_("Client"),
    "client-group": N_("Group"),
    "session": N_("Session"),
    "project": N_("Project"),
    "error": N_("Error"),
    "proxy": N_("Way out"),
    "hour": N_("Hour"),
    "day": N_("Day"),
    "week": N_("Week"),
    "month": N_("Month"),
}
MEASURES: Final[dict[str, tuple[str, str, Callable[[Line], float | None]]]] = {
    "cost": (N_("Cost"), "money", lambda line: line.cost_usd),
    "requests": (N_("Requests"), "count", lambda line: line.requests),
    "tokens": (N_("Tokens"), "tokens", tokens),
}
"""What the chart shows: what it is called, in which form, and where it is found."""
FILTERS: Final = {
    "model": N_("Model"),
    "provider": N_("Provider"),
    "key": N_("Key"),
    "client": N_("Client"),
    "client_group": N_("Group"),
    "project": N_("Project"),
    "proxy": N_("Way out"),
}


@router.get("/usage")
def usage(
    request: Request,
    visitor: PageReader,
    parts: Own,
    span: Spanning,
    only: Filtered,
    by: Annotated[list[str], Query()] = ["day", "model"],  # noqa: B006  FastAPI copies it
    show: Annotated[Literal["cost", "requests", "tokens"], Query()] = "cost",
    view: Annotated[Literal["sums", "cache"], Query()] = "sums",
) -> Response:
    """The page."""
    if not (request.query_params.get("span") or request.query_params.get("since")):
        span = Span("30d", span.until - WINDOW, span.until, span.zone)
    chosen = [name for name in dict.fromkeys(by) if name] or ["model"]
    context: dict[str, Any] = {"span": span, **spans_of(request, span), "view": view, "filters": FILTERS}
    context |= {"given": {name: value for name, value in request.query_params.items() if value}}
    context |= {"by": chosen, "names": NAMES, "dimensions": list(GROUPS), "show": show, "measures": MEASURES}
    context |= {"tabs": [(name, address(request, view=name)) for name in ("sums", "cache")]}
    context |= {"csv": address(request, "/api/usage", format="csv", view=None, show=None, **span.query)}
    if not request.query_params.getlist("by"):
        context["csv"] += "".join(f"&by={name}" for name in chosen)
    try:
        if view == "cache":
            context |= {"misses": api.misses(parts, span, only), "why": explained}
        else:
            found = api.sums(parts, chosen, span, only, PATIENCE)
            context |= {"found": found, "pending": found is None}
            if found is not None:
                context |= {"cells": found.cells[:ROWS], "left_out": max(0, len(found.cells) - ROWS)}
                context["chart"] = chart(words_of(request), span, chosen, found, show)
    except MissingDatabase:
        context |= {"found": None, "misses": None, "pending": False}
    return render(request, visitor, "usage.html", title=N_("Usage"), **context)


def chart(words: Words, span: Span, by: list[str], found: Crossed, show: str) -> charts.Picture | None:
    """Over time where one of the dimensions is that; else the largest ones."""
    title, unit, of = MEASURES[show]
    label = words.gettext(title)
    if not found.cells:
        return None
    at = next((n for n, name in enumerate(by) if name in TIMES), None)
    if at is None:
        sums = found.along(0) if len(by) == 1 else {cell.names: cell.line for cell in found.cells}
        rows = sorted(((shown(words, name), of(line) or 0.0) for name, line in sums.items()), key=lambda row: -row[1])
        return charts.bars(rows[:BARS], words, unit=unit, label=label, across=charts.WHOLE)
    named = TIMES[by[at]]
    times = steps(span, named, by[at])
    order = {named(time): n for n, time in enumerate(times)}
    series: dict[Any, list[float]] = {}
    for cell in found.cells:
        other = shown(words, cell.names[1 - at]) if len(by) > 1 else label
        values = series.setdefault(other, [0.0] * len(times))
        if (n := order.get(cell.names[at])) is not None:
            values[n] += of(cell.line) or 0.0
    rows_of = [charts.Series(name, values) for name, values in series.items()]
    return charts.stacked(
        times,
        STEPS[by[at]],
        rows_of,
        words,
        span.zone,
        unit=unit,
        label=label,
        name=words.gettext(NAMES[by[at]]),
        across=charts.WHOLE,
    )


def steps(span: Span, named: Callable[[datetime], str], unit: str) -> list[datetime]:
    """When each group of the span begins, those without requests, too; the last MOST."""
    at = span.since.astimezone(span.zone)
    at = (
        at.replace(minute=0, second=0, microsecond=0)
        if unit == "hour"
        else at.replace(hour=0, minute=0, second=0, microsecond=0)
    )
    found: dict[str, datetime] = {}
    while at < span.until:
        found.setdefault(named(at), at)
        at = (at.astimezone(UTC) + HOUR).astimezone(span.zone) if unit == "hour" else at + DAY
    return list(found.values())[-MOST:]


def shown(words: Words, name: Any) -> str:
    """As people read it."""
    if isinstance(name, tuple):
        return " · ".join(shown(words, part) for part in name)
    return str(name) if name not in (None, "") else words.gettext("none")
