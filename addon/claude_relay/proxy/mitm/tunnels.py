"""Tunnels through outbound proxies, as layers: HTTP's CONNECT and SOCKS5, each within a time of its own.

mitmproxy asks `make` for a tunnel wherever a connection has a `via` (`shortcuts` puts it in the place of mitmproxy's own). What it knows of
CONNECT is used as it is; SOCKS5 is `core.socks5`, whose credential comes by the hook `relay_way`, so that no flow and no address holds it.
Whatever goes wrong before the tunnel stands is told with `FAILED` in front: it is the way that failed, not the far end. It must not know
flows, keys nor providers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from mitmproxy import connection
from mitmproxy.proxy import commands, context, events, tunnel
from mitmproxy.proxy.layers import tls
from mitmproxy.proxy.layers.http import _upstream_proxy

from claude_relay.core.config.proxies import TIMEOUT, OutboundProxy
from claude_relay.core.socks5 import ENDED, Handshake, SocksError

from .connections import Commands

FAILED: Final = "no way through the proxy: "
CLOSED: Final = "connection closed"
"""What mitmproxy says of a proxy that hangs up in the middle of a handshake."""


@dataclass
class Way:
    """A proxy that is about to be asked for a tunnel. `proxy`: who that is; None: nobody knows, so it gets no credential."""

    address: object
    proxy: OutboundProxy | None = field(default=None, repr=False)


@dataclass
class RelayWayHook(commands.StartHook):
    """A tunnel through a SOCKS proxy begins; the addon says with which credential."""

    way: Way


class Tunnel(tunnel.TunnelLayer):
    """A tunnel that stands in time, or not at all."""

    tunnel_connection: connection.Server
    conn: connection.Server
    alarm: commands.RequestWakeup | None = None
    complain: Callable[[str], None] | None = None
    """Who hears of a failure that the client is not told of."""

    @property
    def timeout(self) -> float:
        """Seconds from the connection to the proxy until the tunnel stands."""
        return float(getattr(self.tunnel_connection.address, "timeout", TIMEOUT))

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if self.alarm is None or not isinstance(event, events.Wakeup) or event.command is not self.alarm:
            yield from super()._handle_event(event)
        elif self.tunnel_state is tunnel.TunnelState.ESTABLISHING:
            yield from self.fail(f"the proxy gave no answer within {self.timeout:g} s")

    def fail(self, why: str) -> Commands[None]:
        """There will be no tunnel."""
        self.conn.state = connection.ConnectionState.CLOSED
        yield from self.on_handshake_error(why)
        yield from self._handshake_finished(why)

    def start_handshake(self) -> Commands[None]:
        """The proxy is there; its time begins."""
        self.alarm = commands.RequestWakeup(self.timeout)
        yield self.alarm
        yield from super().start_handshake()

    def event_to_child(self, event: events.Event) -> Commands[None]:
        """What went wrong so far was the way's fault."""
        if isinstance(event, events.OpenConnectionCompleted) and event.reply:
            if self.complain is not None:
                self.complain(event.reply)
            event = events.OpenConnectionCompleted(event.command, FAILED + event.reply)
        yield from super().event_to_child(event)


class Connect(Tunnel, _upstream_proxy.HttpUpstreamProxy):
    """By CONNECT, as mitmproxy does it."""


class Socks5(Tunnel):
    """By SOCKS5. The far end's name goes to the proxy as it is."""

    handshake: Handshake

    def __init__(self, around: context.Context, proxy: connection.Server) -> None:
        super().__init__(around, tunnel_connection=proxy, conn=around.server)

    def start_handshake(self) -> Commands[None]:
        """Greet."""
        way = Way(self.tunnel_connection.address)
        yield RelayWayHook(way)
        assert self.conn.address is not None
        host, port = self.conn.address[:2]
        username, password = ("", "") if way.proxy is None else (way.proxy.username, way.proxy.password)
        try:
            self.handshake = Handshake(host, port, username, password)
        except SocksError as error:
            yield from self.fail(str(error))
            return
        self.alarm = commands.RequestWakeup(self.timeout)
        yield self.alarm
        yield commands.SendData(self.tunnel_connection, self.handshake.begin())

    def receive_handshake_data(self, data: bytes) -> Commands[tuple[bool, str | None]]:
        """What the proxy says until the tunnel stands."""
        try:
            answer = self.handshake.receive(data)
        except SocksError as error:
            return False, str(error)
        if answer:
            yield commands.SendData(self.tunnel_connection, answer)
        if self.handshake.rest:
            yield from self.receive_data(self.handshake.rest)
        return self.handshake.done, None

    def _handshake_finished(self, err: str | None) -> Commands[None]:
        yield from super()._handshake_finished(ENDED if err == CLOSED else err)


def make(_: type, around: context.Context, send_connect: bool) -> tunnel.LayerStack:
    """In the place of `HttpUpstreamProxy.make`: the layers of a connection up to the far end's first byte."""
    assert around.server.via is not None
    scheme, address = around.server.via
    proxy = connection.Server(address=address)
    stack = tunnel.LayerStack()
    if scheme == "https":
        proxy.alpn_offers = tls.HTTP1_ALPNS
        proxy.sni = address[0]
        stack /= tls.ServerTLSLayer(around, proxy)
    socks = getattr(address, "speaks_socks", False)
    stack /= Socks5(around, proxy) if socks else Connect(around, proxy, send_connect)
    return stack


MAKE: Final[Any] = classmethod(make)
