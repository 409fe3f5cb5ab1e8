"""Connections through an outbound proxy, in mitmproxy's words.

    lead(flow, proxy), lead_on(flow, way)     this flow's connection goes through it
    through(tunnel.layer, way)                so does one that is tunnelled, unread
    authorize(flow, proxies)                  hook http_connect_upstream: the CONNECT gets the credential of its proxy
    introduce(way, proxies)                   hook relay_way: so does a SOCKS handshake
    told(outcome, proxy)                      what went wrong on that way, with the proxy's name in it

mitmproxy keeps connections for further requests by the address of their proxy, and makes a new object for each connection to one. So the
address itself must tell proxies with different credentials apart (`Place`), without holding the credential: addresses are in flows.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, Literal

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import context, layer, layers
from mitmproxy.proxy.mode_specs import RegularMode

from claude_relay.core.config import OutboundProxy, Trust, WayOut
from claude_relay.core.config.proxies import TIMEOUT, USUAL
from claude_relay.core.exchange import Failure, Outcome

from .tunnels import FAILED, Tunnel, Way, make

logger = logging.getLogger(__name__)

PLAIN_PORT: Final = 80
"""Whoever asks for a tunnel to it means http://, as far as a port can tell."""
QUIET_SECONDS: Final = 60.0
"""One line of the log in so many seconds for tunnels that fail for the same reason."""
_REFUSED: Final = re.compile(r"Upstream proxy \S+ refused HTTP CONNECT request: (\d{3})")
_NO_HTTP: Final = re.compile(r"Error connecting to \S+: ")
_UNREACHED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed")
_SALT: Final = secrets.token_bytes(16)


class Place(tuple[str, int]):
    """Host and port of an outbound proxy, or of a provider that has TLS of its own. With another credential, or other TLS, it is another
    place: neither a connection nor a credential is shared."""

    mark: bytes
    """Stands for credential and TLS; means nothing outside of this process."""
    trust: Trust = USUAL
    """Of TLS with whoever is there."""
    speaks_socks: bool = False
    """Whether a proxy does, which mitmproxy has no word for: flows say `http`."""
    timeout: float = TIMEOUT
    """Seconds until the way through a proxy stands."""

    @classmethod
    def of(cls, proxy: OutboundProxy) -> Place:
        """Where a proxy is."""
        place = cls((proxy.host, proxy.port))
        place.mark = _mark(f"{proxy.scheme} {proxy.authorization}", proxy.trust)
        place.trust, place.timeout, place.speaks_socks = proxy.trust, proxy.timeout, proxy.scheme == "socks5"
        return place

    @classmethod
    def far(cls, host: str, port: int, trust: Trust) -> tuple[str, int]:
        """Where a provider is; a plain address where nothing is special about its TLS."""
        if not trust:
            return host, port
        place = cls((host, port))
        place.mark, place.trust = _mark("", trust), trust
        return place

    def __eq__(self, other: object) -> bool:
        """Whether address and credential are the same."""
        return isinstance(other, Place) and tuple.__eq__(self, other) and self.mark == other.mark

    def __ne__(self, other: object) -> bool:
        """Tuples have one of their own."""
        return not self == other

    def __hash__(self) -> int:
        """As an address is hashed."""
        return tuple.__hash__(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies that outlive the process are plain addresses."""
        return tuple, (tuple(self),)


def _mark(credential: str, trust: Trust) -> bytes:
    text = "\0".join((credential, *map(str, (*trust.ca, trust.cert, trust.key))))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8, key=_SALT).digest()


type Via = tuple[Literal["http", "https"], tuple[str, int]]


def via(proxy: OutboundProxy | None) -> Via | None:
    """An outbound proxy as mitmproxy names it."""
    return None if proxy is None else ("https" if proxy.scheme == "https" else "http", Place.of(proxy))


def lead(flow: http.HTTPFlow, proxy: OutboundProxy | None) -> None:
    """Have the flow's request leave through a proxy, or directly."""
    way = via(proxy)
    if flow.server_conn.via != way:
        flow.server_conn = Server(address=(flow.request.data.host, flow.request.data.port))
        flow.server_conn.via = way


def lead_on(flow: http.HTTPFlow, way: WayOut) -> OutboundProxy | None:
    """Have a request that goes where the client meant it leave as the environment says, and say through what. If that says nothing, it
    leaves as mitmproxy has it."""
    proxy = way.to(flow.request.scheme, flow.request.data.host, flow.request.data.port)
    if proxy is not None:
        lead(flow, proxy)
    return proxy


def authorize(flow: http.HTTPFlow, proxies: Iterable[OutboundProxy | None]) -> None:
    """Give the proxy that a CONNECT goes to its credential, if it is one of these. Releases of mitmproxy before 12.3 forget brackets."""
    host, port = flow.request.data.host, flow.request.data.port
    if ":" in host:
        flow.request.authority = flow.request.headers["Host"] = f"[{host}]:{port}"
    proxy = at(flow.server_conn.address, proxies)
    if proxy is not None and proxy.authorization:
        flow.request.headers["proxy-authorization"] = proxy.authorization


def introduce(way: Way, proxies: Iterable[OutboundProxy | None]) -> None:
    """Say who a SOCKS proxy is, if it is one of these."""
    way.proxy = at(way.address, proxies)


def at(place: object, proxies: Iterable[OutboundProxy | None]) -> OutboundProxy | None:
    """The proxy that is there."""
    return next((proxy for proxy in proxies if proxy is not None and Place.of(proxy) == place), None)


def with_proxy(outcome: Outcome, proxy: OutboundProxy | None) -> Outcome:
    """An outcome without an answer, told with the proxy through which none came."""
    if proxy is None or outcome.status is not None or not outcome.message:
        return outcome
    failure = Failure.PROXY if outcome.message.startswith(FAILED) else outcome.failure
    return replace(outcome, message=in_words(outcome.message, proxy), failure=failure)


def in_words(message: str, proxy: OutboundProxy) -> str:
    """mitmproxy's words for a failed connection, in the relay's. What a proxy says beside its status may repeat a credential.

    >>> in_words("Upstream proxy 10.0.0.1:80 refused HTTP CONNECT request: 407 Who?", OutboundProxy.parse("http://10.0.0.1"))
    'the proxy answered 407, through http://10.0.0.1:80'
    """
    message = message.removeprefix(FAILED)
    if refused := _REFUSED.match(message):
        message = f"the proxy answered {refused[1]}"
    elif _NO_HTTP.match(message):
        message = "no proxy is there"
    elif unreached := _UNREACHED.match(message):
        message = f"the proxy cannot be reached: {os.strerror(int(unreached[1]))}"
    return f"{message}, through {proxy.label}"


def through(built: layer.Layer, way: WayOut) -> layer.Layer:
    """What mitmproxy has built for a connection: where it is a tunnel that is passed on unread, one through the proxy on its way."""
    if type(built) is not layers.TCPLayer:
        return built
    around, server = built.context, built.context.server
    if server.address is None or server.via is not None or server.connected:
        return built
    if not isinstance(around.client.proxy_mode, RegularMode):
        return built
    host, port = server.address[:2]
    proxy = way.to("http" if port == PLAIN_PORT else "https", host, port)
    if proxy is None:
        return built
    server.via = via(proxy)
    around.layers.remove(built)
    stack = make(Tunnel, around, True)
    around.layers.append(built)
    tunnel = stack[-1]
    assert isinstance(tunnel, Tunnel)
    tunnel.complain = lambda why: complain(around, in_words(why, proxy))
    return (stack / built)[0]


def complain(around: context.Context, reason: str) -> None:
    """Log that a tunnel failed."""
    now = time.monotonic()
    if now - _complaints.get(reason, -QUIET_SECONDS) < QUIET_SECONDS:
        return
    if len(_complaints) > 100:
        _complaints.clear()
    _complaints[reason] = now
    host, port = (around.server.address or ("", 0))[:2]
    logger.warning("no tunnel to %s:%d: %s", host, port, reason)


_complaints: dict[str, float] = {}
