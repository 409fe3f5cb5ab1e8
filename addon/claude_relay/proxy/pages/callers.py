"""Who asks for a page.

    peer_of(flow, config)          '192.0.2.7'
    client_of(relayed)             the client; None: it has no key of the relay's
    named_client(relayed)          the client; RelayError 401 for all others

It must not know pages.
"""

from __future__ import annotations

from typing import Final

from mitmproxy import http

from claude_relay.core.clients.directory import Client
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError
from claude_relay.proxy.access.identity import address_of
from claude_relay.proxy.request.relayed import Relayed

NOBODY: Final = "This needs a client key of this relay's, as `authorization: Bearer rk-…`."


def peer_of(flow: http.HTTPFlow, config: Config) -> str:
    """The address that asks; empty: nobody knows."""
    address = address_of(flow, config)
    return "" if address is None else str(address)


def client_of(relayed: Relayed) -> Client | None:
    """Who wants it; None: somebody without a key of the relay's. Raises RelayError 401 for a key or token that is not valid."""
    if relayed.client is None and relayed.offers and relayed.unserved is not None:
        raise relayed.unserved
    return relayed.client


def named_client(relayed: Relayed) -> Client:
    """Who asks, for what is about clients only. Raises RelayError 401."""
    client = client_of(relayed)
    if client is None:
        contact = relayed.runtime.config.clients.contact
        raise RelayError(401, f"{NOBODY} Ask {contact}." if contact else NOBODY, final=True)
    return client
