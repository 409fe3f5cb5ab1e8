"""Bytes that wait at a connection, in asyncio and on Linux in the kernel, too: what has not left this machine, and what nobody has read.

mitmproxy's layers hand bytes to a connection handler and never hear of them again; its sockets are found through the addon that owns
the handlers. It must not know requests.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

from mitmproxy import ctx
from mitmproxy.connection import Client, Connection

_LINUX = sys.platform == "linux"
_OUT = _IN = 0
if _LINUX:
    import fcntl
    import termios

    _OUT, _IN = termios.TIOCOUTQ, termios.FIONREAD


def unsent(client: Client, connection: Connection) -> int:
    """Bytes written to a connection that its peer has not got so far; on other systems than Linux, that the kernel has not taken."""
    transport = _transport(client, connection)
    return 0 if transport is None else transport.get_write_buffer_size() + _in_kernel(transport, _OUT)


def has_unsent(client: Client, connection: Connection) -> bool:
    """Whether bytes wait that not even the kernel has taken."""
    transport = _transport(client, connection)
    return transport is not None and transport.get_write_buffer_size() > 0


def unread(client: Client) -> bool:
    """Whether something has arrived from a client that nobody has read; on other systems than Linux, only what asyncio has taken counts."""
    transport = _transport(client, client)
    if transport is None:
        return False
    reader = ctx.master.addons.get("proxyserver").connections[client.id].transports[client].reader
    return getattr(reader, "held", 0) > 0 or _in_kernel(transport, _IN) > 0  # no pace is kept before the first layer


def unsent_of_all() -> int:
    """Bytes that wait in this process for any peer."""
    handlers = ctx.master.addons.get("proxyserver").connections.values()
    writers = (held.writer for handler in handlers for held in handler.transports.values())
    return sum(w.transport.get_write_buffer_size() for w in writers if isinstance(w, asyncio.StreamWriter))


def drop(client: Client, connection: Connection) -> None:
    """End a connection without sending what waits: a peer that does not read it would keep the socket for ever."""
    transport = _transport(client, connection)
    if transport is not None and transport.get_write_buffer_size() > 0:
        transport.abort()


def _transport(client: Client, connection: Connection) -> asyncio.WriteTransport | None:
    handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
    held = handler.transports.get(connection) if handler is not None else None
    writer = held.writer if held is not None else None
    return writer.transport if isinstance(writer, asyncio.StreamWriter) else None


def _in_kernel(transport: asyncio.WriteTransport, which: int) -> int:
    """Bytes that the kernel holds: `_OUT`, not sent or not acknowledged; `_IN`, not read."""
    sock = transport.get_extra_info("socket")
    if not _LINUX or sock is None or sock.family == getattr(socket, "AF_UNIX", None):
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), which, bytes(4)))[0])
    except (OSError, ValueError):  # closed meanwhile
        return 0
