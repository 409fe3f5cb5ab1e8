"""What a request has used, and what that costs: the sums of its tries, and of what is billed beside them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from claude_relay.core.accounting.estimates import filled, output_tokens, roughly
from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.accounting.pricing import Priced, Tariff, together
from claude_relay.core.accounting.terms import Terms
from claude_relay.core.estimate import estimate_tokens
from claude_relay.core.exchange import is_own
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.running.runtime import Runtime

from .records import AttemptRecord
from .relayed import Relayed

NO_USAGE: Final = Usage()


def billed(relayed: Relayed) -> Usage:
    """What all attempts of the request have used, those too whose answers the client never saw, with all that was billed beside."""
    used = [record.usage for record in relayed.spending if record.usage is not None]
    beside = [portion for record in relayed.spending for charge in record.charges for portion in charge.usage]
    return Usage.total(used + beside if beside else used)


async def estimate(relayed: Relayed) -> None:
    """Fill in what answers did not come to tell. Counted in a thread: the first time takes 0.3 s."""
    for record, passed in unknown(relayed):
        model = record.served_model or record.attempt.model
        output = await in_thread(output_tokens, passed, model) if passed else 0
        fill(relayed, record, output)


def estimate_now(relayed: Relayed) -> None:
    """The same roughly, without waiting for anything."""
    for record, passed in unknown(relayed):
        fill(relayed, record, roughly(passed))


def by_now(relayed: Relayed, record: AttemptRecord) -> Usage | None:
    """What a try has used as far as that is known, else roughly."""
    if record.unknown is None or record.estimated:
        return record.usage
    return guessed(relayed, record, roughly(record.unknown))


def unknown(relayed: Relayed) -> list[tuple[AttemptRecord, Passed]]:
    """The tries whose upstreams did not come to tell what they have used, with what they have said."""
    return [
        (record, record.unknown) for record in relayed.attempts if record.unknown is not None and not record.estimated
    ]


def counts(relayed: Relayed) -> bool:
    """Whether what the meter saw was the last try's answer."""
    return bool(relayed.attempts) and not is_own(relayed.step)


def fill(relayed: Relayed, record: AttemptRecord, output: int) -> None:
    """A try has used so many tokens of output, by an estimate."""
    record.usage = guessed(relayed, record, output)
    record.estimated = True


def guessed(relayed: Relayed, record: AttemptRecord, output: int) -> Usage:
    """What a try has used with so much output."""
    body = relayed.facts.body or (relayed.pristine.content if relayed.pristine is not None else None) or b""
    return filled(record.usage or NO_USAGE, output, estimate_tokens(body))


def price_all(relayed: Relayed) -> None:
    """Price each try, and what is billed beside it."""
    for record in relayed.attempts:
        record.priced = price(relayed, record, record.usage)
        price_charges(relayed, record)


def price(relayed: Relayed, record: AttemptRecord, usage: Usage | None, *, batch: bool = False) -> Priced | None:
    """What a try cost; None when it used nothing that is known, or when nobody knows its price."""
    return _priced(relayed, record, record.served_model or record.attempt.model, usage, record.terms, batch)


def price_charges(relayed: Relayed, record: AttemptRecord, *, batch: bool = False) -> None:
    """Price what is billed beside a try."""
    for charge in record.charges:
        charge.priced = together(
            _priced(relayed, record, charge.model, portion, charge.terms, batch) for portion in charge.usage
        )


def price_at(runtime: Runtime, provider: str, model: str, usage: Usage, batch: bool) -> float | None:
    """USD that this would cost now."""
    url, at = runtime.config.providers[provider].base_url, datetime.now(UTC)
    priced = runtime.prices.cost(model, provider, url, usage, at, batch=batch)
    return None if priced is None else priced.usd


def tariff_at(runtime: Runtime, provider: str, model: str, batch: bool) -> Tariff | None:
    """What text costs there now."""
    url = runtime.config.providers[provider].base_url
    return runtime.prices.tariff(model, provider, url, datetime.now(UTC), batch=batch)


def batch_price(relayed: Relayed, record: AttemptRecord, used: Iterable[Usage]) -> Priced | None:
    """What one model's part of a batch cost, itself and beside it: a thousand portions take some 20 ms."""
    price_charges(relayed, record, batch=True)
    return together(price(relayed, record, portion, batch=True) for portion in used if portion != NO_USAGE)


def whole_price(relayed: Relayed) -> Priced | None:
    """What all tries cost together."""
    spending = [record for record in relayed.spending if record.usage is not None and record.usage != NO_USAGE]
    beside = [charge.priced for record in relayed.spending for charge in record.charges]
    return together([*(record.priced for record in spending), *beside])


def _priced(
    relayed: Relayed, record: AttemptRecord, model: str, usage: Usage | None, terms: Terms, batch: bool
) -> Priced | None:
    if usage is None or usage == NO_USAGE:
        return None
    runtime, name = relayed.runtime, record.attempt.provider
    at = datetime.fromtimestamp(record.started_at, UTC)
    url = runtime.config.providers[name].base_url
    return runtime.prices.cost(model, name, url, usage, at, batch=batch, terms=terms)
