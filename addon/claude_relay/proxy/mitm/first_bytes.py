"""What a connection is, from its first bytes: in linear time, and never from more of them than a head may have.

    host_header(context, data, b"")     in the place of mitmproxy's own, whose regular expressions are cubic
    explicit_proxy(context, data)       the same for the proxy's own port, where mitmproxy takes the first two bytes of TLS for HTTP
    settle(next_layer)                  a connection that has sent enough and is still not known is closed
    bound(layer)                        the same for the greeting of a TLS client

mitmproxy asks again with all bytes each time that some come. It must not know hosts nor requests.
"""

from __future__ import annotations

from typing import Final

from mitmproxy.addons.next_layer import NeedsMoreData, NextLayer
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.tls import ClientTLSLayer

from claude_relay.proxy.common.rejections import Reason, rejected

from .heads import BOUNDS

TLS: Final = b"\x16\x03"
"""The first bytes of a TLS record with a handshake; mitmproxy knows it by three."""
GREETING: Final = 16 * 1024
"""Bytes of a TLS ClientHello; those with post-quantum keys and tickets have three thousand."""

EXPLICIT_PROXY: Final = NextLayer._setup_explicit_http_proxy

type Commands[T] = layer.CommandGenerator[T]


def host_header(context: Context, data_client: bytes, data_server: bytes) -> str | None:
    """The host that a request names; None when it is none, or names none. Raises NeedsMoreData when it is not told yet."""
    if context.client.transport_protocol != "tcp" or data_server:
        return None
    if TLS.startswith(
        data_client or b"-"
    ):  # of so few bytes mitmproxy knows at once that they are no TLS, and passes on what follows
        raise NeedsMoreData
    data = data_client[: BOUNDS.bounds.head]
    line, _, _ = data.partition(b"\n")
    if not line[:3].isalpha() or line.upper().find(b"HTTP/", 4) < 0:
        return None
    head, end, _ = data.partition(b"\r\n\r\n")
    for field in head.split(b"\r\n")[1 : None if end else -1]:
        if field[:5].lower() == b"host:" and (host := field[5:].strip()):
            return host.decode("utf-8", "surrogateescape")
    if end or len(data) < len(data_client):
        return None
    raise NeedsMoreData


def explicit_proxy(context: Context, data_client: bytes) -> layer.Layer:
    """The layers of a connection to the proxy. Raises NeedsMoreData when it may yet be TLS."""
    if TLS.startswith(data_client):
        raise NeedsMoreData
    return EXPLICIT_PROXY(context, data_client)


def settle(next_layer: layer.NextLayer) -> None:
    """Once mitmproxy has been asked: what is still not known after so many bytes never will be."""
    if next_layer.layer is None and len(next_layer.data_client()) > BOUNDS.bounds.head:
        rejected(Reason.HEAD, "a connection was closed: its first bytes belong to no known protocol")
        next_layer.layer = HangUp(next_layer.context)


class HangUp(layer.Layer):
    """Closes the client's connection."""

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, events.Start):
            yield commands.CloseConnection(self.context.client)


class BoundedGreeting(ClientTLSLayer):
    """TLS with a client, which must greet in few words: they are read from the beginning with each piece of them."""

    def receive_handshake_data(self, data: bytes) -> Commands[tuple[bool, str | None]]:
        """More of the handshake."""
        if not self.client_hello_parsed and len(self.recv_buffer) + len(data) > GREETING:
            rejected(Reason.HEAD, "a connection was closed: its TLS ClientHello has more than %d bytes", GREETING)
            return False, "the TLS ClientHello is too long"
        return (yield from super().receive_handshake_data(data))


def bound(built: layer.Layer | None) -> None:
    """Bound the TLS layer in a stack of layers that mitmproxy has built."""
    while built is not None:
        if type(built) is ClientTLSLayer:
            built.__class__ = BoundedGreeting
        built = getattr(built, "child_layer", None)
