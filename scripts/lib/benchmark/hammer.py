"""Keep-alive connections that send request after request, as fast as they are answered."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, cast

from claude_relay.cli.fake.server import LAST_CHUNK

from . import traffic
from .gauges import cpu_seconds
from .orders import Hammer, Hammered

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NO_LIMIT: Final = 2**62
GRACE: Final = 15.0
"""Seconds that answers may take after the last request was sent."""


class Run:
    """What the connections share while they send `count` requests, or as many as begin within so many seconds."""

    def __init__(self, seconds: float, count: int, bad: Counter[str]) -> None:
        self.latencies: list[int] = []
        self.bad = bad
        self.left = count
        self.begun = time.perf_counter()
        self.until = self.begun + seconds

    def may_send(self) -> bool:
        """Whether one more request is to be sent; counts it."""
        if self.left <= 0 or time.perf_counter() >= self.until:
            return False
        self.left -= 1
        return True


class Connection(asyncio.Protocol):
    """One request at a time, the given ones in turn."""

    transport: asyncio.Transport

    def __init__(self, requests: Sequence[bytes], *, stream: bool) -> None:
        self.requests, self.stream = itertools.cycle(requests), stream
        self.run: Run | None = None
        self.done: asyncio.Future[None] | None = None
        self.received = b""
        self.missing = 0
        self.sent_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `start`."""
        self.transport = cast(asyncio.Transport, transport)

    def start(self, run: Run) -> asyncio.Future[None]:
        """Send the first request; the future is done when there are no more to send."""
        self.run = run
        self.done = asyncio.get_running_loop().create_future()
        self.next()
        return self.done

    def next(self) -> None:
        """The next request, or the end."""
        assert self.run is not None
        if self.run.may_send():
            self.sent_at = time.perf_counter_ns()
            self.transport.write(next(self.requests))
        else:
            self.finish()

    def data_received(self, data: bytes) -> None:
        """Count down to the last byte of the answer."""
        if self.stream:
            self.stream_received(data)
            return
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

    def stream_received(self, data: bytes) -> None:
        """Until its last chunk."""
        self.received += data
        if not self.received.startswith(b"HTTP/1.1 200"[: len(self.received)]):
            self.fail(self.received.partition(b"\r\n")[0].decode("latin-1"))
        elif data.endswith(LAST_CHUNK):
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
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The target closed the connection, or we did."""
        if self.done is not None and not self.done.done():
            self.fail(f"connection lost: {exc}")

    def finish(self) -> None:
        """No more requests for now."""
        if self.done is not None and not self.done.done():
            self.done.set_result(None)


async def run(order: Hammer) -> Hammered:
    """Connect, send one request on each connection that does not count, then begin on all at once.

    The first request of a connection is another matter: some targets connect to the upstream when it comes, others before.
    """
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(_factory(order, n), "127.0.0.1", order.port))[1] for n in range(order.connections)
    ]
    bad: Counter[str] = Counter()
    if not order.count:
        for connection in connections:
            await send(Run(GRACE, 1, bad), [connection])
    before = cpu_seconds(order.pid)
    measured = Run(order.seconds, order.count or NO_LIMIT, bad)
    await send(measured, connections)
    seconds, cpu = time.perf_counter() - measured.begun, cpu_seconds(order.pid) - before
    for connection in connections:
        connection.transport.close()
    return Hammered(seconds, cpu, measured.latencies, dict(bad))


async def send(run: Run, connections: Sequence[Connection]) -> None:
    """Have the connections send until the run is over and all answers are there."""
    open_ones = [connection for connection in connections if not connection.transport.is_closing()]
    waiting = [connection.start(run) for connection in open_ones]
    if not waiting:
        return
    _, pending = await asyncio.wait(waiting, timeout=max(0.0, run.until - time.perf_counter()) + GRACE)
    if pending:
        run.bad["no answer"] += len(pending)


def _factory(order: Hammer, client: int) -> Callable[[], Connection]:
    stream = bool(order.stream)
    request = traffic.request(order.port, order.size, stream=stream, order=order.stream, client=client)
    usual = traffic.CLIENT_KEY.encode()
    own = order.keys[client :: order.connections]
    requests = [request.replace(usual, key.encode(), 1) for key in own] or [request]
    return lambda: Connection(requests, stream=stream)
