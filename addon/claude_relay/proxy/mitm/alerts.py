"""What a provider says of TLS after the handshake, as TLS 1.3 has it where it refuses the relay's certificate or wants one.

    receive_data      in the place of mitmproxy's, which writes it to the log, and then does not tell of the connection's end either
    alert_of(conn)    what it said of a connection, for who wants to know why there is no answer; empty: nothing

It must not know requests.
"""

from __future__ import annotations

from typing import Any, Final

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.tls import ServerTLSLayer, TLSLayer

from claude_relay.core.tls_alerts import meaning

from .connections import Commands

RECEIVE_DATA: Final = TLSLayer.receive_data
LOGGED: Final = "TLS Error: "
"""What mitmproxy's line in the log begins with."""
MARK: Final = "TLS alert: "


def receive_data(layer: ServerTLSLayer, data: bytes) -> Commands[None]:
    """Plaintext of a connection to an upstream or a proxy, and its end."""
    found, reply, alert = RECEIVE_DATA(layer, data), None, ""
    while True:
        try:
            command: Any = found.send(reply)
        except StopIteration:
            break
        if isinstance(command, commands.Log) and command.message.startswith(LOGGED):
            alert = command.message.removeprefix(LOGGED)
        reply = yield command
    if alert:
        layer.conn.error = MARK + meaning(alert)
        layer.conn.state &= ~ConnectionState.CAN_READ
        yield from layer.event_to_child(events.ConnectionClosed(layer.conn))


def alert_of(connection: Connection) -> str:
    """What its peer said of TLS, if that ended it."""
    error = connection.error or ""
    return error.removeprefix(MARK) if error.startswith(MARK) else ""
