"""Turns a flow's request into that of one attempt: where to, through which proxy, in whose words, with whose key.

    point(flow, relayed, attempt)

Here, and nowhere else, it is decided whether a key may be lent to this client. It must not know why this attempt and no other.
"""

from __future__ import annotations

from mitmproxy import http

from claude_relay.core.config import WayOut, way_to
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Attempt, Endpoint
from claude_relay.proxy.access import doors
from claude_relay.proxy.messages.wire import address, issue_key, pass_through, write_anew
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.provider.adapting import Translated
from claude_relay.proxy.request.bodies import write_body
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime

NO_KEY = (
    "The relay has no key for {} and the client sent only a placeholder. "
    "Set ANTHROPIC_API_KEYS (or keys in relay.yaml) and start the relay again, or send a real key."
)


def point(flow: http.HTTPFlow, relayed: Relayed, attempt: Attempt, body: bytes | None = None) -> None:
    """Turn the flow's request into this attempt's. `body`: uncompressed, where it is another one than the client's."""
    relayed.next_attempt = None
    original = relayed.client_signature
    assert original is not None
    if relayed.facts.endpoint is Endpoint.SIDE:
        relayed.begin_try(attempt)
        relayed.signature = original
        relayed.proxy = outbound.lead_on(flow, relayed.runtime.way)
        relayed.redaction.issue(None, relayed.proxy)
        return
    upstream = relayed.runtime.upstreams[attempt.provider]
    if attempt.key is None and relayed.placeholder_only:
        raise RelayError(401, NO_KEY.format(attempt.provider), final=True)
    if attempt.key is not None and not relayed.local:
        raise doors.stranger(flow.client_conn)
    relayed.begin_try(attempt)
    adaptation = relayed.adaptation
    if isinstance(adaptation, Translated):
        write_anew(flow.request, upstream, adaptation.sent.path, adaptation.sent.body)
    else:
        if body is not None:
            write_body(flow.request, body)
        address(flow.request, upstream, identity=relayed.facts.may_stream or adaptation is not None)
    relayed.proxy = upstream.proxy
    if attempt.key is not None and attempt.key.proxy:
        relayed.proxy = way_to("", WayOut(), attempt.key.proxy)
    relayed.redaction.issue(None, relayed.proxy)
    outbound.lead(flow, relayed.proxy)
    if attempt.key is None:
        relayed.signature = pass_through(flow.request, original)
    else:
        alias = f"relay:{attempt.provider}/{attempt.key.alias}"
        relayed.signature = issue_key(flow.request, upstream, alias, attempt.key.secret)


def refuse_strangers(flow: http.HTTPFlow, runtime: Runtime) -> None:
    """Raises RelayError 403 as soon as there is a key that could be lent."""
    if any(pool.keys for pool in runtime.pools.values()):
        raise doors.stranger(flow.client_conn)
