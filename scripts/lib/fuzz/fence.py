"""Runs inside the relay's process, before anything else: it reaches the fuzzer's own ports on this machine and nothing more.

Mutated input names hosts that somebody may have.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection
from typing import Any

CONNECT, RESOLVE = socket.socket.connect, socket.getaddrinfo


def fence(ports: Collection[int]) -> None:
    """From now on."""

    def allowed(sock: socket.socket, address: Any) -> bool:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return True
        host = str(address[0])
        return (host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")) and address[1] in ports

    def connect(sock: socket.socket, address: Any) -> None:
        if not allowed(sock, address):
            raise ConnectionRefusedError(errno.ECONNREFUSED, "outside of the fence")
        CONNECT(sock, address)

    def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        if host not in (None, "", "localhost", b"localhost"):
            flags |= socket.AI_NUMERICHOST
        return RESOLVE(host, port, family, type, proto, flags)

    socket.socket.connect = connect  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = getaddrinfo
