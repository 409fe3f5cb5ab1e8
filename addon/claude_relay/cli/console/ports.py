"""Can the relay listen where the configuration says? Asked before it starts, because mitmproxy's own answer names no remedy."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

from claude_relay.core.config import Address, Config

REASONS = {
    errno.EADDRINUSE: "another program listens there (a relay that runs already?); end it",
    errno.EADDRNOTAVAIL: "this machine has no such address; use 127.0.0.1",
    errno.EACCES: "ports below 1024 need an administrator's rights; use a higher one",
}


def listeners(config: Config) -> Iterator[tuple[str, Address]]:
    """The name in relay.yaml and the address of each listener that is on."""
    for name in ("proxy", "base_url"):
        address: Address | None = getattr(config.listen, name)
        if address is not None:
            yield name, address


def why_not(address: Address) -> str | None:
    """What keeps a program from listening there, or None. Tries it for a moment."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, place in found:
            _bind(family, kind, protocol, place)
    except socket.gaierror:
        return "no such host name; use 127.0.0.1"
    except OSError as error:
        return REASONS.get(error.errno or 0, str(error.strerror))
    return None


def _bind(family: int, kind: int, protocol: int, place: object) -> None:
    with socket.socket(family, kind, protocol) as sock:
        if os.name == "posix":  # as asyncio does; elsewhere the flag would let two programs share the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(place)  # type: ignore[arg-type]
