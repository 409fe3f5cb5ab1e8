"""`/api/reconciliation`: the ledger beside providers' own reports of usage and cost, and the admin keys that read these."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query, Response
from pydantic import BaseModel, Field

from claude_relay.core.accounting.reconciling import Verdict, plain, total
from claude_relay.core.accounting.report_access import PREFIXES, WHERE, form_of, origin_of, takes_variable
from claude_relay.core.config import Provider, way_out
from claude_relay.core.times import iso
from claude_relay.panel.common.jobs import Begun, Report
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.common.relay_yaml import usable
from claude_relay.panel.security.visitors import Confirmed, Operator, Reader
from claude_relay.store import audit
from claude_relay.store.audit import Act
from claude_relay.store.shared.daily_reports import DAYS, MOST_DAYS, Reconciliation, Status
from claude_relay.upstream.report_endpoint import NO_REPORT, TIMEOUT, fetch

from .areas import area

router = area("usage")
EARLIEST: Final = date(2020, 1, 1)

type Days = Annotated[int, Query(ge=1, le=MOST_DAYS, description="So many days (UTC) that are over, up to `until`.")]


class Sums(BaseModel):
    """One side. `input_tokens`: without those read from the cache or written to it; `cost_usd` null: it is not known."""

    tokens: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    output_tokens: int
    searches: int
    cost_usd: float | None


class CauseOut(BaseModel):
    """A likely cause. `cause`: its name; `tokens`: how many of the difference it explains at most, `share`: of it."""

    cause: str
    text: str
    tokens: int | None
    share: float | None


class Compared(BaseModel):
    """A day (UTC) and a model, or the total (both null). Differences are theirs less ours; `share`: of theirs."""

    day: str | None
    model: str | None
    verdict: str = Field(description="agrees, differs")
    ours: Sums
    theirs: Sums
    tokens: int
    usd: float | None
    share: float | None
    causes: list[CauseOut]


class Reconciled(BaseModel):
    """A provider. `key`: what may be seen of its admin key; `source`: `vault`, or the variable that it comes from; null: there is none.

    `make_key_at`: where the organisation's owner makes one; `by_key`: whether the report says what other keys used.
    `agree`, `differ`: how many rows.
    """

    provider: str
    source: str | None
    variable: str | None
    key: str | None
    origin: str
    make_key_at: str
    begins_with: str
    fetched_at: str | None
    due_at: str | None
    problem: str | None
    by_key: bool
    agree: int
    differ: int
    rows: list[Compared]
    total: Compared


class Reconciliations(BaseModel):
    """Of all providers that have a report. Days are those of UTC, both included."""

    first: date
    last: date
    data: list[Reconciled]


class NewAdminKey(Strict):
    """An admin key: it reads reports, and is never used for requests of models."""

    key: str = Field(min_length=1, max_length=1000)


@router.get("/reconciliation", responses=documented(404, 409))
def reconciliation(
    visitor: Reader,
    parts: Own,
    provider: Annotated[str | None, Query(max_length=100)] = None,
    days: Days = DAYS,
    until: Annotated[date | None, Query(description="Only days before this one.")] = None,
) -> Reconciliations:
    """By day and model, with likely causes, as of the last time that reports were fetched."""
    if provider is not None:
        known(usable(parts).providers, provider)
    first, last = span(parts, days, until)
    found = [one for one in every(parts, first, last) if provider in (None, one.provider)]
    return Reconciliations(first=first, last=last, data=found)


@router.post("/reconciliation/{provider}/fetch", status_code=202, responses=documented(404, 409))
def fetch_now(provider: str, visitor: Operator, parts: Own, days: Days = DAYS) -> Begun:
    """Fetch the report of the last days now, as a job. By itself a relay does so once a day."""
    config = usable(parts)
    known(config.providers, provider)
    work = reconciling(parts)
    if not work.status(provider, config.providers).source:
        raise Problem(409, "conflict", f"There is no admin key of {provider}; add one first.")
    audit.record(parts.database, visitor.actor, Act("fetch", "report", provider, None, {"days": days}))
    first, last = span(parts, days, None)
    get = partial(fetch, way=way_out(config, parts.environ), timeout=TIMEOUT)

    def run(report: Report) -> None:
        ran = work.run(provider, config.providers, get, parts.clock(), first=first, last=last, forced=True)
        if ran.problem:
            raise Problem(502, "no_report", f"{ran.problem[:1].upper()}{ran.problem[1:]}.")
        report(1, {"provider": provider, "rows": len(ran.rows)})

    return Begun(id=parts.jobs.begin(visitor, 1, run))


@router.put("/reconciliation/{provider}/key", status_code=204, responses=documented(404, 409))
def put_key(provider: str, said: NewAdminKey, visitor: Confirmed, parts: Own) -> Response:
    """Enter an admin key, in the place of the one that is there. It is sealed, and goes to the provider's own address alone."""
    providers = usable(parts).providers
    of = known(providers, provider)
    try:
        reconciling(parts).keys.put(visitor.actor, form_of(of) or "", provider, origin_of(of), said.key.strip())
    except ValueError as error:
        detail = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise Problem(422, "invalid", detail, errors=[FieldError(field="key", detail=detail)]) from None
    return Response(status_code=204)


@router.delete("/reconciliation/{provider}/key", status_code=204, responses=documented(404))
def remove_key(provider: str, visitor: Confirmed, parts: Own) -> Response:
    """Forget it. What was fetched with it stays."""
    if not reconciling(parts).keys.remove(visitor.actor, provider):
        raise Problem(404, "not_found", "There is no such admin key.")
    return Response(status_code=204)


def reconciling(parts: Parts) -> Reconciliation:
    """What does it. Acts are written down by whoever does them."""
    return Reconciliation(parts.vault(None), parts.environ)


def every(
    parts: Parts, first: date, last: date, *, differing: bool = False, most: int | None = None
) -> list[Reconciled]:
    """Those that have a report, as they are known. `differing`: without the rows that agree; `most`: of the rows, the newest."""
    work, found, providers = reconciling(parts), [], usable(parts).providers
    for name, provider in providers.items():
        form = form_of(provider)
        if form is None:
            continue
        rows = work.rows(name, first.isoformat(), last.isoformat())
        differ = [row for row in rows if row.verdict is Verdict.DIFFERS]
        state = work.status(name, providers)
        found.append(
            Reconciled(
                **_state(state),
                variable=takes_variable(providers, name),
                origin=origin_of(provider),
                make_key_at=WHERE[form],
                begins_with=PREFIXES[form],
                agree=len(rows) - len(differ),
                differ=len(differ),
                rows=[Compared(**plain(row)) for row in (differ if differing else rows)[:most]],
                total=Compared(**plain(total(rows))),
            )
        )
    return found


def known(providers: Mapping[str, Provider], name: str) -> Provider:
    """One that has a report. Raises Problem."""
    if name not in providers:
        raise Problem(404, "not_found", "There is no provider of this name.")
    if form_of(providers[name]) is None:
        raise Problem(409, "conflict", f"{NO_REPORT[:1].upper()}{NO_REPORT[1:]}.")
    return providers[name]


def span(parts: Parts, days: int, until: date | None) -> tuple[date, date]:
    """First and last day, both included; the day that is under way is not over."""
    yesterday = datetime.fromtimestamp(parts.clock(), UTC).date() - timedelta(days=1)
    last = max(min(yesterday, (until or date.max) - timedelta(days=1)), EARLIEST)
    return max(last - timedelta(days=days - 1), EARLIEST), last


def _state(state: Status) -> dict[str, Any]:
    return {
        "provider": state.provider,
        "source": state.source or None,
        "key": state.key.mask if state.key is not None else None,
        "fetched_at": None if state.fetched_at is None else iso(state.fetched_at),
        "due_at": None if not state.due_at else iso(state.due_at),
        "problem": state.problem or None,
        "by_key": state.by_key,
    }
