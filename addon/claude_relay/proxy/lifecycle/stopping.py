"""A client is told to stop: its requests that run end as those do that run when the relay ends.

    await stop_requests(connections, stops, contact)

A stream gets an `error` event, what waits gets its answer, and the ledger a row for each. It must not know who told the client to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from mitmproxy import http

from claude_relay.core.clients.denials import stopped
from claude_relay.core.clients.directory import Stop
from claude_relay.core.errors import RelayError
from claude_relay.proxy.request.relayed import STOPPED, Relayed
from claude_relay.proxy.stream.client_connections import Connections

PATIENCE = 3.0
"""Seconds after which a request that still runs a hook is let be."""
POLL = 0.02
"""Seconds between two times of telling those that could not be told before."""


async def stop_requests(connections: Connections, stops: Sequence[Stop], contact: str) -> None:
    """Again and again: a request whose hook runs can only be told when that is over."""

    def stop_of(relayed: Relayed) -> Stop | None:
        return next((stop for stop in stops if concerns(stop, relayed)), None)

    def error(flow: http.HTTPFlow, relayed: Relayed) -> RelayError:
        client, stop = relayed.client, stop_of(relayed)
        assert client is not None
        assert stop is not None
        relayed.end = STOPPED
        relayed.counts = relayed.page is None  # also if it was not decided yet
        return stopped(client, stop, contact)

    until = time.monotonic() + PATIENCE
    concerned = lambda relayed: stop_of(relayed) is not None  # noqa: E731
    while await connections.cut(error, concerned) and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(POLL)


def concerns(stop: Stop, relayed: Relayed) -> bool:
    """Whether a request is to end by a stop."""
    client = relayed.client
    return client is not None and stop.holds_for(client, relayed.facts.session)
