"""An HTTP/1 exchange that is given up in the middle of what it says: nothing more of it is heard."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from mitmproxy import options
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    ReceiveHttp,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseHeaders,
)
from mitmproxy.test import tflow

from claude_relay.proxy.mitm.connections import Http1

GIVEN_UP = RequestProtocolError(1, "a head that cannot be read", ErrorCode.CANCEL)


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Http1:
    """It waits for an answer."""
    monkeypatch.setattr("claude_relay.proxy.mitm.connections.drop", lambda *_: None)
    monkeypatch.setattr("claude_relay.proxy.mitm.connections.socket_of", lambda _: None)
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=time.time())
    found = context.Context(client, options.Options())
    found.server = Server(address=("127.0.0.1", 3))
    found.server.state = ConnectionState.OPEN
    http1 = Http1(found)
    list(http1.handle_event(events.Start()))
    list(http1.handle_event(RequestHeaders(1, tflow.treq(), True)))
    list(http1.handle_event(RequestEndOfMessage(1)))
    return http1


def heard(http1: Http1, event: events.Event) -> Iterator[object]:
    """What the stream is told; it gives the exchange up at the head of the answer."""
    for command in http1.handle_event(event):
        if isinstance(command, ReceiveHttp):
            yield command.event
            if isinstance(command.event, ResponseHeaders):
                closing = list(http1.handle_event(GIVEN_UP))
                assert any(isinstance(found, commands.CloseConnection) for found in closing)


@pytest.mark.parametrize(
    "framing", [b"", b"content-length: 2\r\n", b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n"]
)
@pytest.mark.parametrize("body", [b"", b"{}", b"2\r\n{}\r\n0\r\n\r\n"])
def test_nothing_is_heard_after_it(connection: Http1, framing: bytes, body: bytes) -> None:
    data = events.DataReceived(connection.conn, b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)
    assert [type(event) for event in heard(connection, data)] == [ResponseHeaders]
    assert list(heard(connection, events.DataReceived(connection.conn, b"{}"))) == []
    connection.conn.state = ConnectionState.CLOSED
    assert list(heard(connection, events.ConnectionClosed(connection.conn))) == []
