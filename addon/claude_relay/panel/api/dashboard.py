"""`/api/dashboard`: what goes on, at a glance: figures of a span beside those of the span before, keys by state, what needs somebody."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from pydantic import BaseModel

from claude_relay.core.config import ConfigError
from claude_relay.core.keys.check_results import NO_CREDIT, REVOKED
from claude_relay.panel.api.areas import area
from claude_relay.panel.api.pools import refused
from claude_relay.panel.api.requests import RequestLine, line
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import documented
from claude_relay.panel.common.spans import Span, Spanning
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger.crosstab import Times, crossed, dearest
from claude_relay.store.ledger.filters import HOUR
from claude_relay.store.ledger.lines import Line
from claude_relay.store.ledger.request_pages import Wanted, listed
from claude_relay.store.notices import Which
from claude_relay.store.vault.records import StoredKey

router = area("overview")
NEWEST: Final = 8
SPENDERS: Final = 5
NOTICES: Final = 6
SPENT: Final = ("client", "model", "session")
READY, BUSY, COOLDOWN, OUT, DISABLED = "ready", "busy", "cooldown", "out", "disabled"
STATES: Final = (READY, BUSY, COOLDOWN, OUT, DISABLED)
OF_RELAY: Final = {"full": BUSY, "probing": COOLDOWN}
"""What a relay calls a key's state → what the overview does, where that is another word."""


class Step(BaseModel):
    """A step of the chart. `providers`: sums of each; null, as JSON's "": no provider took it."""

    at: datetime
    sums: Line | None
    providers: dict[str, Line]


class Pool(BaseModel):
    """The keys of a provider, by state. `busy`: their own limits allow no more now. `own`: clients' own credentials go through."""

    provider: str
    ready: int = 0
    busy: int = 0
    cooldown: int = 0
    out: int = 0
    disabled: int = 0
    own: bool = False

    @property
    def count(self) -> int:
        """All of them."""
        return sum(getattr(self, state) for state in STATES)


class Need(BaseModel):
    """What somebody should look at. `kind`: `no_relay`, `configuration`, `no_keys`, `notice`; `path`: where.

    subject  a provider, or the id of a notice
    """

    kind: str
    subject: str | None = None
    count: int = 1
    text: str
    path: str


class Spender(BaseModel):
    """Who or what cost most; null: requests that have none."""

    name: str | None
    requests: int
    cost_usd: float | None


class Figures(BaseModel):
    """Of a span, and of the one before."""

    now: Line
    before: Line
    steps: list[Step]
    clients: list[Spender]
    models: list[Spender]
    sessions: list[Spender]


class Dashboard(BaseModel):
    """Everything at a glance."""

    since: datetime
    until: datetime
    figures: Figures
    pools: list[Pool]
    needs: list[Need]
    newest: list[RequestLine]


@router.get("/dashboard", responses=documented())
def dashboard(visitor: Reader, parts: Own, span: Spanning) -> Dashboard:
    """What goes on."""
    found = pools(parts)
    return Dashboard(
        since=span.since,
        until=span.until,
        figures=figures(parts, span) or worked_out(parts, span),
        pools=found,
        needs=needs(parts, found),
        newest=newest(parts),
    )


# --- figures


def figures(parts: Parts, span: Span, patience: float | None = None) -> Figures | None:
    """Worked out once for all who look within two seconds. None: it takes longer than `patience`, in seconds."""
    return parts.recent.get(_key(span), lambda: worked_out(parts, span), patience)


def pending(parts: Parts, span: Span) -> bool:
    """Whether newer ones are being worked out."""
    return parts.recent.pending(_key(span))


def _key(span: Span) -> tuple[object, ...]:
    return "figures", tuple(sorted(span.query.items())), str(span.zone)


def worked_out(parts: Parts, span: Span) -> Figures:
    """Reads the ledger: three times, by whole hours."""
    times = span.times
    begins = [at.timestamp() for at in times]
    step = span.step
    fine = _is_odd(span) or (step is not None and step < HOUR)
    steps = Times(lambda at: max(0, bisect_right(begins, at.timestamp()) - 1), fine)
    before = span.before
    with parts.ledger() as connection:
        by_step = crossed(connection, (steps, "provider"), since=span.since, until=span.until)
        earlier = crossed(connection, (), since=before.since, until=before.until)
        spent = dearest(connection, SPENT, since=span.since, until=span.until, most=SPENDERS)
    whole, cells = by_step.along(0), {cell.names: cell.line for cell in by_step.cells}
    found = [
        Step(
            at=at,
            sums=whole.get(n),
            providers={provider or "": sums for (number, provider), sums in cells.items() if number == n},
        )
        for n, at in enumerate(times)
    ]
    clients, models, sessions = (
        [Spender(name=one.name, requests=one.requests, cost_usd=one.cost_usd) for one in spent[by]] for by in SPENT
    )
    return Figures(
        now=by_step.total, before=earlier.total, steps=found, clients=clients, models=models, sessions=sessions
    )


def _is_odd(span: Span) -> bool:
    """Whether an hour there is none of UTC."""
    offset = span.until.astimezone(span.zone).utcoffset()
    return offset is not None and bool(offset % HOUR)


def newest(parts: Parts, limit: int = NEWEST) -> list[RequestLine]:
    """The latest requests."""
    with parts.ledger() as connection:
        return [line(row) for row in listed(connection, Wanted(), limit=limit)]


def oldest(parts: Parts, limit: int = 5) -> list[str]:
    """The ids of the first requests ever, as many at most; none before there is a database."""
    try:
        with parts.ledger() as connection:
            query = "SELECT id FROM requests WHERE started_at >= '' ORDER BY started_at LIMIT ?"
            return [id for (id,) in connection.execute(query, [limit])]
    except MissingDatabase:
        return []


# --- keys


def pools(parts: Parts) -> list[Pool]:
    """By provider. What a relay says of its keys counts; while none runs, what is written down."""
    return parts.recent.get("pools", lambda: list(_pools(parts))) or []


def _pools(parts: Parts) -> Iterator[Pool]:
    stored = [key for key in parts.vault(None).list() if key.removed_at is None]
    relays, now = parts.relays(), parts.clock()
    counts: dict[str, Counter[str]] = {}
    own: set[str] = set()
    if relays:
        bad = refused(parts)
        for provider, keys in relays[0].keys().items():
            states = Counter(
                OUT if (provider, key["alias"]) in bad else OF_RELAY.get(key["state"], key["state"]) for key in keys
            )
            counts[provider] = states
        own = {name for name, pool in json.loads(relays[0].pools).items() if pool.get("own")}
        for key in stored:
            if not key.enabled:
                counts.setdefault(key.provider, Counter())[DISABLED] += 1
    else:
        for key in stored:
            counts.setdefault(key.provider, Counter())[_state(key, now)] += 1
    for provider, states in sorted(counts.items()):
        if states or provider in own:
            yield Pool(provider=provider, own=provider in own, **{name: states[name] for name in STATES})


def takes_own(parts: Parts) -> bool:
    """Whether a provider without keys lets through what clients bring, as `empty_pool` says."""
    return any(one.takes_own(has_keys=False) for one in parts.in_force().providers.values())


def _state(key: StoredKey, now: float) -> str:
    words = key.states(now)
    found = next((word for word in (DISABLED, OUT, REVOKED, NO_CREDIT, COOLDOWN) if word in words), READY)
    return OUT if found in (REVOKED, NO_CREDIT) else found


# --- what needs somebody


def needs(parts: Parts, found: list[Pool]) -> list[Need]:
    """What is wrong as things are, the worst first."""
    listed: list[Need] = []
    if not parts.relays():
        listed.append(Need(kind="no_relay", text="No relay runs over this database.", path="/settings"))
    try:
        parts.source()
    except ConfigError:
        text = "relay.yaml cannot be used as it is; relays go on with what they had."
        listed.append(Need(kind="configuration", text=text, path="/settings"))
    for pool in found:
        if pool.count and not pool.ready + pool.busy + pool.cooldown:
            text = f"{pool.provider} has no key that could be used."
            listed.append(
                Need(kind="no_keys", subject=pool.provider, text=text, path=f"/keys?provider={pool.provider}")
            )
    notices = parts.notices.read(Which.OPEN, parts.clock(), limit=NOTICES)
    listed += [Need(kind="notice", subject=one.id, text=one.text, path="/notices") for one in notices]
    return listed
