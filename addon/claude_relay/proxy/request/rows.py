"""A request that is over, as the rows that the ledger gets of it."""

from __future__ import annotations

from mitmproxy import http

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.store.ledger.ledger import AttemptRow, ChargeRow, Finished, RequestRow

from .costs import NO_USAGE, whole_price
from .relayed import MESSAGE_STREAMS, Relayed, Try

ENDED = "relay_ended"
"""In the place of a verdict: what became of the try says nothing of its key."""


def how_it_finished(flow: http.HTTPFlow, relayed: Relayed) -> Finished:
    """`complete` only for a whole answer below 400."""
    if relayed.broken is not None:
        return "error" if relayed.ended is not None else "upstream_closed"
    meter = relayed.meter
    if relayed.gone and not (meter is not None and (meter.complete or meter.error)):
        return "client_closed"
    status = flow.response.status_code if flow.response is not None else 0
    if status == 0 or status >= 400 or (meter is not None and meter.error):
        return "error"
    return "complete"


def close_tries(relayed: Relayed, finished: str, now: float) -> None:
    """The last try ends with the request. `now`: of the monotonic clock."""
    if not relayed.tries or relayed.tries[-1].ended_at is not None:
        return
    last = relayed.tries[-1]
    last.ended_at = now
    if finished == "client_closed":
        left_early = last.sent and not last.verdict and last.usage is None and relayed.facts.endpoint in MESSAGE_STREAMS
        last.unknown = Passed() if left_early else last.unknown
        last.verdict, last.error = last.verdict or "client_closed", last.error or "the client left"
    elif relayed.broken is not None:
        last.verdict, last.error = "broken" if relayed.ended is None else ENDED, relayed.broken
    elif relayed.meter is not None and relayed.meter.error:
        last.verdict, last.error = "error_event", relayed.meter.error


def request_row(flow: http.HTTPFlow, relayed: Relayed, usage: Usage, finished: Finished, now: float) -> RequestRow:
    """The row of `requests`. `usage`: of all its attempts; `now`: of the monotonic clock."""
    facts = relayed.facts
    last = relayed.tries[-1] if relayed.tries else None
    priced, response = whole_price(relayed), flow.response
    return RequestRow(
        id=relayed.id,
        started_at=relayed.started_at,
        client=None,
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
        status=response.status_code if response is not None and (not relayed.gone or relayed.meter) else None,
        error_type=error_type_of(relayed, finished),
        attempts=len(relayed.tries),
        **usage.columns(),
        ttft_ms=milliseconds(relayed.began_at, last.first_byte_at if last else None),
        duration_ms=milliseconds(relayed.began_at, now),
        request_bytes=relayed.request_bytes,
        response_bytes=relayed.response_bytes,
        finished=finished,
        notes="; ".join(relayed.notes) or None,
        project=facts.project,
        cost_usd=priced.usd if priced is not None else None,
        priced_by=priced.by if priced is not None else None,
        estimated=any(tried.estimated for tried in relayed.spending),
    )


def served_model(relayed: Relayed) -> str | None:
    """The model as the provider named it in its answer, else as it was asked for it; the client's own name may stand in the answer."""
    if relayed.translation is not None and relayed.translation.served_model:
        return relayed.translation.served_model
    last = relayed.tries[-1] if relayed.tries else None
    named = relayed.meter.served_model if relayed.meter is not None and relayed.adaptation is None else None
    return named or (last and (last.attempt.model or last.served_model)) or None


def error_type_of(relayed: Relayed, finished: str) -> str | None:
    """What kind of error the client saw, if it saw one."""
    if finished == "complete":
        return None
    if relayed.meter is not None and relayed.meter.error:
        return relayed.meter.error
    if finished != "error":
        return finished
    return relayed.tries[-1].verdict if relayed.tries else "refused"


def attempt_rows(relayed: Relayed) -> list[AttemptRow]:
    """The rows of `attempts`."""
    return [
        AttemptRow(
            request=relayed.id,
            n=tried.attempt.n,
            provider=tried.attempt.provider,
            key=tried.attempt.key.alias if tried.attempt.key else None,
            status=tried.status,
            verdict=tried.verdict,
            error=tried.error or None,
            started_at=tried.started_at,
            first_byte_ms=milliseconds(tried.began_at, tried.first_byte_at),
            duration_ms=milliseconds(tried.began_at, tried.ended_at),
            model=tried.served_model or tried.attempt.model or None,
            cost_usd=tried.priced.usd if tried.priced is not None else None,
            terms=str(tried.terms) or None,
            charges=charge_rows(relayed, tried) if tried.charges else (),
            **(tried.usage or NO_USAGE).columns(),
        )
        for tried in relayed.spending
    ]


def charge_rows(relayed: Relayed, tried: Try) -> tuple[ChargeRow, ...]:
    """The rows of `charges` of one try."""
    return tuple(
        ChargeRow(
            request=relayed.id,
            attempt=tried.attempt.n,
            n=n,
            model=charge.model or None,
            kind=charge.kind,
            terms=str(charge.terms) or None,
            cost_usd=charge.priced.usd if charge.priced is not None else None,
            **Usage.total(charge.usage).columns(),
        )
        for n, charge in enumerate(tried.charges, 1)
    )


def milliseconds(start: float, end: float | None) -> int | None:
    """Whole milliseconds between two times."""
    return None if end is None else max(0, round((end - start) * 1000))
