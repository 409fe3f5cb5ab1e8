"""What an answer says of rate limits to a named client: not those of the pool's keys, which are none of its own, but its cap on spending.

    headers.fields = with_own_limits(headers.fields, relayed, status)

Clients without a key of the relay's get what the upstream said. It must not know how a cap is counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from claude_relay.core.clients import caps as rules
from claude_relay.core.clients.caps import Cap
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.exchange import Refused
from claude_relay.proxy.messages.hop_by_hop import Fields
from claude_relay.proxy.request.relayed import Relayed

UPSTREAMS = rules.LIMITS.encode()


def with_own_limits(fields: Fields, relayed: Relayed, status: int) -> Fields:
    """The fields of an answer as its client gets them."""
    if relayed.client is None:
        return fields
    kept = tuple(field for field in fields if not field[0].lower().startswith(UPSTREAMS))
    return kept + tuple((name.encode(), value.encode()) for name, value in own_limits(relayed, status).items())


def own_limits(relayed: Relayed, status: int) -> Mapping[str, str]:
    """What is said in their place."""
    error = relayed.step.error if isinstance(relayed.step, Refused) else None
    if isinstance(error, ClientLimitError):
        return of_refusal(error)
    if status >= 400 or relayed.admission is None or not relayed.admission.spendings:
        return {}
    now = time.time()
    # Of several the tightest, as `caps.tightest` has it: without asking all of them until when.
    spending = max(
        relayed.admission.spendings,
        key=lambda one: (one.spent(now) / one.bound.limit.amount, -one.bound.limit.amount),
    )
    bound = spending.bound
    group = bound.kind == "group"
    return rules.allowed(Cap(bound.limit.amount, spending.spent(now), bound.limit.per, spending.until(now), group))


def of_refusal(error: ClientLimitError) -> Mapping[str, str]:
    """Of a cap that is reached, or of which nobody knows; other limits have none."""
    limit = error.limit
    if limit is None or error.type != "billing_error":
        return {}
    if not error.readable:
        return rules.unreadable()
    return rules.rejected(Cap(limit.amount, error.spent, limit.per, error.resets_at, error.subject == "group"))
