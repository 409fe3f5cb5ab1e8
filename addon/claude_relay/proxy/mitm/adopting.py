"""Turns the connections that mitmproxy has made into those of ours."""

from __future__ import annotations

from typing import Any

from hyperframe.frame import GoAwayFrame
from mitmproxy.proxy import layer
from mitmproxy.proxy.layers.http._http1 import Http1Client, Http1Server
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server

from .connections import Http1
from .heads import bound
from .http1 import Http1OfClients
from .http2 import Http2, Http2OfClients, received_goaway


def adopt_client(connection: layer.Layer | None) -> None:
    """Turn the server that mitmproxy has made for a client's connection into one of these."""
    if type(connection) is Http2Server:
        connection.__class__ = Http2OfClients
        bound(connection.h2_conn)
    elif type(connection) is Http1Server:
        connection.__class__ = Http1OfClients
        connection.state = connection.read_headers
    if isinstance(connection, (Http1OfClients, Http2OfClients)):
        connection.count_what_comes()


def adopt(connection: layer.Layer, now: float) -> None:
    """Turn the client that mitmproxy has made for a connection into one of these. `connection`: the first of its layers."""
    client: Any = connection
    while client is not None and type(client) not in _ADOPTED:
        client = getattr(client, "child_layer", None)
    if client is not None:
        client.__class__ = _ADOPTED[type(client)]
        client.opened_at = now
        client.count_what_comes()
    if isinstance(client, Http1):
        client.state = client.read_headers
    elif isinstance(client, Http2):
        client.answering = set()
        client.h2_conn._frame_dispatch_table[GoAwayFrame] = received_goaway
        bound(client.h2_conn)


_ADOPTED: dict[type, type[Http1 | Http2]] = {Http1Client: Http1, Http2Client: Http2}


def client_of(connection: layer.Layer | None) -> Http1 | Http2 | None:
    """The client at the end of a connection's layers; None while it is being opened."""
    client: Any = connection
    while client is not None and not isinstance(client, (Http1, Http2)):
        client = getattr(client, "child_layer", None)
    return client
