"""Whether a connection would lead to this relay itself: a key would go to whoever can reach the proxy, or a request go round for ever.

    await leads_here(("localhost", 8082), panel)     before connecting: every address that the name has is judged
    is_here(server.peername, panel)                  after it, before a byte is sent: names may lead elsewhere the second time

Only places with the port of a listener are looked at, so other connections cost nothing. What counts is what is bound at the moment, by
mitmproxy, by its web page, by the relay; names, spellings and the configuration do not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from mitmproxy import ctx
from tornado.ioloop import IOLoop

from claude_relay.core.addresses import ip_of
from claude_relay.core.config import Address
from claude_relay.proxy.mitm.accepting import LISTENING

type SockAddr = tuple[str, int] | tuple[str, int, int, int]


def bound(panel: Address | None = None) -> Iterator[tuple[str, int]]:
    """Address and port of every listener. `panel`: the one of the relay's that may be another process's."""
    if panel is not None:
        yield panel.host, panel.port
    if (proxyserver := ctx.master.addons.get("proxyserver")) is not None:
        for address in proxyserver.listen_addrs():
            yield address[0], address[1]
    pages = IOLoop.current(instance=False)
    of_pages = [held for held, _ in list(getattr(pages, "handlers", {}).values())]
    for held in (*of_pages, *LISTENING):
        if isinstance(held, socket.socket) and (found := listening_at(held)) is not None:
            yield found


def listening_at(held: socket.socket) -> tuple[str, int] | None:
    """Where a socket listens; None: it does not."""
    with suppress(OSError):  # it may be closed by now
        if held.family in (socket.AF_INET, socket.AF_INET6) and held.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            host, port = held.getsockname()[:2]
            return host, port
    return None


async def leads_here(address: tuple[str, int], panel: Address | None = None) -> bool:
    """Whether one of the addresses that a name has now is a listener's. One that cannot be found leads nowhere."""
    host, port = address[:2]
    if not any(at == port for _, at in bound(panel)):
        return False
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # UnicodeError: no name at all
        return False
    return any(is_here(place, panel) for *_, place in found)


def is_here(place: Any, panel: Address | None = None) -> bool:
    """Whether an address, as a socket has it, is a listener's."""
    return any(at == place[1] and reaches(place, listener) for listener, at in bound(panel))


def reaches(place: SockAddr, listener: str) -> bool:
    """Whether who dials an address arrives at a listener of the same port that is bound to `listener`."""
    target, own = ip_of(place[0]), ip_of(listener)
    if target is None or own is None:
        return place[0] == listener
    if target.is_unspecified:  # systems take it for their own loopback
        return own.is_loopback or own.is_unspecified
    return target == own or (own.is_unspecified and is_mine(place))


def is_mine(place: SockAddr) -> bool:
    """Whether an address is this machine's: what is sent there would come from there. Nothing is sent."""
    target = ip_of(place[0])
    if target is None or target.is_loopback:
        return target is not None
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(target), *place[1:]) if target.version == 6 else (str(target), place[1]))
        return ip_of(probe.getsockname()[0]) == target
    return False
