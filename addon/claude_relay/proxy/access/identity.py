"""Who asks, by keys of the relay's own, and whether that is enough to be served.

    identify(flow, relayed, clients)              a request to an intercepted host: relayed.client, relayed.served, or why not
    error = await at_proxy(flow, config, …)       a CONNECT, or a request that is merely forwarded

A valid key is served from anywhere; one that is not known, disabled or over is served nowhere. Without a key programs on this machine are
served, unless `clients.required` says otherwise. Who a tunnel was opened for asks in it, too: a request in it that brings another client's
key gets nothing. It must not know what a client may do.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.connection import Client as Connection
from mitmproxy.proxy.mode_specs import RegularMode, ReverseMode, UpstreamMode

from claude_relay.core.clients import denials
from claude_relay.core.clients.credentials import is_own
from claude_relay.core.clients.directory import Client, Grant
from claude_relay.core.clients.offers import Offer, of_proxy, of_request
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError
from claude_relay.core.visitors import FORWARDING, client_address, networks
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.wire import OwnRequest
from claude_relay.proxy.running.clients import KnownClients

if TYPE_CHECKING:
    from claude_relay.core.addresses import Ip
    from claude_relay.proxy.request.relayed import Relayed

PROXY_AUTHORIZATION = "proxy-authorization"
PROXIES = frozenset({RegularMode, UpstreamMode})
"""Modes in which a client knows that it talks to a proxy, and can so answer a 407."""

_tunnels: MutableMapping[Connection, Offer | None] = weakref.WeakKeyDictionary()
"""What was said when a tunnel was asked for."""


def offers_of(flow: http.HTTPFlow, headers: Mapping[str, str]) -> tuple[Offer, ...]:
    """All that a request to an intercepted host says of who asks; names in lower case."""
    own = of_request(headers)
    if isinstance(flow.client_conn.proxy_mode, ReverseMode):
        return own
    said = said_to_proxy(flow, headers)
    return (said, *own) if said is not None and is_own(said.secret) else own


def said_to_proxy(flow: http.HTTPFlow, headers: Mapping[str, str]) -> Offer | None:
    """What was said to the proxy: by the CONNECT, by the request itself, or by the CONNECT of the tunnel that it comes through."""
    request = flow.request
    if isinstance(request, OwnRequest) and request.said_to_proxy:
        return of_proxy(request.said_to_proxy.decode("latin-1"))
    if (said := headers.get(PROXY_AUTHORIZATION)) is not None:
        return of_proxy(said)
    return _tunnels.get(flow.client_conn)


async def identify(flow: http.HTTPFlow, relayed: Relayed, clients: KnownClients | None) -> None:
    """Find out whose request it is. `relayed.served`, or `relayed.unserved` says why it is not."""
    config = relayed.runtime.config.clients
    if not relayed.offers and relayed.local and (flow.is_replay is not None or not config.required):
        relayed.served = True  # as nearly always, and so without a call more
        return
    at_proxy = type(flow.client_conn.proxy_mode) in PROXIES and flow.client_conn not in _tunnels
    try:
        relayed.client = await client_behind(relayed.offers, clients, config.contact, at_proxy=at_proxy)
        if relayed.client is None:
            if relayed.page is not None:  # it says itself what it needs
                raise denials.missing(config.contact, local=relayed.local, at_proxy=False)
            rejected(Reason.STRANGER, "a request without a client key was refused (it came from %s)", place(flow))
            raise denials.missing(config.contact, local=relayed.local, at_proxy=at_proxy)
        relayed.served = True
    except RelayError as error:
        relayed.unserved = error


async def at_proxy(
    flow: http.HTTPFlow,
    config: Config,
    headers: Mapping[str, str],
    clients: KnownClients | None,
    *,
    local: bool,
    intercepted: bool,
) -> RelayError | None:
    """Why a tunnel is not opened, or a request not forwarded; None: it may be.

    intercepted  the tunnel's host is: then a program on this machine may say in it who it is
    """
    said, opens = said_to_proxy(flow, headers), flow.request.method == "CONNECT"
    required, contact = config.clients.required, config.clients.contact
    if said is not None and local and not required and not is_own(said.secret):
        said = None  # somebody else's password, which nobody asked for
    try:
        client = await client_behind((said,) if said else (), clients, contact, at_proxy=True)
    except RelayError as error:
        return error
    if opens:
        _tunnels[flow.client_conn] = said
    if client is None:
        if local and (intercepted or not required):
            return None
        what = "a tunnel" if opens else "a request"
        rejected(
            Reason.STRANGER,
            "%s without a client key was refused (it came from %s): set HTTPS_PROXY=http://NAME:rk-…@HOST:PORT there",
            what,
            place(flow),
        )
        return denials.missing(contact, local=local, at_proxy=True)
    if local or intercepted or any(policy.tunnel for policy in client.policies):
        return None
    rejected(Reason.STRANGER, "the client %s on another machine may have no tunnel to %s", client.name, host_of(flow))
    why = f"The client '{client.name}' may not reach other hosts through the relay."
    return RelayError(403, why + denials.referral(contact), final=True)


async def client_behind(
    offers: Iterable[Offer], clients: KnownClients | None, contact: str, *, at_proxy: bool
) -> Client | None:
    """The client that has all of these keys; None: there is no key. Raises RelayError 401, 407 or 503."""
    found: Client | None = None
    for offer in offers:
        grant = clients.directory.find(offer.secret) if clients is not None else None
        if grant is None:
            grant = await _look_up(offer, clients)
        why, client = None, grant.client if grant is not None else None
        if grant is None or client is None:
            why = denials.unknown(offer.secret)
        elif offer.name is not None and offer.name != client.name:
            why, client = denials.other_name(offer.name), None
        else:
            why = grant.refusal(time.time())
        if client is not None and found is not None and client.id != found.id:
            why, at_proxy = denials.SEVERAL, False
        if why:
            who = f" of {client.name}" if client is not None else ""
            rejected(Reason.CLIENT_KEY, "a client key%s was refused: %s", who, why)
            raise denials.denied(why, contact, at_proxy=at_proxy)
        found = client
    return found


async def _look_up(offer: Offer, clients: KnownClients | None) -> Grant | None:
    """What a key allows that may be new. Raises RelayError 503 when nobody can tell."""
    grant = await clients.find(offer.secret) if clients is not None else None
    if grant is None and (clients is None or clients.unread is not None):
        raise denials.unread("the relay does not run yet" if clients is None else clients.unread or "")
    return grant


def address_of(flow: http.HTTPFlow, config: Config) -> Ip | None:
    """Where a request comes from, as far as those say it whose word counts (`listen.trusted_proxies`)."""
    peer = (flow.client_conn.peername or ("",))[0]
    fields = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in flow.request.data.headers.fields]
    forwarded = [field for field in fields if field[0] in FORWARDING]
    return client_address(peer, forwarded, networks(config.listen.trusted_proxies))


def place(flow: http.HTTPFlow) -> str:
    """The address of a peer, for the log."""
    return str((flow.client_conn.peername or ("?",))[0])


def host_of(flow: http.HTTPFlow) -> str:
    """Where a request goes, for the log."""
    return f"{flow.request.data.host}:{flow.request.data.port}"
