"""HTTP/2 connections, fed with frames of a real h2: refusals, going away, interim answers, floods, heads that are too large."""

from __future__ import annotations

from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
from mitmproxy.proxy.layers.http import RequestEndOfMessage, RequestHeaders
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server
from mitmproxy.test import tflow

from claude_relay.proxy.mitm.adopting import adopt, adopt_client
from claude_relay.proxy.mitm.connections import Garbled, Unanswered
from claude_relay.proxy.mitm.flood import MOST
from claude_relay.proxy.mitm.heads import BOUNDS

from .layers import Fed, surroundings

HEAD = [(":method", "POST"), (":scheme", "https"), (":authority", "h"), (":path", "/")]


class Peer:
    """The other end of a connection."""

    def __init__(self, fed: Fed, *, client: bool) -> None:
        self.fed = fed
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client))
        self.h2.initiate_connection()
        self.seen: list[Any] = []
        self.talk()

    def talk(self) -> None:
        """Hand over what each has said."""
        while out := self.h2.data_to_send():
            self.fed.data(out)
            came, self.fed.sent = self.fed.sent, b""
            self.seen += self.h2.receive_data(came)

    def ask(self, stream: int) -> None:
        """The relay asks an upstream."""
        self.fed.feed(RequestHeaders(stream, tflow.treq(http_version=b"HTTP/2.0", authority=b"h"), True))
        self.fed.feed(RequestEndOfMessage(stream))
        came, self.fed.sent = self.fed.sent, b""
        self.seen += self.h2.receive_data(came)
        self.talk()


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Peer:
    for name in ("drop", "unsent"):
        monkeypatch.setattr(f"claude_relay.proxy.mitm.http2.{name}", lambda *_: 0)
    monkeypatch.setattr("claude_relay.proxy.mitm.http2.socket_of", lambda _: None)
    connection = Http2Client(surroundings())
    adopt(connection, 1.0)
    return Peer(Fed(connection), client=False)


@pytest.fixture
def client() -> Peer:
    connection = Http2Server(surroundings())
    adopt_client(connection)
    return Peer(Fed(connection), client=True)


def answered(peer: Peer, stream: int, status: str = "200") -> None:
    peer.h2.send_headers(stream, [(":status", status)])
    peer.h2.send_data(stream, b"{}", end_stream=True)
    peer.talk()


def test_an_answer_after_interim_ones(upstream: Peer) -> None:
    upstream.ask(1)
    upstream.h2.send_headers(1, [(":status", "103")])
    upstream.talk()
    assert upstream.fed.kinds == []
    answered(upstream, 1)
    assert upstream.fed.kinds == ["ResponseHeaders", "ResponseData", "ResponseEndOfMessage"]


def test_a_refused_stream_was_not_answered_and_the_connection_gets_no_more(upstream: Peer) -> None:
    upstream.ask(1)
    upstream.h2.reset_stream(1, h2.errors.ErrorCodes.REFUSED_STREAM)
    upstream.talk()
    assert [type(event) for event in upstream.fed.heard] == [Unanswered]
    assert not upstream.fed.layer.usable  # type: ignore[attr-defined]
    assert upstream.fed.closed


def test_a_reset_after_an_interim_answer_is_an_answer(upstream: Peer) -> None:
    upstream.ask(1)
    upstream.h2.send_headers(1, [(":status", "103")])
    upstream.h2.reset_stream(1, h2.errors.ErrorCodes.REFUSED_STREAM)
    upstream.talk()
    assert upstream.fed.kinds == ["ResponseProtocolError"]


def test_streams_before_the_last_one_may_end_when_the_peer_goes_away(upstream: Peer) -> None:
    upstream.ask(1)
    upstream.ask(3)
    upstream.h2.close_connection(last_stream_id=1)
    frame, upstream.h2 = upstream.h2.data_to_send(), upstream.h2
    upstream.fed.data(frame)
    assert [(type(event), event.stream_id) for event in upstream.fed.heard] == [(Unanswered, 3)]
    assert not upstream.fed.layer.usable  # type: ignore[attr-defined]
    assert not upstream.fed.closed


def test_an_upstreams_head_that_is_too_large(upstream: Peer) -> None:
    upstream.ask(1)
    upstream.h2.send_headers(1, [(":status", "200"), *((f"x-{n}", "y") for n in range(BOUNDS.bounds.fields + 1))])
    upstream.talk()
    assert [type(event) for event in upstream.fed.heard] == [Garbled]


def test_a_clients_request_and_an_answer_that_comes_early(client: Peer) -> None:
    client.h2.send_headers(1, HEAD, end_stream=True)
    client.talk()
    assert client.fed.kinds == ["RequestHeaders", "RequestEndOfMessage"]


def test_a_clients_head_that_is_too_large_is_answered(client: Peer) -> None:
    client.h2.send_headers(1, [*HEAD, *((f"x-{n}", "y") for n in range(BOUNDS.bounds.fields + 1))])
    client.talk()
    (head,) = [event for event in client.seen if isinstance(event, h2.events.ResponseReceived)]
    assert dict(head.headers or ())[b":status"] == b"431"
    assert client.fed.closed
    assert client.fed.kinds == []


def test_a_flood_ends_the_connection(client: Peer) -> None:
    for _ in range(int(MOST) + 500):
        client.h2.ping(b"01234567")
    flood = client.h2.data_to_send()
    client.fed.data(flood)
    assert client.fed.closed
    seen = client.h2.receive_data(client.fed.sent)
    (end,) = [event for event in seen if isinstance(event, h2.events.ConnectionTerminated)]
    assert end.error_code is h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
