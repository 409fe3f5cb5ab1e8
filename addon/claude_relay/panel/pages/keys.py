"""/keys: keys of all providers; /keys/import: many at once; /keys/{id}: one of them, what it did in the last day, and its settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from fastapi import Request
from starlette.responses import Response

from claude_relay.core.imports.gateways import SOURCES
from claude_relay.core.keys.check_results import CHECKS, LIMITED, NO_CREDIT, REVOKED, UNCHECKED, VALID
from claude_relay.core.times import DAY, iso
from claude_relay.panel.api import keys as api
from claude_relay.panel.api.dashboard import takes_own
from claude_relay.panel.api.key_figures import SORTS, STATUSES, Row, Sight, in_order, look
from claude_relay.panel.api.key_figures import after as behind
from claude_relay.panel.api.proxies import choices
from claude_relay.panel.common.paging import cursor, wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.store.ledger.key_sums import FailedTry, HourOfKey, by_hour, failures
from claude_relay.store.shared.all_keys import RUNNING, VAULT
from claude_relay.store.vault.filtering import Filter

from . import charts
from .addresses import address
from .shell import N_, PageAdministrator, PageReader, pages, render, words_of

router = pages()
SHOWN: Final = 100
"""Keys of a page."""


class Look(NamedTuple):
    """How a state is drawn: kind of `ui.state`, and its word."""

    kind: str
    word: str


STATES: Final = {
    "ready": Look("good", N_("ready")),
    "full": Look("wait", N_("full")),
    "probing": Look("info", N_("probing")),
    "cooldown": Look("wait", N_("cooldown")),
    "out": Look("bad", N_("out")),
    REVOKED: Look("bad", N_("revoked")),
    NO_CREDIT: Look("bad", N_("no credit")),
    "disabled": Look("off", N_("disabled")),
    "removed": Look("off", N_("removed")),
}
FOUND: Final = {
    VALID: N_("valid"),
    LIMITED: N_("limited"),
    NO_CREDIT: N_("no credit"),
    REVOKED: N_("revoked"),
    "unreachable": N_("unreachable"),
    "unclear": N_("unclear"),
    UNCHECKED: N_("not checked"),
}
"""What a check finds, in words."""
TIERS: Final = (
    ("admin", N_("admin, before all others")),
    ("", N_("usual")),
    ("public", N_("public, after all others")),
)
LIMITS: Final = {
    "requests": N_("requests"),
    "input-tokens": N_("input"),
    "output-tokens": N_("output"),
    "tokens": N_("tokens"),
}
"""A provider's limits, in words; windows go by their length."""
BARS: Final = 3
HEADS: Final = (
    ("name", N_("Key"), ""),
    ("label", N_("Label"), ""),
    ("state", N_("State"), ""),
    ("headroom", N_("Left of its limits"), ""),
    ("-used", N_("Requests today"), "num"),
    ("-cost", N_("Cost today"), "num"),
    ("-last", N_("Last used"), ""),
)
"""Columns of the table: what its head sorts by, its text, its class."""
GATEWAYS: Final = tuple(SOURCES)


class Tab(NamedTuple):
    """A provider, with how many of its keys are ready of how many; empty: all."""

    provider: str
    ready: int
    total: int
    href: str


@router.get("/keys")
def keys(
    request: Request,
    visitor: PageReader,
    parts: Own,
    zone: api.Zone,
    provider: str = "",
    status: str = "",
    tier: str = "",
    group: str = "",
    search: str = "",
    sort: str = "name",
    after: str | None = None,
) -> Response:
    """The table. `tier`, `group`: `-` for keys without one."""
    sight, paging = look(parts, zone), wanted(SHOWN, after)
    sort = sort if sort.removeprefix("-") in SORTS else "name"
    status = status if status in STATUSES else ""
    chosen = Filter(
        provider=provider or None,
        tier={"": None, "-": ""}.get(tier, tier),
        group={"": None, "-": ""}.get(group, group),
        search=search.strip() or None,
    )
    rows = sight.meant(chosen, status or None)
    placed = behind(in_order(rows, sort), paging.after, sort)
    context: dict[str, Any] = {
        "rows": [row for _, row in placed[:SHOWN]],
        "next": address(request, after=cursor(placed[SHOWN - 1][0])) if len(placed) > SHOWN else None,
        "count": len(rows),
        "any": bool(sight.rows),
        "takes_own": takes_own(parts),
        "removed": sum(row.key.removed_at is not None and provider in ("", row.key.provider) for row in sight.rows),
        "tabs": tabs(request, sight),
        "names": sight.providers,
        "groups": sorted({row.key.group for row in sight.rows} - {""}),
        "given": {
            "provider": provider,
            "status": status,
            "tier": tier,
            "group": group,
            "search": search,
            "sort": sort,
        },
        "filtered": bool(status or tier or group or search),
        "without": address(request, status=None, tier=None, group=None, search=None, after=None),
        "gone": address(request, status="removed", after=None),
        "heads": [(text, kind, *_sorting(request, by, sort)) for by, text, kind in HEADS],
        "checks": (*CHECKS, UNCHECKED),
        "tiers": TIERS,
        "ways": choices(parts),
    }
    return render(request, visitor, "keys.html", title=N_("Keys"), **VIEWS, **context)


@router.get("/keys/import")
def import_keys(request: Request, visitor: PageAdministrator, parts: Own, provider: str = "") -> Response:
    """Many at once."""
    names = list(parts.keyring(None).config.providers)
    context: dict[str, Any] = {
        "names": names,
        "provider": provider if provider in names else "",
        "gateways": GATEWAYS,
        "tiers": TIERS,
        "ways": choices(parts),
    }
    return render(request, visitor, "keys_import.html", title=N_("Import keys"), **VIEWS, **context)


@router.get("/keys/{id}")
def key(id: str, request: Request, visitor: PageReader, parts: Own, zone: api.Zone) -> Response:
    """One."""
    sight = look(parts, zone)
    row = sight.of(id)
    hours, failed = _last_day(parts, row, sight.now)
    context: dict[str, Any] = {
        "row": row,
        "key": row.key,
        "etag": api.version(row),
        "chart": chart(request, hours, sight.now, zone) if hours else None,
        "requests": sum(hour.requests for hour in hours),
        "errors": sum(hour.errors for hour in hours),
        "cost": sum(hour.cost_usd for hour in hours),
        "failed": failed,
        "tiers": TIERS,
        "ways": choices(parts),
        "own": row.key.source == VAULT,
        "at_hand": row.key.source != RUNNING,
        "now_on": [cooldown for cooldown in row.key.cooldowns if cooldown.until > sight.now],
    }
    return render(request, visitor, "key.html", title=row.key.name, **VIEWS, **context)


def tabs(request: Request, sight: Sight) -> list[Tab]:
    """All, then each provider."""
    there = [row for row in sight.rows if row.key.removed_at is None]
    found = []
    for name in ("", *sight.providers):
        own = [row for row in there if name in ("", row.key.provider)]
        ready = sum(row.state in ("ready", "probing", "full") for row in own)
        found.append(Tab(name, ready, len(own), address(request, provider=name or None, after=None)))
    return found


def bars(row: Row) -> list[tuple[str, float]]:
    """What is left of the scarcest limits, those that everybody knows first; nothing where nobody has said it."""
    if row.live is None:
        return []
    limits: dict[str, float] = row.live["limits"]
    known = [name for name in LIMITS if name in limits]
    others = sorted((name for name in limits if name not in LIMITS), key=lambda name: limits[name])
    return [(LIMITS.get(name, name), limits[name]) for name in (*known, *others)][:BARS]


def left(until: float | None, now: float) -> str:
    """`0:41`, as the browser goes on counting it down."""
    seconds = max(0, round((until or now) - now))
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def chart(request: Request, hours: Sequence[HourOfKey], now: float, zone: Any) -> charts.Picture:
    """Requests by the hour, those that failed apart."""
    words, found = words_of(request), {hour.hour: hour for hour in hours}
    first = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    times = [first + timedelta(hours=n) for n in range(24)]
    each = [found.get(f"{at:%Y-%m-%dT%H}") for at in times]
    good = [float(hour.requests - hour.errors) if hour else 0.0 for hour in each]
    bad = [float(hour.errors) if hour else 0.0 for hour in each]
    series = [charts.Series(words.gettext("answered"), good, "c1")]
    series += [charts.Series(words.gettext("failed"), bad, "c6")] if any(bad) else []
    label = words.gettext("Requests in the last 24 hours")
    return charts.stacked(
        times, timedelta(hours=1), series, words, zone, label=label, name=words.gettext("Hour"), across=charts.WHOLE
    )


def _last_day(parts: Parts, row: Row, now: float) -> tuple[list[HourOfKey], list[FailedTry]]:
    place, since = (row.key.provider, row.key.alias), iso(now - DAY)
    with parts.ledger() as connection:
        return by_hour(connection, *place, since[:13]), failures(connection, *place, since)


def _sorting(request: Request, by: str, now: str) -> tuple[str, str]:
    """Where a head leads, and how it sorts now."""
    name = by.removeprefix("-")
    if now.removeprefix("-") != name:
        return address(request, sort=by, after=None), ""
    turned = name if now.startswith("-") else f"-{name}"
    return address(request, sort=turned, after=None), "descending" if now.startswith("-") else "ascending"


def flags(row: Row) -> str:
    """What the menu of a row may offer, in words of its `data-when`."""
    key = row.key
    there, own, here = key.removed_at is None, key.source == VAULT, key.source != RUNNING
    said = {
        "here": there and here,
        "cooling": there and here and any(one.until > 0 for one in key.cooldowns),
        "usable": there and here and key.enabled and not key.chosen,
        "chosen": key.chosen,
        "on": there and own and key.enabled,
        "off": there and own and not key.enabled,
        "there": there and own,
        "gone": own and not there,
    }
    return " ".join(word for word, true in said.items() if true)


VIEWS: Final[dict[str, Any]] = {
    "states": STATES,
    "found": FOUND,
    "bars": bars,
    "left": left,
    "flags": flags,
    "iso": iso,
    "vault": VAULT,
}
"""What templates of keys draw with."""
