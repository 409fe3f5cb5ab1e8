"""What an answer says of rate limits to a named client: not those of the pool's keys, which are none of its own, but its cap on spending.

    fields = (*others, *own_limits(relayed, status))         `others` without UPSTREAMS

Clients without a key of the relay's get what the upstream said. It must not know how a cap is counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from claude_relay.core.clients import caps as rules
from claude_relay.core.clients.caps import Cap
from claude_relay.core.clients.exceeded import ClientLimitError
from claude_relay.core.clients.money import Rolling
from claude_relay.core.exchange import Refused
from claude_relay.proxy.messages.hop_by_hop import Fields
from claude_relay.proxy.request.relayed import Relayed

UPSTREAMS = rules.LIMITS.encode()
"""What the header fields begin with, in lower case, that a named client does not get."""


def own_limits(relayed: Relayed, status: int) -> Fields:
    """What is said in their place."""
    if isinstance(relayed.step, Refused) and isinstance(relayed.step.error, ClientLimitError):
        return tuple([(name.encode(), value.encode()) for name, value in of_refusal(relayed.step.error).items()])
    if status >= 400 or relayed.admission is None:
        return ()
    now, tightest, most, smallest = time.time(), None, -1.0, 0.0
    # As `caps.tightest` has it, without asking all of them until when.
    for spending in relayed.admission.plan.spendings:
        amount, account = spending.limit.amount, spending.account
        part = (account.usd if now < account.now.end else spending.spent(now)) / amount
        if part > most or (part == most and amount < smallest):
            tightest, most, smallest = spending, part, amount
    if tightest is None:
        return ()
    account = tightest.account
    until = tightest.until(now) if isinstance(account, Rolling) else account.now.end
    return rules.in_head(int(100 * most + rules.ROUNDED), until)


def of_refusal(error: ClientLimitError) -> Mapping[str, str]:
    """Of a cap that is reached, or of which nobody knows; other limits have none."""
    limit = error.limit
    if limit is None or error.type != "billing_error":
        return {}
    if not error.readable:
        return rules.unreadable()
    return rules.rejected(Cap(limit.amount, error.spent, limit.per, error.resets_at, error.subject == "group"))
