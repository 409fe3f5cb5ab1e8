"""A client's HTTP/1 connection, fed with bytes: bounds of heads, answers that leave early, floods."""

from __future__ import annotations

import time

import pytest
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import ResponseData, ResponseEndOfMessage, ResponseHeaders
from mitmproxy.proxy.layers.http._http1 import Http1Server

from claude_relay.proxy.mitm import shortcuts
from claude_relay.proxy.mitm.adopting import adopt_client
from claude_relay.proxy.mitm.flood import MOST, OF_TINY
from claude_relay.proxy.mitm.heads import BOUNDS
from claude_relay.proxy.mitm.http1 import AHEAD, UNWANTED

from .layers import Fed, surroundings

POST = b"POST http://h/ HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
BODY_KINDS = ["RequestHeaders", "RequestData", "RequestEndOfMessage"]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Fed:
    """A connection of a client's, with the relay's buffer."""
    monkeypatch.setattr("mitmproxy.proxy.layers.http._http1.ReceiveBuffer", shortcuts.Buffer)
    found = Fed(Http1Server(surroundings()))
    adopt_client(found.layer)
    return found


def answer(client: Fed, status: int = 200) -> None:
    head = http.Response.make(status, b"", {"content-length": "2"})
    for event in (ResponseHeaders(client.layer.stream_id, head), ResponseData(client.layer.stream_id, b"OK")):
        client.feed(event)
    client.feed(ResponseEndOfMessage(client.layer.stream_id))


def test_a_request_in_single_bytes_after_empty_lines(client: Fed) -> None:
    for byte in b"\r\n\r\n" + POST % 1 + b"x":
        client.data(bytes([byte]))
    assert client.kinds == BODY_KINDS
    answer(client)
    assert b"HTTP/1.1 200 OK" in client.sent
    assert not client.closed


def test_a_head_that_is_too_long_is_answered_and_what_follows_thrown_away(client: Fed) -> None:
    client.data(b"GET / HTTP/1.1\r\na: " + b"x" * BOUNDS.bounds.head)
    assert client.sent.startswith(b"HTTP/1.1 431 ")
    assert b'"type":"error"' in client.sent.replace(b" ", b"")
    assert b"connection: close" in client.sent.lower()
    client.data(b"x" * UNWANTED)
    assert client.closed
    assert client.heard == []


def test_a_head_that_does_not_come_in_time(client: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    client.feed_all(client.layer.begin())  # type: ignore[attr-defined]
    client.data(b"GET / HT")
    (alarm,) = client.wakeups
    client.feed(events.Wakeup(alarm))  # too early: it is set again
    assert client.sent == b""
    now += BOUNDS.bounds.head_time + 1
    client.feed(events.Wakeup(client.wakeups[-1]))
    assert client.sent.startswith(b"HTTP/1.1 408 ")


def test_an_answer_that_does_not_wait_for_the_body_is_the_last(client: Fed) -> None:
    client.data(POST % 1000 + b"x")
    answer(client, 413)
    assert b"connection: close" in client.sent.lower()
    client.data(b"x" * 999)  # nobody wants it, and no reset hits the answer
    assert client.kinds == BODY_KINDS[:2]
    client.layer.conn.state = ConnectionState.CLOSED
    client.feed(events.ConnectionClosed(client.layer.conn))
    assert client.closed


def test_who_sends_far_ahead_is_hung_up_on(client: Fed) -> None:
    client.data(POST % 0)
    client.data(b"x" * (AHEAD + 1))
    assert client.closed
    assert client.kinds[-1] == "RequestProtocolError"


def test_a_flood_of_tiny_chunks_ends(client: Fed) -> None:
    client.data(b"POST http://h/ HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
    client.data(b"1\r\nx\r\n" * int(1.2 * MOST / OF_TINY))
    assert client.closed
    assert client.kinds[-1] == "RequestProtocolError"


def test_a_chunk_whose_line_does_not_end(client: Fed) -> None:
    client.data(b"POST http://h/ HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5;" + b"x" * 2000)
    assert client.sent.startswith(b"HTTP/1.1 431 ")
    assert client.kinds[-1] == "RequestProtocolError"
