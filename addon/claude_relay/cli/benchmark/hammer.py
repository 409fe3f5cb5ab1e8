"""Keep-alive connections that send request after request, as fast as they are answered."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

from . import traffic
from .orders import Hammer, Hammered

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NO_LIMIT: Final = 2**62
GRACE: Final = 15.0
"""Seconds that answers may take after the last request was sent."""


class Run:
    """What the connections of one order share."""

    def __init__(self, order: Hammer) -> None:
        self.latencies: list[int] = []
        self.bad: Counter[str] = Counter()
        self.left = order.count or NO_LIMIT
        self.begun = time.perf_counter()
        self.until = self.begun + order.seconds

    def may_send(self) -> bool:
        """Whether one more request is to be sent; counts it."""
        if self.left <= 0 or time.perf_counter() >= self.until:
            return False
        self.left -= 1
        return True


class Connection(asyncio.Protocol):
    """One request at a time."""

    transport: asyncio.Transport

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.run: Run | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.received = b""
        self.missing = 0
        self.sent_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `start`."""
        self.transport = cast(asyncio.Transport, transport)

    def start(self, run: Run) -> None:
        """Send the first request."""
        self.run = run
        self.next()

    def next(self) -> None:
        """The next request, or the end."""
        assert self.run is not None
        if self.run.may_send():
            self.sent_at = time.perf_counter_ns()
            self.transport.write(self.request)
        else:
            self.finish()

    def data_received(self, data: bytes) -> None:
        """Count down to the last byte of the answer."""
        if self.missing:
            self.missing -= len(data)
        else:
            self.received += data
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = LENGTH.search(self.received, 0, end)
            if length is None or not self.received.startswith(b"HTTP/1.1 200"):
                self.fail(self.received.partition(b"\r\n")[0].decode("latin-1"))
                return
            self.missing = end + 4 + int(length[1]) - len(self.received)
        if self.missing <= 0:
            self.answered()

    def answered(self) -> None:
        """The answer is whole."""
        assert self.run is not None
        self.run.latencies.append((time.perf_counter_ns() - self.sent_at) // 1000)
        self.received, self.missing = b"", 0
        self.next()

    def fail(self, why: str) -> None:
        """Something else than an answer came."""
        assert self.run is not None
        self.run.bad[why] += 1
        self.finish()

    def connection_lost(self, exc: Exception | None) -> None:
        """The target closed the connection, or we did."""
        if not self.done.done() and self.run is not None:
            self.fail(f"connection lost: {exc}")

    def finish(self) -> None:
        """No more requests on this connection."""
        if not self.done.done():
            self.done.set_result(None)
        self.transport.close()


async def run(order: Hammer) -> Hammered:
    """Connect, then begin on all connections at once."""
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(_factory(order, n), "127.0.0.1", order.port))[1] for n in range(order.connections)
    ]
    shared = Run(order)
    for connection in connections:
        connection.start(shared)
    _, pending = await asyncio.wait([c.done for c in connections], timeout=order.seconds + GRACE)
    if pending:
        shared.bad["no answer"] += len(pending)
    return Hammered(time.perf_counter() - shared.begun, shared.latencies, dict(shared.bad))


def _factory(order: Hammer, client: int) -> Callable[[], Connection]:
    request = traffic.request(order.port, order.size, client=client)
    return lambda: Connection(request)
