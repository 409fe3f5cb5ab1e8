"""mitmproxy's layers by themselves: a client's connection and one to an upstream, fed with bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from mitmproxy import options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Client, ConnectionState, Server
from mitmproxy.proxy import commands, context, events
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode
from mitmproxy.proxy.layers.http._base import HttpConnection, ReceiveHttp


def surroundings() -> context.Context:
    """As mitmproxy makes them for a connection whose client speaks HTTP."""
    client = Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=time.time())
    client.state = ConnectionState.OPEN
    opts = options.Options()
    Proxyserver().load(opts)  # type: ignore[arg-type]
    found = context.Context(client, opts)
    found.server = Server(address=("127.0.0.1", 3))
    found.server.state = ConnectionState.OPEN
    HttpLayer(found, HTTPMode.regular)
    return found


class Fed:
    """A connection's layer, and what came of what it was fed."""

    def __init__(self, layer: HttpConnection) -> None:
        self.layer = layer
        self.sent = b""
        self.heard: list[Any] = []
        self.closed = False
        self.wakeups: list[commands.RequestWakeup] = []
        self.feed(events.Start())

    def data(self, data: bytes) -> None:
        self.feed(events.DataReceived(self.layer.conn, data))

    def feed(self, event: Any) -> None:
        self.feed_all(self.layer.handle_event(event))

    def feed_all(self, found: Iterable[commands.Command]) -> None:
        for command in found:
            if isinstance(command, commands.SendData):
                self.sent += command.data
            elif isinstance(command, ReceiveHttp):
                self.heard.append(command.event)
            elif isinstance(command, commands.CloseConnection):
                self.closed = True
            elif isinstance(command, commands.RequestWakeup):
                self.wakeups.append(command)

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.heard]
