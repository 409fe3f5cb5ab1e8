"""Who is let in, for flows: strangers, circles, the relay's own listeners, web pages, wrong names. The rules are core/visitors'.

    entrance(flow, config, headers)        a request to an intercepted host: is it of this machine, and why it is refused if it is
    is_visit(flow, config, headers)        somebody looks at the proxy's own address with a browser
    passage(flow, runtime, headers, clients)    one that is merely forwarded, or a CONNECT: why it is refused if it is
    astray(flow, claims)                   one to be forwarded: why it is refused if it means an intercepted host, but leads elsewhere
    connecting(data, panel)                a connection is about to be opened
    connected(data, panel)                 it is open, and nothing has been sent

A refusal is counted and told here, once. Who asks, and who of those is served, is `identity`'s. Must not know attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from mitmproxy import ctx, http
from mitmproxy.connection import Client
from mitmproxy.proxy.mode_specs import ReverseMode
from mitmproxy.proxy.server_hooks import ServerConnectionHookData

from claude_relay.core.config import Address, Config
from claude_relay.core.endpoints import IN_BROWSERS, own_page
from claude_relay.core.errors import RelayError
from claude_relay.core.visitors import (
    FORWARDING,
    comes_from_here,
    host_of,
    is_browsing,
    is_meant,
    is_same,
    networks,
    page_before,
    page_behind,
)
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.wire import names_in
from claude_relay.proxy.running.clients import KnownClients

from . import trail
from .identity import at_proxy
from .origin import origin_of
from .own_listeners import is_here, leads_here

STRANGER: Final = (
    "SOCKS does not say whose client it is: the relay serves programs on its own machine by it, where clients need no key. "
    "Others use the HTTP proxy or the base URL, with a client key."
)
OWN: Final = (
    "This address is one of the relay's own listeners, which cannot be reached through the relay. Use it directly."
)
ASTRAY: Final = (
    "This request means a host that the relay serves, but its connection leads elsewhere. Let the relay look the host's name up: "
    "the proxy's URL begins with socks5h:// in the place of socks5://, and a tunnel is opened to the name."
)
LOOP: Final = "This request has come through this relay before: it goes in a circle. A provider's base_url or proxy leads back here."


def entrance(flow: http.HTTPFlow, config: Config, headers: Mapping[str, str]) -> tuple[bool, RelayError | None]:
    """Whether a request to an intercepted host comes from this machine, and why it gets nothing at all, if so.

    headers  the request's, names in lower case
    """
    listen, client, local = config.listen, flow.client_conn, is_local(flow, config, headers)
    if trail.came_round(client, headers.get(trail.NAME)):
        return False, circle(client)
    reverse = isinstance(client.proxy_mode, ReverseMode)
    names = names_in(flow.request)
    host, port = flow.request.data.host, flow.request.data.port
    meant = [is_own_name(name, client, config) if reverse else is_same(name, host, port) for name in names]
    if not meant or not all(meant):
        rejected(Reason.WEB_PAGE, "a request was refused: its Host is none of this listener's names")
        return False, RelayError(403, wrong_name(reverse), final=True)
    if reverse and listen.sign_in and own_page(flow.request.path) in IN_BROWSERS:
        page = page_before(flow.request.method, headers, origin_of(flow, config))
    else:
        page = page_behind(headers, listen.cors)
    if page is not None:
        rejected(Reason.WEB_PAGE, "a request of %s was refused", page)
        why = f"Requests of {page} may not use this relay. List the page's origin under listen.cors in relay.yaml."
        return False, RelayError(403, why, final=True)
    return local, None


async def is_visit(flow: http.HTTPFlow, config: Config, headers: Mapping[str, str]) -> bool:
    """Whether a person of this machine has opened the proxy's own address in a browser, which takes it for a site."""
    request = flow.request
    if not is_browsing(request.method, request.path, headers) or page_behind(headers) is not None:
        return False
    if trail.NAME in headers or not is_local(flow, config, headers):
        return False
    return await leads_here((request.data.host, request.data.port), config.listen.panel)


async def passage(
    flow: http.HTTPFlow, config: Config, headers: Mapping[str, str], clients: KnownClients | None, *, intercepted: bool
) -> RelayError | None:
    """Why a request to a host that is not intercepted goes nowhere, or a tunnel is not opened. `intercepted`: the tunnel's host is."""
    client, local = flow.client_conn, is_local(flow, config, headers)
    if trail.came_round(client, headers.get(trail.NAME)):
        return circle(client)
    if error := await at_proxy(flow, config, headers, clients, local=local, intercepted=intercepted):
        return error
    place = (flow.request.data.host, flow.request.data.port)
    if await leads_here(place, config.listen.panel):
        rejected(Reason.OWN_LISTENER, "a request through the relay to its own listener %s:%d was refused", *place)
        return RelayError(403, OWN, final=True)
    return None


def astray(flow: http.HTTPFlow, claims: Callable[[str, int], bool]) -> RelayError | None:
    """Why a request goes nowhere that has the name of an intercepted host, and perhaps its key, on the way to another place."""
    names = (*map(host_of, names_in(flow.request)), flow.client_conn.sni or "")
    if not any(claims(name, flow.request.data.port) for name in names):
        return None
    rejected(Reason.WEB_PAGE, "a request for an intercepted host was refused: its connection leads elsewhere")
    return RelayError(403, ASTRAY, final=True)


def is_local(flow: http.HTTPFlow, config: Config, headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a program on this machine, or is a recorded one that a person sends again."""
    if flow.is_replay is not None:
        return True
    peer = flow.client_conn.peername
    if peer is None:
        return False
    if FORWARDING.isdisjoint(headers):
        return comes_from_here(peer[0], ())
    fields = [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in flow.request.data.headers.fields]
    forwarded = [field for field in fields if field[0] in FORWARDING]
    return comes_from_here(peer[0], forwarded, networks(config.listen.trusted_proxies))


def is_own_name(name: str, client: Client, config: Config) -> bool:
    """Whether a `Host` means the base URL: where it is configured to be, and where this very connection has arrived.

    The hosts of the API are meant, too: who has their names lead here by /etc/hosts. No page of somebody else's can have them.
    """
    base, names = config.listen.base_url, (*config.listen.hosts, *config.intercept.hosts)
    return (base is not None and is_meant(name, base.host, names)) or is_meant(name, client.sockname[0], names)


def wrong_name(reverse: bool) -> str:
    """What to do about it."""
    if reverse:
        return "The Host header names another machine. Use localhost or an IP address, or list the name under listen.hosts in relay.yaml."
    return "The Host header names another host than the one that the request goes to."


def stranger(client: Client) -> RelayError:
    """Somebody connects by SOCKS who has no way to say who it is."""
    rejected(Reason.STRANGER, "a SOCKS connection was refused (it came from %s)", (client.peername or ("?",))[0])
    return RelayError(403, STRANGER, final=True)


def circle(client: Client) -> RelayError:
    """A request was here before."""
    rejected(Reason.LOOP, "a request that goes in a circle was ended (it came from %s)", (client.peername or ("?",))[0])
    return RelayError(508, LOOP, final=True)


# -- connections


async def connecting(data: ServerConnectionHookData, panel: Address | None) -> None:
    """No connection is opened to a listener of the relay's own, whoever wants it: a client, or a provider's base_url."""
    server = data.server
    if server.error is not None or server.address is None:
        return
    try:
        if await leads_here(server.address, panel):
            _own_listener(data)
    except asyncio.CancelledError:  # called off: mitmproxy tells who waits only by an error
        server.error = "connection cancelled"


def connected(data: ServerConnectionHookData, panel: Address | None) -> None:
    """A name that led elsewhere when it was judged: hang up before anything is sent."""
    if data.server.peername is None or not is_here(data.server.peername, panel):
        return
    _own_listener(data)
    handler = ctx.master.addons.get("proxyserver").connections.get(data.client.id)
    held = handler.transports.get(data.server) if handler is not None else None
    if held is not None and held.writer is not None:
        held.writer.transport.abort()


def _own_listener(data: ServerConnectionHookData) -> None:
    place = data.server.address or ("", 0)
    rejected(Reason.OWN_LISTENER, "a connection to the relay's own listener %s:%d was refused", place[0], place[1])
    data.server.error = f"{place[0]}:{place[1]} is a listener of this relay itself"
