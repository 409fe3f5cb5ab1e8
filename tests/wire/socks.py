"""SOCKS5 proxies: microsocks, which others wrote, and a hostile one of ours.

with microsocks() as proxy: …
with microsocks(user="me", password="pass") as proxy: proxy.url, proxy.url_for("me", "pass")
with hostile(b"\\x05", hangs_up=True) as proxy: …
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest

from waiting import PATIENCE

from .relay import free_ports

GREETED = b"\x05\x00"
CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"


@dataclass
class Socks:
    """One that runs. `asked`: what clients have said so far, where it is one of ours."""

    port: int
    asked: list[bytes] = field(default_factory=list)
    connections: int = 0
    kind: str = "socks5"

    @property
    def url(self) -> str:
        return f"{self.kind}://127.0.0.1:{self.port}"

    def url_for(self, user: str, password: str, scheme: str = "socks5") -> str:
        return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@127.0.0.1:{self.port}"


@contextmanager
def microsocks(user: str = "", password: str = "") -> Iterator[Socks]:
    """A real one. It looks names up by itself, and leads to this machine's ports."""
    program = shutil.which("microsocks")
    if program is None:
        pytest.fail("microsocks is not installed: apt-get install microsocks")
    [port] = free_ports(1)
    signed = ["-u", user, "-P", password] if user else []
    process = subprocess.Popen(
        [program, "-i", "127.0.0.1", "-p", str(port), *signed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _until_open(port, process)
        yield Socks(port)
    finally:
        process.kill()
        process.wait(PATIENCE)


def _until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
            return
        except OSError:
            assert process.poll() is None, "microsocks has ended"
            assert time.monotonic() < end, "microsocks does not listen"
            time.sleep(0.01)


@contextmanager
def hostile(
    *says: bytes, hangs_up: bool = False, then: Callable[[socket.socket], None] | None = None
) -> Iterator[Socks]:
    """Says one piece after each thing that it hears, then keeps silent, hangs up, or does what `then` does."""
    listener = socket.create_server(("127.0.0.1", 0))
    sockets: list[socket.socket] = []
    found = Socks(listener.getsockname()[1])

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            for piece in says:
                if not (heard := client.recv(65536)):
                    return
                found.asked.append(heard)
                if piece:
                    client.sendall(piece)
            if then is not None:
                then(client)
            elif not hangs_up:
                while client.recv(65536):
                    pass
            client.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                sockets.append(client)
                found.connections += 1
                threads.append(thread := threading.Thread(target=serve, args=(client,), daemon=True))
                thread.start()

    threads = [threading.Thread(target=accept, daemon=True)]
    threads[0].start()
    try:
        yield found
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        threads[0].join(PATIENCE)  # from then on nobody comes
        listener.close()
        for client in sockets:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(PATIENCE)
