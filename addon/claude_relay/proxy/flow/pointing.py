"""Turns a flow's request into that of one attempt: where to, through which proxy, in whose words, with whose key.

    point(flow, relayed, attempt)

Here, and nowhere else, it is decided whether a key may be issued to this client. It must not know why this attempt and no other.
"""

from __future__ import annotations

from mitmproxy import http

from claude_relay.core.config import OutboundProxy, WayOut, way_to
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import OAUTH, Attempt, Endpoint
from claude_relay.proxy.messages.wire import address, issue_key, pass_through, write_anew
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.provider.adapting import Translated
from claude_relay.proxy.request.bodies import write_body
from claude_relay.proxy.request.relayed import Relayed

NO_KEY = (
    "The relay has no key for {} and the client sent only {}. "
    "Set ANTHROPIC_API_KEYS (or keys in relay.yaml) and start the relay again, or send a real key."
)

NOT_SERVED = RelayError(403, "Nobody has said who asks.", final=True)


class NoWayError(RelayError):
    """The key's own proxy is not known: it is used through that one or not at all. `name`: what it calls it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(502, f"{name}: {why}")
        self.name = name


def has_way(relayed: Relayed, attempt: Attempt) -> None:
    """Raises NoWayError when nobody knows the way on which the attempt's key goes out."""
    if attempt.key is not None and attempt.key.proxy:
        try:
            proxy_of(relayed, attempt.provider, attempt.key.proxy)
        except ValueError as error:
            raise NoWayError(str(OutboundProxy.parse(attempt.key.proxy)), str(error)) from None


def proxy_of(relayed: Relayed, provider: str, own: object) -> OutboundProxy | None:
    """A key's own proxy; None: it goes directly. Raises ValueError for a name that is none."""
    named, ca = relayed.runtime.config.providers[provider].ways, relayed.runtime.way.trust.ca
    return way_to("", WayOut(), own, named=named, authorities=ca)


def point(flow: http.HTTPFlow, relayed: Relayed, attempt: Attempt, body: bytes | None = None) -> None:
    """Turn the flow's request into this attempt's. `body`: uncompressed, where it is another one than the client's."""
    original = relayed.client_signature
    assert original is not None
    if relayed.facts.endpoint is Endpoint.SIDE:
        relayed.begin_attempt(attempt)
        relayed.signature = original
        relayed.proxy = relayed.attempts[-1].goes_through(outbound.lead_on(flow, relayed.runtime.way))
        relayed.trust = relayed.runtime.way.trust
        relayed.redaction.issue(None, relayed.proxy)
        return
    upstream = relayed.runtime.upstreams[attempt.provider]
    if attempt.key is None and relayed.placeholder_only:
        what = "its own client key, which does not leave it" if relayed.client is not None else "a placeholder"
        raise RelayError(401, NO_KEY.format(attempt.provider, what), final=True)
    if not relayed.served:
        raise relayed.unserved or NOT_SERVED
    relayed.begin_attempt(attempt)
    adaptation = relayed.adaptation
    if isinstance(adaptation, Translated):
        write_anew(flow.request, upstream, adaptation.request.path, adaptation.request.body)
    else:
        if body is not None:
            write_body(flow.request, body)
        address(flow.request, upstream, identity=relayed.facts.may_stream or adaptation is not None)
    relayed.proxy = upstream.proxy
    if attempt.key is not None and attempt.key.proxy:
        relayed.proxy = proxy_of(relayed, attempt.provider, attempt.key.proxy)
    relayed.attempts[-1].goes_through(relayed.proxy)
    relayed.trust = upstream.trust
    relayed.redaction.issue(None, relayed.proxy)
    outbound.lead(flow, relayed.proxy)
    if attempt.key is None:
        relayed.signature = pass_through(flow.request, original)
    else:
        alias = f"relay:{attempt.provider}/{attempt.key.alias}"
        relayed.signature = issue_key(
            flow.request, upstream, alias, attempt.key.secret, is_token=attempt.key.kind == OAUTH
        )
