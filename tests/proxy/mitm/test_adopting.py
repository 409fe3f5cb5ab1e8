"""mitmproxy's connections become the relay's, once, and only those that it knows."""

from __future__ import annotations

from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server

from claude_relay.proxy.mitm.adopting import adopt, adopt_client, client_of
from claude_relay.proxy.mitm.connections import Http1
from claude_relay.proxy.mitm.flood import Toll
from claude_relay.proxy.mitm.heads import Frames
from claude_relay.proxy.mitm.http1 import Http1OfClients
from claude_relay.proxy.mitm.http2 import Http2, Http2OfClients

from .layers import surroundings


def test_clients() -> None:
    for theirs, ours in ((Http1Server, Http1OfClients), (Http2Server, Http2OfClients)):
        connection = theirs(surroundings())
        adopt_client(connection)
        assert type(connection) is ours
        assert isinstance(connection.toll, Toll)
    assert isinstance(connection.h2_conn.incoming_buffer, Frames)
    adopt_client(None)
    other = layer.NextLayer(surroundings())
    adopt_client(other)
    assert type(other) is layer.NextLayer


def test_upstreams_also_behind_other_layers() -> None:
    for theirs, ours in ((Http1Client, Http1), (Http2Client, Http2)):
        around = surroundings()
        outer = layer.NextLayer(around)
        outer.child_layer = theirs(around)  # type: ignore[attr-defined]
        assert client_of(outer) is None
        adopt(outer, 7.0)
        found = client_of(outer)
        assert type(found) is ours
        assert found.opened_at == 7.0
        adopt(outer, 9.0)  # is the relay's already
        assert found.opened_at == 7.0
    assert client_of(None) is None
