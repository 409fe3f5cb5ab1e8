"""What a client has spent and may spend: `GET /api/oauth/usage` for `/usage` of Claude Code, and `GET /relay/me` for anybody.

Both are told to the client alone. It must not know how limits are counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from mitmproxy import http

from claude_relay.core.bodies.facts import SUBAGENT_HEADERS, session_of
from claude_relay.core.clients import caps as rules
from claude_relay.core.clients.admission import Standing
from claude_relay.core.clients.demand import storable
from claude_relay.core.clients.directory import Client
from claude_relay.core.errors import RelayError
from claude_relay.core.times import iso
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.store.clients.spent import spent_by

from .callers import client_of, named_client
from .page_parts import PageParts, json_answer

DIGITS: Final = {"usd": 6, "requests": 2, "tokens": 0, "concurrent": 0}
"""What is told of the use of each measure."""
NOTHING: Final = "There is nothing here for those who have no client key of this relay's."


async def usage(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The document behind `/usage`. Raises RelayError 404 for those who are no clients: another login of theirs is not to be disturbed."""
    client = client_of(relayed)
    if client is None:
        raise RelayError(404, NOTHING, final=True)
    caps = [
        rules.Cap(limit.amount, one.used, limit.per, one.resets_at, one.subject == "group")
        for one in await parts.standings_of(client)
        for limit in (one.limit,)
        if limit.measure == "usd"
    ]
    spent = rules.Spent()
    if not caps:
        spent = await parts.pages.in_thread(spent_by, relayed.runtime.config.database, client.name, time.time())
    return json_answer(rules.usage(caps, spent), relayed)


async def me(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """Who a client is here: its limits, what is used of them, and when they are free again. Of those for each session and each agent too,
    when the request names one as Claude Code does.
    """
    client, headers = named_client(relayed), relayed.facts.headers
    session, now = session_of(headers), time.time()
    agent, parent = (headers.get(name) or None if session else None for name in SUBAGENT_HEADERS)
    spent = await parts.pages.in_thread(spent_by, relayed.runtime.config.database, client.name, now)
    document: dict[str, Any] = {
        "name": client.name,
        "group": None if client.group is None else client.group.name,
        "expires_at": None if client.expires_at is None else iso(client.expires_at),
        "session": session and storable(session),
        "agent": agent and storable(agent),
        "limits": limits_of(client, await parts.standings_of(client, session, agent, parent)),
        "spent_usd": {
            period: round(usd, DIGITS["usd"])
            for period, usd in (("day", spent.day), ("week", spent.week), ("month", spent.month))
        },
        "contact": relayed.runtime.config.clients.contact or None,
    }
    return json_answer(document, relayed)


def limits_of(client: Client, standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """All limits that hold for a client. What is used of one for each session or agent is known of those that are named only."""
    found = [
        {
            "limit": str(one.limit),
            "of": one.subject,
            "used": round(one.used, DIGITS[one.limit.measure]),
            "remaining": round(max(0.0, one.limit.amount - one.used), DIGITS[one.limit.measure]),
            "resets_at": None if one.resets_at is None else iso(one.resets_at),
        }
        for one in standings
    ]
    known = {(one.subject, one.limit) for one in standings}
    each = [
        (of, limit)
        for of, policy in zip(("client", "group"), client.policies, strict=False)
        for limit in policy.limits
        if limit.scope != "all" and (of, limit) not in known
    ]
    return found + [
        {"limit": str(limit), "of": of, "used": None, "remaining": None, "resets_at": None} for of, limit in each
    ]
