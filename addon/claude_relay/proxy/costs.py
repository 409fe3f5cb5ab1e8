"""What a request has used, and what that costs: the sums of its tries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from claude_relay.core.accounting.pricing import Priced, together
from claude_relay.core.accounting.usage import Usage

from .relayed import Relayed, Try
from .runtime import Runtime

NO_USAGE: Final = Usage()


def billed(relayed: Relayed) -> Usage:
    """What all attempts of the request have used, those too whose answers the client never saw."""
    return Usage.total(tried.usage for tried in relayed.spending if tried.usage is not None)


def price(relayed: Relayed, tried: Try, usage: Usage | None, *, batch: bool = False) -> Priced | None:
    """What a try cost; None when it used nothing that is known, or when nobody knows its price."""
    if usage is None or usage == NO_USAGE:
        return None
    runtime, name = relayed.runtime, tried.attempt.provider
    at = datetime.fromtimestamp(tried.started_at, UTC)
    model = tried.served_model or tried.attempt.model
    return runtime.prices.cost(model, name, runtime.config.providers[name].base_url, usage, at, batch=batch)


def price_at(runtime: Runtime, provider: str, model: str, usage: Usage, batch: bool) -> float | None:
    """USD that this would cost now."""
    url, at = runtime.config.providers[provider].base_url, datetime.now(UTC)
    priced = runtime.prices.cost(model, provider, url, usage, at, batch=batch)
    return None if priced is None else priced.usd


def batch_price(relayed: Relayed, tried: Try, used: Iterable[Usage]) -> Priced | None:
    """What one model's part of a batch cost: a thousand portions take some 20 ms."""
    return together(price(relayed, tried, portion, batch=True) for portion in used if portion != NO_USAGE)


def whole_price(relayed: Relayed) -> Priced | None:
    """What all tries cost together."""
    return together(tried.priced for tried in relayed.spending if tried.usage is not None and tried.usage != NO_USAGE)
