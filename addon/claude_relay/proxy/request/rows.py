"""A request that is over, as the rows that the ledger gets of it."""

from __future__ import annotations

from mitmproxy import http

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.bodies.facts import AGENT
from claude_relay.core.config.proxies import DIRECT
from claude_relay.core.exchange import Refused
from claude_relay.core.formats.errors import claude_type
from claude_relay.store.ledger.ledger import AttemptRow, ChargeRow, Finished, RequestRow

from .costs import NO_USAGE, whole_price
from .incoming import MESSAGE_STREAMS
from .records import AttemptRecord
from .relayed import Relayed


def how_it_finished(flow: http.HTTPFlow, relayed: Relayed) -> Finished:
    """`complete` only for a whole answer below 400."""
    if relayed.broken is not None:
        return "error" if relayed.ended is not None else "upstream_closed"
    meter = relayed.outgoing.meter
    if relayed.gone and not (meter is not None and (meter.complete or meter.error)):
        return "client_closed"
    status = flow.response.status_code if flow.response is not None else 0
    if status == 0 or status >= 400 or (meter is not None and meter.error):
        return "error"
    return "complete"


def close_attempts(relayed: Relayed, finished: str, now: float) -> None:
    """The last try ends with the request. `now`: of the monotonic clock."""
    if not relayed.attempts or relayed.attempts[-1].ended_at is not None:
        return
    last = relayed.attempts[-1]
    last.ended_at = now
    if finished == "client_closed":
        left_early = (
            last.dispatched and not last.verdict and last.usage is None and relayed.facts.endpoint in MESSAGE_STREAMS
        )
        last.unknown = Passed() if left_early else last.unknown
        last.verdict, last.error = last.verdict or "client_closed", last.error or "the client left"
    elif relayed.broken is not None:
        last.verdict, last.error = "broken" if relayed.ended is None else relayed.end.name, relayed.broken
    elif relayed.outgoing.meter is not None and relayed.outgoing.meter.error:
        last.verdict, last.error = "error_event", relayed.outgoing.meter.error


def request_row(flow: http.HTTPFlow, relayed: Relayed, usage: Usage, finished: Finished, now: float) -> RequestRow:
    """The row of `requests`. `usage`: of all its attempts; `now`: of the monotonic clock."""
    facts = relayed.facts
    last = relayed.attempts[-1] if relayed.attempts else None
    priced, response = whole_price(relayed), flow.response
    return RequestRow(
        id=relayed.id,
        started_at=relayed.started_at,
        client=relayed.client.name if relayed.client else None,
        client_group=relayed.client.group.name if relayed.client and relayed.client.group else None,
        agent_tree=relayed.agent_tree,
        session=facts.session,
        user_agent=facts.headers.get("user-agent"),
        method=relayed.method,
        path=relayed.pristine.path.partition(b"?")[0].decode("utf-8", "replace")
        if relayed.pristine
        else flow.request.path,
        requested_model=facts.model or None,
        served_model=served_model(relayed),
        provider=last.attempt.provider if last else None,
        key=last.attempt.key.alias if last and last.attempt.key else None,
        stream=relayed.streams,
        status=response.status_code if response is not None and (not relayed.gone or relayed.outgoing.meter) else None,
        error_type=error_type_of(relayed, finished, response.status_code if response is not None else 0),
        attempts=len(relayed.attempts),
        **usage.columns(),
        ttft_ms=milliseconds(relayed.began_at, last.first_byte_at if last else None),
        duration_ms=milliseconds(relayed.began_at, now),
        request_bytes=relayed.request_bytes,
        response_bytes=relayed.outgoing.size,
        finished=finished,
        notes="; ".join(relayed.remarks) or None,
        project=facts.project,
        cost_usd=priced.usd if priced is not None else None,
        priced_by=priced.by if priced is not None else None,
        estimated=any(record.estimated for record in relayed.spending),
        upstream_request_id=last.upstream_id if last else None,
        client_program=facts.program or None,
        agent=facts.headers.get(AGENT),
        error=relayed.step.error.message if isinstance(relayed.step, Refused) else None,
        origin=relayed.origin.value,
        route=relayed.route.described([record.attempt.provider for record in relayed.attempts])
        if relayed.route
        else None,
        cache_miss=relayed.missed.cause if relayed.missed else None,
        cache_miss_tokens=relayed.missed.tokens if relayed.missed else None,
        cache_miss_usd=relayed.missed_usd,
        proxy=(last.proxy or str(DIRECT)) if last else None,
    )


def served_model(relayed: Relayed) -> str | None:
    """The model as the provider named it in its answer, else as it was asked for it; the client's own name may stand in the answer."""
    if relayed.incoming.served_model:
        return relayed.incoming.served_model
    last = relayed.attempts[-1] if relayed.attempts else None
    named = (
        relayed.outgoing.meter.served_model
        if relayed.outgoing.meter is not None and relayed.adaptation is None
        else None
    )
    return named or (last and (last.attempt.model or last.served_model)) or None


def error_type_of(relayed: Relayed, finished: str, status: int) -> str | None:
    """What kind of error the client saw, if it saw one: Claude's name for its status, whoever has said it and in whatever words.

    status  of the answer; 0: there was none
    """
    if finished == "complete":
        return None
    if finished == "error" and status >= 400:
        own = relayed.step.error.type if isinstance(relayed.step, Refused) else None
        return own or claude_type(status)
    if relayed.outgoing.meter is not None and relayed.outgoing.meter.error:
        return relayed.outgoing.meter.error
    if finished != "error":
        return finished
    return relayed.attempts[-1].verdict if relayed.attempts else "refused"


def attempt_rows(relayed: Relayed) -> list[AttemptRow]:
    """The rows of `attempts`."""
    return [
        AttemptRow(
            request=relayed.id,
            n=record.attempt.n,
            provider=record.attempt.provider,
            key=record.attempt.key.alias if record.attempt.key else None,
            status=record.status,
            verdict=record.verdict,
            error=record.with_fault(record.error) or None,
            upstream_request_id=record.upstream_id,
            waited_ms=1000 * record.waited or None,
            proxy=record.proxy or None,
            started_at=record.started_at,
            first_byte_ms=milliseconds(record.began_at, record.first_byte_at),
            duration_ms=milliseconds(record.began_at, record.ended_at),
            model=record.served_model or record.attempt.model or None,
            cost_usd=record.priced.usd if record.priced is not None else None,
            terms=str(record.terms) or None,
            charges=charge_rows(relayed, record) if record.charges else (),
            **(record.usage or NO_USAGE).columns(),
        )
        for record in relayed.spending
    ]


def charge_rows(relayed: Relayed, record: AttemptRecord) -> tuple[ChargeRow, ...]:
    """The rows of `charges` of one try."""
    return tuple(
        ChargeRow(
            request=relayed.id,
            attempt=record.attempt.n,
            n=n,
            model=charge.model or None,
            kind=charge.kind,
            terms=str(charge.terms) or None,
            cost_usd=charge.priced.usd if charge.priced is not None else None,
            **Usage.total(charge.usage).columns(),
        )
        for n, charge in enumerate(record.charges, 1)
    )


def milliseconds(start: float, end: float | None) -> int | None:
    """Whole milliseconds between two times."""
    return None if end is None else max(0, round((end - start) * 1000))
