"""`/api/requests`: what was requested, the newest first; one with its attempts, its way and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict

from claude_relay.core.accounting.cache_misses import explained
from claude_relay.core.times import utc
from claude_relay.panel.api.areas import area
from claude_relay.panel.common import spans, texts
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts, parts_of
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.ledger import bodies, lookups, request_pages
from claude_relay.store.ledger.filters import Only

router = area("requests")


class Tokens(BaseModel):
    """By Anthropic's meaning whatever the provider: `input_tokens` excludes cached ones. null: not known."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    server_tool_requests: int | None = None
    cost_usd: float | None = None


class RequestLine(Tokens):
    """A request, as the ledger has it."""

    model_config = ConfigDict(extra="ignore")

    id: str
    started_at: str
    method: str
    path: str
    finished: str
    status: int | None = None
    error_type: str | None = None
    error: str | None = None
    attempts: int
    stream: bool
    client: str | None = None
    client_group: str | None = None
    client_program: str | None = None
    user_agent: str | None = None
    session: str | None = None
    agent: str | None = None
    agent_tree: str | None = None
    project: str | None = None
    requested_model: str | None = None
    served_model: str | None = None
    provider: str | None = None
    key: str | None = None
    estimated: bool
    priced_by: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    route: str | None = None
    notes: str | None = None
    origin: str
    upstream_request_id: str | None = None
    cache_miss: str | None = None
    cache_miss_tokens: int | None = None
    cache_miss_usd: float | None = None
    proxy: str | None = None


class Attempt(Tokens):
    """A try. `after_ms`: since the request began; `waited_ms`: what the request was held back before it. `proxy`: the
    outbound proxy on its way.
    """

    model_config = ConfigDict(extra="ignore")

    n: int
    provider: str
    key: str | None = None
    model: str | None = None
    status: int | None = None
    verdict: str | None = None
    error: str | None = None
    started_at: str
    after_ms: float
    first_byte_ms: float | None = None
    duration_ms: float | None = None
    waited_ms: float | None = None
    proxy: str | None = None
    terms: str | None = None
    upstream_request_id: str | None = None


class Charge(Tokens):
    """What was billed beside an attempt's own model."""

    model_config = ConfigDict(extra="ignore")

    attempt: int
    kind: str
    model: str | None = None
    terms: str | None = None


class Way(BaseModel):
    """Why it went where it went. `rule`: the route, and its providers; `reasons`: why others were passed over."""

    rule: str
    reasons: list[str]


class CacheRay(BaseModel):
    """What was read from the prompt cache. `share`: of all that went in; `missed`: tokens that the turn before had left there; `why`: in
    words.
    """

    read: int
    written: int
    fresh: int
    share: float | None
    missed: int | None = None
    missed_usd: float | None = None
    place: str | None = None
    why: str | None = None


class OneRequest(BaseModel):
    """All that is known of one. `recorded`: whether its body was kept, so that it can be sent again."""

    request: RequestLine
    attempts: list[Attempt]
    charges: list[Charge]
    way: Way | None
    cache: CacheRay | None
    recorded: bool


def wanted(
    request: Request,
    model: Annotated[
        str | None, Query(max_length=200, description="A glob: the model, as requested or served.")
    ] = None,
    provider: Annotated[str | None, Query(max_length=200)] = None,
    key: Annotated[str | None, Query(max_length=200, description="ALIAS, or PROVIDER/ALIAS.")] = None,
    client: Annotated[str | None, Query(max_length=200)] = None,
    client_group: Annotated[str | None, Query(max_length=200)] = None,
    session: Annotated[str | None, Query(max_length=255, description="Its id, or how that begins.")] = None,
    project: Annotated[str | None, Query(max_length=255)] = None,
    proxy: Annotated[str | None, Query(max_length=200, description="An outbound proxy, or `direct`.")] = None,
    status: Annotated[
        str | None, Query(pattern="^([1-9][0-9]{2}|failed)?$", description="429; or `failed`: all that failed.")
    ] = None,
    error: Annotated[str | None, Query(max_length=200, description="Its type: rate_limit_error.")] = None,
    origin: Annotated[str | None, Query(pattern="^(client|replay|duel|fault)?$")] = None,
    since: Annotated[str | None, Query(max_length=40, description="24h, 2026-11-01, 2026-11-01T08:00.")] = None,
    until: Annotated[str | None, Query(max_length=40)] = None,
) -> request_pages.Wanted:
    """From the query; what is empty is not asked for."""
    only = Only(*(value or None for value in (model, provider, key, client, session, project, None, proxy)))
    now, zone = datetime.fromtimestamp(parts_of(request).clock(), UTC), texts.zone(request)
    return request_pages.Wanted(
        only,
        failed=status == "failed",
        status=int(status) if status and status != "failed" else None,
        error=error or None,
        group=client_group or None,
        origin=origin or None,
        since=spans.moment(since, "since", now, zone),
        until=spans.moment(until, "until", now, zone),
    )


Filters = Annotated[request_pages.Wanted, Depends(wanted)]


@router.get("/requests", responses=documented())
def requests(visitor: Reader, parts: Own, paging: Paging, filters: Filters) -> Page[RequestLine]:
    """Requests, the newest first."""
    return page(parts, paging, filters)


@router.get("/requests/{id}", responses=documented(404))
def request(id: str, visitor: Reader, parts: Own) -> OneRequest:
    """One request with its attempts. `id`: its own, how that begins, `last`, or the id by which an upstream knows it."""
    return one(parts, id)


def page(parts: Parts, paging: Wanted, filters: request_pages.Wanted) -> Page[RequestLine]:
    """A page of them."""
    after = paging.after
    if after is not None and not (isinstance(after, list) and [type(part) for part in after] == [str, str]):
        raise Problem(400, "cursor", "`after` is none that a page has given as `next`.")
    with parts.ledger() as connection:
        place = (after[0], after[1]) if after is not None else None
        rows = request_pages.listed(connection, filters, after=place, limit=paging.limit + 1)
    return paging.page(rows, lambda row: [row["started_at"], row["id"]], line)


def line(row: Mapping[str, Any]) -> RequestLine:
    """A row, as the API says it."""
    return RequestLine.model_validate(dict(row))


def one(parts: Parts, name: str) -> OneRequest:
    """Raises Problem."""
    with parts.ledger() as connection:
        try:
            found = lookups.find(connection, name)
        except lookups.NotOne as error:
            text = (
                f"No request has the id {name}." if not error.candidates else "Several ids begin so; give more of it."
            )
            raise Problem(404, "not_found", text) from None
        recorded = any(body.kind == "request" and body.n == 0 for body in bodies.read(connection, found.request["id"]))
    begun = utc(found.request["started_at"])
    attempts = [
        Attempt.model_validate(
            dict(row) | {"after_ms": max(0.0, (utc(row["started_at"]) - begun).total_seconds() * 1000)}
        )
        for row in found.attempts
    ]
    charges = [Charge.model_validate(dict(row)) for row in found.charges]
    request = line(found.request)
    return OneRequest(
        request=request,
        attempts=attempts,
        charges=charges,
        way=way(request),
        cache=cache_ray(request),
        recorded=recorded,
    )


def way(request: RequestLine) -> Way | None:
    """What the ledger says in one line: the rule first, then a reason for each provider that was passed over."""
    if not request.route:
        return None
    rule, *reasons = request.route.split("; ")
    return Way(rule=rule, reasons=reasons)


SMALL: Final = ("cache_write_5m_tokens", "cache_write_1h_tokens")


def cache_ray(request: RequestLine) -> CacheRay | None:
    """None: nothing is known of it."""
    if request.input_tokens is None:
        return None
    read, written = request.cache_read_tokens or 0, sum(getattr(request, name) or 0 for name in SMALL)
    whole = request.input_tokens + read + written
    return CacheRay(
        read=read,
        written=written,
        fresh=request.input_tokens,
        share=read / whole if whole else None,
        missed=request.cache_miss_tokens,
        missed_usd=request.cache_miss_usd,
        place=request.cache_miss,
        why=explained(request.cache_miss, fully=True) if request.cache_miss else None,
    )
