"""/: what goes on, at a glance. While nothing has gone through a relay yet, three steps lead to the first request.

Figures come from `api.dashboard`; when they take longer than PATIENCE the page goes out without them, and fetches itself anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import Request
from markupsafe import Markup
from starlette.responses import Response

from claude_relay.core.config.listening import near
from claude_relay.core.times import DAY, iso
from claude_relay.panel.api import dashboard
from claude_relay.panel.api.dashboard import Figures, Pool
from claude_relay.panel.api.requests import one
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.spans import NAMED, Span, Spanning
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger.lines import Line

from . import charts
from .addresses import address
from .requests import story
from .shell import N_, PageReader, pages, render, words_of

router = pages()
PATIENCE: Final = 0.05
"""Seconds that a page waits for its figures."""
FEW: Final = 5
"""Requests until which the three steps are shown."""

SPANS: Final = {"1h": N_("1 h"), "24h": N_("24 h"), "7d": N_("7 d"), "30d": N_("30 d")}
BEFORE: Final = {
    "1h": N_("than in the hour before"),
    "24h": N_("than in the day before"),
    "7d": N_("than in the week before"),
    "30d": N_("than in the 30 days before"),
    "custom": N_("than in as long a time before"),
}


@router.get("/")
def overview(
    request: Request, visitor: PageReader, parts: Own, span: Spanning, *, steps_done: bool = False
) -> Response:
    """The first page. `steps_done`: somebody has seen the first request, and goes on to what comes after it."""
    first, pools = dashboard.oldest(parts, FEW), dashboard.pools(parts)
    context: dict[str, Any] = {"span": span, **spans_of(request, span), "pools": pools}
    context |= {"steps": None}
    if len(first) < FEW and not (steps_done and first):
        context["steps"] = steps(request, parts, first, pools)
    context |= {
        "pool_bar": lambda pool: pool_bar(request, pool),
        "compared": BEFORE[span.name],
        "tomorrow": iso(parts.clock() + DAY),
        "pending": False,
        "takes_own": dashboard.takes_own(parts),
        "spent": None,
    }
    context |= {"figures": None, "newest": [], "needs": dashboard.needs(parts, pools), "any": bool(first)}
    if first:
        context["newest"] = dashboard.newest(parts)
        found = dashboard.figures(parts, span, PATIENCE)
        context["pending"] = dashboard.pending(parts, span)
        if found is not None:
            key = ("overview", tuple(span.query.items()), str(span.zone), words_of(request).language)
            shown = parts.recent.derived(
                key, found, lambda found: (figures(request, found), drawn(request, span, found))
            )
            context |= {"figures": shown[0], "charts": shown[1], "spent": found}
    return render(request, visitor, "overview.html", title=N_("Overview"), **context)


def spans_of(request: Request, span: Span) -> dict[str, Any]:
    """What the picker of spans needs."""
    links = [(name, SPANS[name], address(request, span=name, since=None, until=None, after=None)) for name in NAMED]
    kept = [
        (name, value)
        for name, value in request.query_params.multi_items()
        if name not in ("span", "since", "until", "after")
    ]
    form = "%Y-%m-%dT%H:%M"
    bounds = {name: f"{getattr(span, name).astimezone(span.zone):{form}}" for name in ("since", "until")}
    return {"span_links": links, "span_kept": kept, "span_bounds": bounds}


# --- figures


def figures(request: Request, found: Figures) -> list[dict[str, Any]]:
    """The row at the top: value, label, change, sparkline."""
    words = words_of(request)
    now, before = found.now, found.before

    def figure(
        label: str,
        form: Callable[[Any], str],
        of: Callable[[Line], float | None],
        *,
        points: bool = False,
        gaps: bool = False,
        exact: Callable[[Any], str] | None = None,
    ) -> dict[str, Any]:
        line = [of(step.sums) if step.sums is not None else (None if points or gaps else 0.0) for step in found.steps]
        return {
            "label": label,
            "value": form(of(now)),
            "exact": (exact or form)(of(now)),
            "change": change(of(now), of(before), points=points),
            "spark": charts.sparkline(line),
        }

    return [
        figure(words.gettext("requests"), words.count, lambda line: line.requests),
        figure(words.gettext("spent"), words.amount, lambda line: line.cost_usd, exact=words.money),
        figure(words.gettext("tokens"), words.tokens, tokens, exact=words.count),
        figure(words.gettext("from cache"), words.percent, lambda line: line.cache_hit_rate, points=True),
        figure(
            words.gettext("first token, median"),
            lambda ms: words.span(None if ms is None else ms / 1000),
            lambda line: line.ttft_p50_ms,
            gaps=True,
        ),
        figure(words.gettext("failed"), words.percent, failed, points=True),
    ]


def tokens(line: Line) -> float | None:
    """All that went in or came out."""
    known = [line.input_tokens, line.output_tokens, line.cache_read_tokens, line.cache_write_tokens]
    return sum(number or 0 for number in known) if any(number is not None for number in known) else None


def failed(line: Line) -> float | None:
    """The share of them."""
    return line.errors / line.requests if line.requests else None


def change(now: float | None, before: float | None, *, points: bool = False) -> str:
    """`+12 %`; for shares in points of a hundred: `−0.4`. Empty: there is nothing to compare with."""
    if now is None or before is None or (not points and before == 0):
        return ""
    value = 100 * (now - before) if points else 100 * (now - before) / before
    if abs(value) >= 1000:
        return f"×{now / before:.0f}"
    text = f"{abs(value):.{1 if points or abs(value) < 10 else 0}f}"
    sign = "±" if float(text) == 0 else "+" if value > 0 else "−"
    return f"{sign}{text}{'' if points else ' %'}"


def drawn(request: Request, span: Span, found: Figures) -> list[tuple[str, charts.Picture]]:
    """Requests and cost, stacked by provider."""
    words = words_of(request)
    names = sorted({name for step in found.steps for name in step.providers})
    times = [step.at for step in found.steps]

    def series(of: Callable[[Line], float]) -> list[charts.Series]:
        return [
            charts.Series(
                name or words.gettext("nobody"),
                [of(step.providers[name]) if name in step.providers else 0.0 for step in found.steps],
            )
            for name in names
        ]

    def picture(label: str, unit: str, of: Callable[[Line], float]) -> tuple[str, charts.Picture]:
        first = words.gettext("Time")
        return label, charts.stacked(times, span.step, series(of), words, span.zone, unit=unit, label=label, name=first)

    return [
        picture(words.gettext("Requests by provider"), "count", lambda line: line.requests),
        picture(words.gettext("Cost by provider"), "money", lambda line: line.cost_usd or 0.0),
    ]


def pool_bar(request: Request, pool: Pool) -> Markup:
    """Its keys by state."""
    words = words_of(request)
    values = {
        "part-good": pool.ready + pool.busy,
        "part-wait": pool.cooldown,
        "part-bad": pool.out,
        "part-off": pool.disabled,
    }
    label = words.gettext("%(ready)s of %(all)s ready") % {"ready": pool.ready + pool.busy, "all": pool.count}
    return charts.share(values, label)


# --- the first visit


def steps(request: Request, parts: Parts, first: list[str], pools: list[Pool]) -> dict[str, Any]:
    """Keys, a line for a tool, the first request."""
    listen, relays = parts.in_force().listen, parts.relays()
    address = listen.base_url
    url = near(listen, address) if address is not None else ""
    try:
        found = one(parts, first[0]) if first else None
    except MissingDatabase:
        found = None
    return {
        "count": sum(pool.ready + pool.busy + pool.cooldown for pool in pools),
        "running": bool(relays),
        "url": url,
        "command": parts.command("env"),
        "relay": parts.command("relay"),
        "first": found,
        "story": story(request, found) if found is not None else None,
    }
