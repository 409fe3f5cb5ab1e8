"""The crowd: a process that holds connections to a target which want nothing, and some that read their stream as good as never.

    python -m benchmark.crowd PORT IDLE SLOW         prints `ready` when all are in place; ends, and they with it, when its input does

Idle connections have each sent one request and read its answer, as a client between two turns has. Slow readers have asked for a long
stream, with the smallest buffers there are, and read a few bytes a second.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Final

from . import traffic

AT_ONCE: Final = 50
"""Connections that are made side by side."""
SIP: Final = 64
"""Bytes that a slow reader takes a second."""
STREAM: Final = "events=3600 rate=1"
END_OF_HEAD: Final = b"\r\n\r\n"


async def idle(port: int, n: int) -> socket.socket:
    """One that has had its answer."""
    sock = await connected(port)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, traffic.request(port, 600, client=n % 1000))
    received = b""
    while not whole(received):
        received += await some(sock, 65536)
    return sock


def whole(received: bytes) -> bool:
    """Whether an answer with a length is there."""
    head, end, body = received.partition(END_OF_HEAD)
    if not end:
        return False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(body) >= int(fields[b"content-length"])


async def slow(port: int, n: int) -> socket.socket:
    """One whose stream has begun."""
    sock = await connected(port, small=True)
    request = traffic.request(port, 600, stream=True, order=STREAM, client=n)
    await asyncio.get_running_loop().sock_sendall(sock, request)
    await some(sock, SIP)
    return sock


async def connected(port: int, *, small: bool = False) -> socket.socket:
    """A connection; `small`: that takes as little in advance as the system allows."""
    sock = socket.socket()
    sock.setblocking(False)
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def some(sock: socket.socket, most: int) -> bytes:
    """What there is. Raises ConnectionError at the end."""
    data = await asyncio.get_running_loop().sock_recv(sock, most)
    if not data:
        raise ConnectionError("the target closed a connection of the crowd")
    return data


async def sip(readers: list[socket.socket]) -> None:
    """Now and then a few bytes."""
    while True:
        await asyncio.sleep(1.0)
        for sock in readers:
            try:
                sock.recv(SIP)
            except BlockingIOError:
                continue


async def gather(port: int, count: int, slow_ones: int) -> tuple[list[socket.socket], list[socket.socket]]:
    """All of them, some at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(n: int) -> socket.socket:
        async with turns:
            return await (idle(port, n) if n < count else slow(port, n))

    found = await asyncio.gather(*map(one, range(count + slow_ones)))
    return found[:count], found[count:]


async def hold(port: int, count: int, slow_ones: int) -> None:
    """Until standard input ends."""
    idle_ones, readers = await gather(port, count, slow_ones)
    sipping = asyncio.create_task(sip(readers))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sipping.cancel()
    for sock in (*idle_ones, *readers):
        sock.close()


if __name__ == "__main__":
    asyncio.run(hold(*map(int, sys.argv[1:4])))
