"""One attempt on its way out: to a connection, and on it as a signed copy.

    connect_and_send ─► get_connection ─┬─► send_request ─► the head with the real key, the body; or `begin_upload`
                                        ├─► the proxy on its way is down, and may be done without: `go_directly`
                                        ╰─► there is none: `handle_protocol_error`

`DispatchingStream` is the part of a stream between the request (`receiving.ReceivingStream`) and what comes of the attempt
(`replay.RelayStream`), which chooses it, and judges it. It must not know what is chosen, nor what follows from an answer.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

from mitmproxy import http
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestTrailers,
    ResponseProtocolError,
    SendHttp,
)

from claude_relay.proxy.access import trail
from claude_relay.proxy.messages.wire import FRAMING
from claude_relay.proxy.mitm import outbound
from claude_relay.proxy.mitm.connections import Commands, GetConnection
from claude_relay.proxy.mitm.outbound import Place
from claude_relay.proxy.mitm.tunnels import FAILED
from claude_relay.proxy.request.relayed import Relayed

from .receiving import ReceivingStream

logger = logging.getLogger(__name__)


@dataclass
class ConnectExpired(ResponseProtocolError):
    """There was no connection in time."""


class DispatchingStream(ReceivingStream):
    """A stream that dispatches attempts."""

    handed_over_at: float = 0.0
    """Monotonic time at which the running attempt was on its connection."""
    fresh: bool = True
    """Whether the attempt's connection was opened for it."""

    def connect_and_send(self, relayed: Relayed, *, since: float = 0.0) -> Commands[None]:
        """`since`: on a connection that was opened after this monotonic time."""
        self.hold_until, self.moves = math.inf, 0
        self.patience.connect(time.monotonic())
        yield from self.watch()
        if not (yield from self.get_connection(since)) or (yield from self.client_is_gone()):
            return
        yield from self.send_request(relayed)
        self.handed_over_at = time.monotonic()
        if self.receives:  # a file that goes on as it comes
            yield from self.watch_upload(relayed)
        else:
            self.patience.handed_over(self.handed_over_at)
            yield from self.watch()

    def get_connection(self, since: float) -> Commands[bool]:
        """As `make_server_connection`, but for connections that are known to be dead."""
        request, server, relayed = self.flow.request, self.flow.server_conn, self.relayed
        assert relayed is not None
        wanted = GetConnection(
            Place.far(request.host, request.port, relayed.trust),
            request.scheme == "https",
            server.via,
            server.transport_protocol,
        )
        wanted.reuse, wanted.since = self.http_layer, since
        connection, why = yield wanted
        if connection is None:
            failed = why.startswith(FAILED) or (wanted.expired and relayed.proxy is not None)
            if failed and relayed.may_go_directly:
                self.go_directly(relayed, why)
                yield from self.watch()
                return (yield from self.get_connection(since))
            if failed and not why.startswith(FAILED):
                why = FAILED + why
            kind = ConnectExpired if wanted.expired else ResponseProtocolError
            yield from self.handle_protocol_error(kind(self.stream_id, why, ErrorCode.CONNECT_FAILED))
            return False
        self.fresh = wanted.fresh
        self.context.server = self.flow.server_conn = connection
        return True

    def go_directly(self, relayed: Relayed, why: str) -> None:
        """The proxy on the attempt's way is down, and relay.yaml lets it go without."""
        assert relayed.proxy is not None
        logger.warning(
            "%s goes directly: %s", relayed.id, outbound.in_words(relayed.redaction.text(why), relayed.proxy)
        )
        relayed.went_directly()
        self.http_layer.forget_attempt(self.stream_id, self.context.server)
        outbound.lead(self.flow, None)
        self.patience.go_directly()
        self.patience.connect(time.monotonic())

    def send_request(self, relayed: Relayed) -> Commands[None]:
        """The flow keeps the alias; what goes on the wire is a signed copy."""
        request, server = self.flow.request, self.context.server
        trailers = request.trailers if server.alpn == b"h2" else None  # mitmproxy cannot write them to HTTP/1
        relayed.attempt_dispatched()
        head, content = relayed.sign(request)
        way = trail.heard(self.context.client, relayed.facts.headers.get(trail.NAME))
        head.data.headers.fields = trail.marked(head.data.headers.fields, server.peername, way)
        if relayed.goes_through:
            yield from self.begin_upload(head)
            return
        yield SendHttp(RequestHeaders(self.stream_id, head, not (content or trailers)), server)
        if content:
            yield SendHttp(RequestData(self.stream_id, content), server)
        if trailers:
            yield SendHttp(RequestTrailers(self.stream_id, trailers), server)
        yield SendHttp(RequestEndOfMessage(self.stream_id), server)

    def make_server_connection(self) -> Commands[bool]:
        """For requests that the relay has not claimed."""
        ok = yield from super().make_server_connection()
        if ok:
            fields, client = self.flow.request.data.headers, self.context.client
            way = trail.heard(client, fields.get(trail.NAME))
            fields.fields = trail.marked(fields.fields, self.context.server.peername, way)
        return ok

    def begin_upload(self, head: http.Request) -> Commands[None]:
        """The head of a file, with what of it is there; the rest follows as it comes."""
        server = self.context.server
        if server.alpn != b"h2" and FRAMING.isdisjoint([name.lower() for name, _ in head.headers.fields]):
            head.headers["transfer-encoding"] = "chunked"
        yield SendHttp(RequestHeaders(self.stream_id, head, False), server)
        chunks, self.chunks = self.chunks, []
        for chunk in chunks:
            yield SendHttp(RequestData(self.stream_id, chunk), server)
