"""What a request has used, and what that costs: the sums of its tries, and of what is billed beside them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from claude_relay.core.accounting.estimates import filled, output_tokens, roughly
from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.accounting.pricing import Priced, together
from claude_relay.core.accounting.terms import Terms
from claude_relay.core.estimate import estimate_tokens
from claude_relay.proxy.common.process import in_thread
from claude_relay.proxy.running.runtime import Runtime

from .relayed import Relayed, Try

NO_USAGE: Final = Usage()


def billed(relayed: Relayed) -> Usage:
    """What all attempts of the request have used, those too whose answers the client never saw, with all that was billed beside."""
    used = [tried.usage for tried in relayed.spending if tried.usage is not None]
    beside = [portion for tried in relayed.spending for charge in tried.charges for portion in charge.usage]
    return Usage.total(used + beside if beside else used)


async def estimate(relayed: Relayed) -> None:
    """Fill in what answers did not come to tell. Counted in a thread: the first time takes 0.3 s."""
    for tried, passed in unknown(relayed):
        model = tried.served_model or tried.attempt.model
        output = await in_thread(output_tokens, passed, model) if passed else 0
        fill(relayed, tried, output)


def estimate_now(relayed: Relayed) -> None:
    """The same roughly, without waiting for anything."""
    for tried, passed in unknown(relayed):
        fill(relayed, tried, roughly(passed))


def by_now(relayed: Relayed, tried: Try) -> Usage | None:
    """What a try has used as far as that is known, else roughly."""
    if tried.unknown is None or tried.estimated:
        return tried.usage
    return guessed(relayed, tried, roughly(tried.unknown))


def unknown(relayed: Relayed) -> list[tuple[Try, Passed]]:
    """The tries whose upstreams did not come to tell what they have used, with what they have said."""
    return [(tried, tried.unknown) for tried in relayed.tries if tried.unknown is not None and not tried.estimated]


def counts(relayed: Relayed) -> bool:
    """Whether what the meter saw was the last try's answer."""
    return bool(relayed.tries) and not relayed.own_answer


def fill(relayed: Relayed, tried: Try, output: int) -> None:
    """A try has used so many tokens of output, by an estimate."""
    tried.usage = guessed(relayed, tried, output)
    tried.estimated = True


def guessed(relayed: Relayed, tried: Try, output: int) -> Usage:
    """What a try has used with so much output."""
    body = relayed.facts.body or (relayed.pristine.content if relayed.pristine is not None else None) or b""
    return filled(tried.usage or NO_USAGE, output, estimate_tokens(body))


def price_all(relayed: Relayed) -> None:
    """Price each try, and what is billed beside it."""
    for tried in relayed.tries:
        tried.priced = price(relayed, tried, tried.usage)
        price_charges(relayed, tried)


def price(relayed: Relayed, tried: Try, usage: Usage | None, *, batch: bool = False) -> Priced | None:
    """What a try cost; None when it used nothing that is known, or when nobody knows its price."""
    return _priced(relayed, tried, tried.served_model or tried.attempt.model, usage, tried.terms, batch)


def price_charges(relayed: Relayed, tried: Try, *, batch: bool = False) -> None:
    """Price what is billed beside a try."""
    for charge in tried.charges:
        charge.priced = together(
            _priced(relayed, tried, charge.model, portion, charge.terms, batch) for portion in charge.usage
        )


def price_at(runtime: Runtime, provider: str, model: str, usage: Usage, batch: bool) -> float | None:
    """USD that this would cost now."""
    url, at = runtime.config.providers[provider].base_url, datetime.now(UTC)
    priced = runtime.prices.cost(model, provider, url, usage, at, batch=batch)
    return None if priced is None else priced.usd


def batch_price(relayed: Relayed, tried: Try, used: Iterable[Usage]) -> Priced | None:
    """What one model's part of a batch cost, itself and beside it: a thousand portions take some 20 ms."""
    price_charges(relayed, tried, batch=True)
    return together(price(relayed, tried, portion, batch=True) for portion in used if portion != NO_USAGE)


def whole_price(relayed: Relayed) -> Priced | None:
    """What all tries cost together."""
    spending = [tried for tried in relayed.spending if tried.usage is not None and tried.usage != NO_USAGE]
    beside = [charge.priced for tried in relayed.spending for charge in tried.charges]
    return together([*(tried.priced for tried in spending), *beside])


def _priced(relayed: Relayed, tried: Try, model: str, usage: Usage | None, terms: Terms, batch: bool) -> Priced | None:
    if usage is None or usage == NO_USAGE:
        return None
    runtime, name = relayed.runtime, tried.attempt.provider
    at = datetime.fromtimestamp(tried.started_at, UTC)
    url = runtime.config.providers[name].base_url
    return runtime.prices.cost(model, name, url, usage, at, batch=batch, terms=terms)
