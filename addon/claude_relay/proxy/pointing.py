"""Turns a flow's request into that of one attempt: where to, through which proxy, in whose words, with whose key.

    point(flow, relayed, attempt)

Here, and nowhere else, it is decided whether a key may be lent to this client. It must not know why this attempt and no other.
"""

from __future__ import annotations

import ipaddress

from mitmproxy import http

from claude_relay.core.config import WayOut, way_to
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Endpoint
from claude_relay.core.formats.anthropic import without_foreign_thinking, without_thinking
from claude_relay.core.reading.body import rename_model

from . import outbound
from .crossing import Translated
from .relayed import Relayed
from .runtime import Runtime
from .wire import address, lend_key, pass_through, write_anew

NO_KEY = (
    "The relay has no key for {} and the client sent only a placeholder. "
    "Set ANTHROPIC_API_KEYS (or keys in relay.yaml) and start the relay again, or send a real key."
)


def point(flow: http.HTTPFlow, relayed: Relayed, attempt: Attempt) -> None:
    """Turn the flow's request into this attempt's."""
    relayed.next_attempt = None
    original = relayed.client_signature
    assert original is not None
    if relayed.facts.endpoint is Endpoint.SIDE:
        relayed.begin_try(attempt)
        relayed.signature = original
        relayed.proxy = outbound.lead_on(flow, relayed.runtime.way)
        return
    upstream = relayed.runtime.upstreams[attempt.provider]
    if attempt.key is None and relayed.placeholder_only:
        raise RelayError(401, NO_KEY.format(attempt.provider), final=True)
    if attempt.key is not None and not is_loopback(flow.client_conn.peername):
        raise stranger()
    relayed.begin_try(attempt)
    crossing = relayed.crossing
    if isinstance(crossing, Translated):
        write_anew(flow.request, upstream, crossing.sent.path, crossing.sent.body)
    else:
        reword(flow.request, relayed, attempt)
        address(flow.request, upstream, identity=relayed.facts.stream or crossing is not None)
    relayed.proxy = upstream.proxy
    if attempt.key is not None and attempt.key.proxy:
        relayed.proxy = way_to("", WayOut(), attempt.key.proxy)
    outbound.lead(flow, relayed.proxy)
    if attempt.key is None:
        relayed.signature = pass_through(flow.request, original)
    else:
        alias = f"relay:{attempt.provider}/{attempt.key.alias}"
        relayed.signature = lend_key(flow.request, upstream, alias, attempt.key.secret)


def reword(request: http.Request, relayed: Relayed, attempt: Attempt) -> None:
    """What a native body must lose: another provider's thoughts, and its model's name where the provider has another one for it."""
    facts, body = relayed.facts, request.data.content or b""
    if facts.endpoint is Endpoint.MESSAGES:
        if attempt.repaired:
            body = without_thinking(body)
        elif relayed.runtime.formats:  # else no other model has answered, or not lately: what is left of it is repaired
            body = without_foreign_thinking(body)
    if attempt.model != facts.model:
        body = rename_model(body, attempt.model)
    if body is not request.data.content and body != request.data.content:
        request.data.content = body
        if "content-length" in request.headers:
            request.headers["content-length"] = str(len(body))


def stranger() -> RelayError:
    """Somebody on another machine wants a key."""
    return RelayError(403, "The relay lends its keys to programs on its own machine only.", final=True)


def refuse_strangers(runtime: Runtime) -> None:
    """Raises RelayError 403 as soon as there is a key that could be lent."""
    if any(pool.keys for pool in runtime.pools.values()):
        raise stranger()


def is_loopback(peer: tuple[str, int] | tuple[str, int, int, int] | None) -> bool:
    """Whether a client is on this machine."""
    if peer is None:
        return False
    host = peer[0]
    return host.startswith("127.") or ipaddress.ip_address(host.partition("%")[0]).is_loopback
