"""TLS with clients of the listeners themselves, by the certificate of `listen.tls`: at the base URL, and to the proxy around its tunnels.

    own = OwnTls()
    own.present(pair)                   from now on; connections that are open go on with what they began with
    own.start(data)                     hook tls_start_client: a handshake begins
    own.refuse_plain(next_layer)        a connection's first bytes: without TLS only programs of this machine are answered

mitmproxy knows TLS at its listeners by the first bytes, and would show a certificate made by its CA. That one is still shown within the
tunnels that are read. It must not know requests, nor where the certificate comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from mitmproxy import ctx
from mitmproxy.connection import Client
from mitmproxy.net import tls
from mitmproxy.net.http.http1 import assemble_response
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import modes
from mitmproxy.proxy.layers.tls import ClientTLSLayer
from mitmproxy.tls import TlsData
from OpenSSL import SSL

from claude_relay.core.errors import RelayError
from claude_relay.core.visitors import is_loopback
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.replies import error_answer, new_request_id
from claude_relay.store.tls_pair import Pair

from .first_bytes import TLS

LISTENERS: Final = (modes.ReverseProxy, modes.HttpProxy, modes.HttpUpstreamProxy)
"""The outermost layers of connections that begin with HTTP, or with TLS around it. SOCKS has none around it."""
LINGER: Final = 2.0
"""Seconds for which the rest of a refused request is still taken: a connection that is closed at once may lose the answer."""
PLAIN: Final = RelayError(
    400,
    "This listener speaks TLS to other machines: write https:// in the place of http://. What came with this request, a key perhaps, was "
    "readable on its way.",
    final=True,
)

type Commands[T] = layer.CommandGenerator[T]


@dataclass(frozen=True, slots=True)
class Contexts:
    """Of one certificate. A tunnel is asked for in HTTP/1.1: mitmproxy takes no CONNECT over HTTP/2."""

    base_url: SSL.Context
    proxy: SSL.Context

    @classmethod
    def of(cls, pair: Pair) -> Contexts:
        """Raises SSL.Error."""
        both = (b"h2", b"http/1.1") if ctx.options.http2 else (b"http/1.1",)
        return cls(_context(pair, both), _context(pair, (b"http/1.1",)))


class OwnTls:
    """What the listeners show; without a certificate nothing is different from a mitmproxy without the relay."""

    def __init__(self) -> None:
        self.contexts: Contexts | None = None

    def present(self, pair: Pair | None) -> None:
        """To clients that come from now on. Raises SSL.Error, with nothing changed."""
        self.contexts = None if pair is None else Contexts.of(pair)

    def start(self, data: TlsData) -> None:
        """A handshake with a client begins: with the listener itself, or within a tunnel, which is mitmproxy's."""
        context = data.context
        if not is_outermost(context):
            return
        at_base_url = isinstance(context.layers[0], modes.ReverseProxy)
        if at_base_url and context.server.address:
            # Else mitmproxy would ask the API for the name that the client has for the relay.
            context.server.sni = context.server.address[0]
        if self.contexts is None or data.is_dtls:
            return
        data.ssl_conn = SSL.Connection(self.contexts.base_url if at_base_url else self.contexts.proxy)
        data.ssl_conn.set_accept_state()

    def shows(self, context: Context) -> bool:
        """Whether the certificate that a client has seen last on this connection is this one."""
        return self.contexts is not None and is_outermost(context)

    def refuse_plain(self, next_layer: layer.NextLayer) -> bool:
        """Whether it is settled what comes next: a refusal. On this machine nobody listens in: its programs may do without TLS."""
        context, data = next_layer.context, next_layer.data_client()
        if self.contexts is None or len(context.layers) != 1 or not isinstance(context.layers[0], LISTENERS):
            return False
        if data.startswith(TLS) or TLS.startswith(data):
            return False
        if context.client.transport_protocol != "tcp" or is_here(context.client):
            return False
        rejected(Reason.PLAIN, "a request without TLS was refused: it came from another machine, and listen.tls is set")
        next_layer.layer = PlainRefused(context)
        return True


class PlainRefused(layer.Layer):
    """Says that TLS is spoken here, and hangs up."""

    def _handle_event(self, event: events.Event) -> Commands[None]:
        client = self.context.client
        if isinstance(event, events.Start):
            answer = error_answer(PLAIN, new_request_id())
            answer.headers["connection"] = "close"
            yield commands.SendData(client, assemble_response(answer))
            yield commands.CloseTcpConnection(client, half_close=True)
            yield commands.RequestWakeup(LINGER)
        elif isinstance(event, (events.Wakeup, events.ConnectionClosed)):
            yield commands.CloseConnection(client)


def is_outermost(context: Context) -> bool:
    """Whether a client's TLS is with the listener itself: right behind the listener's layer, and none within it yet."""
    layers = context.layers
    around = [found for found in layers if isinstance(found, ClientTLSLayer)]
    return len(around) == 1 and isinstance(layers[0], LISTENERS) and layers[1] is around[0]


def is_here(client: Client) -> bool:
    """Whether a client's connection does not leave this machine."""
    return client.peername is not None and is_loopback(client.peername[0])


def _context(pair: Pair, protocols: Sequence[bytes]) -> SSL.Context:
    """One for all connections, so that clients can resume their sessions."""

    def choose(connection: SSL.Connection, offered: list[bytes]) -> Any:
        return next((protocol for protocol in offered if protocol in protocols), SSL.NO_OVERLAPPING_PROTOCOLS)

    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(max(tls.Version[ctx.options.tls_version_client_min].value, SSL.TLS1_2_VERSION))
    context.set_max_proto_version(tls.Version[ctx.options.tls_version_client_max].value)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.use_certificate(pair.chain[0])
    for issuer in pair.chain[1:]:
        context.add_extra_chain_cert(issuer)
    context.use_privatekey(pair.key)  # type: ignore[arg-type]
    context.check_privatekey()
    context.set_alpn_select_callback(choose)
    return context
