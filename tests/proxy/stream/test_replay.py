"""A tunnel through the proxy: what the layers inside of it hear of its ends."""

from __future__ import annotations

import time

import pytest
from mitmproxy import options
from mitmproxy.connection import Client
from mitmproxy.proxy import context, events
from mitmproxy.proxy.layers.http import ErrorCode, RequestProtocolError, ResponseProtocolError
from mitmproxy.proxy.layers.tcp import TCPLayer
from mitmproxy.test import tflow

from claude_relay.proxy.stream.replay import RelayStream


@pytest.mark.parametrize("kind", [RequestProtocolError, ResponseProtocolError])
def test_an_end_is_one_of_a_connection(kind: type[RequestProtocolError | ResponseProtocolError]) -> None:
    """A client that left while the tunnel's host was looked for in vain: the layer inside is done and knows nothing of HTTP."""
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=time.time())
    found = context.Context(client, options.Options())
    stream = RelayStream(found, 1)
    stream.flow = tflow.tflow(resp=True)
    stream.child_layer = inside = TCPLayer(found)
    inside._handle_event = inside.done  # type: ignore[method-assign]
    assert list(stream.passthrough(kind(1, "disconnected", ErrorCode.CLIENT_DISCONNECTED))) == []
    with pytest.raises(AssertionError, match="Unexpected event type"):
        list(inside.handle_event(kind(1, "disconnected", ErrorCode.CLIENT_DISCONNECTED)))
    assert list(inside.handle_event(events.ConnectionClosed(client))) == []
