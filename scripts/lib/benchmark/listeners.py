"""Streams side by side; the events carry the time at which they were sent, by the clock that all processes of a machine share."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import cast

from claude_relay.cli.fake.server import LAST_CHUNK

from . import traffic
from .gauges import cpu_seconds
from .orders import Listen, Listened

GRACE = 15.0
"""Seconds that the streams may take longer than they should."""
SETTLING = 0.5
"""Seconds between connecting and the first stream: what a target does with new connections is not what is measured."""
SIZE = 20_000
"""Bytes of a request's body."""


class Run:
    """What the streams of one order share. Times in microseconds."""

    def __init__(self) -> None:
        self.delays: list[int] = []
        self.firsts: list[int] = []
        self.bad: Counter[str] = Counter()


class Stream(asyncio.Protocol):
    """One stream."""

    transport: asyncio.Transport

    def __init__(self, request: bytes, run: Run, events: int) -> None:
        self.request = request
        self.run = run
        self.missing = events
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rest = b""
        self.sent_at: int | None = None
        self.is_first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `start`."""
        self.transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        """Send the request."""
        self.sent_at = time.monotonic_ns()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        """Note the age of every event in it."""
        now = time.monotonic_ns()
        assert self.sent_at is not None
        seen, data = 0, self.rest + data
        for stamp in traffic.SENT.finditer(data):
            seen = stamp.end()
            self.missing -= 1
            self.run.delays.append((now - int(stamp[1])) // 1000)
            if self.is_first:
                self.is_first = False
                self.run.firsts.append((now - self.sent_at) // 1000)
        self.rest = data[seen:][-64:]
        if data.endswith(LAST_CHUNK):
            self.finish("" if not self.missing else "an incomplete stream")

    def connection_lost(self, exc: Exception | None) -> None:
        """The target closed the connection, or we did."""
        self.finish(f"connection lost: {exc}")

    def finish(self, why: str) -> None:
        """The stream is over; `why`: what was wrong with it."""
        if not self.done.done():
            self.done.set_result(None)
            if why:
                self.run.bad[why] += 1
        self.transport.close()


async def run(order: Listen) -> Listened:
    """Connect, then begin the streams one after the other."""
    loop = asyncio.get_running_loop()
    shared = Run()
    what = f"events={order.events} rate={order.rate}"
    streams: list[Stream] = []
    for n in range(order.streams):
        request = traffic.request(order.port, SIZE, stream=True, order=what, client=n)
        stream = Stream(request, shared, order.events)
        await loop.create_connection(lambda stream=stream: stream, "127.0.0.1", order.port)  # type: ignore[misc]
        streams.append(stream)
    await asyncio.sleep(SETTLING)
    before, begun = cpu_seconds(order.pid), time.monotonic()
    for n, stream in enumerate(streams):
        await asyncio.sleep(max(0.0, begun + order.spread * n / order.streams - time.monotonic()))
        stream.start()
    _, pending = await asyncio.wait([s.done for s in streams], timeout=order.events / order.rate + GRACE)
    if pending:
        shared.bad["an unfinished stream"] += len(pending)
    return Listened(cpu_seconds(order.pid) - before, shared.delays, shared.firsts, dict(shared.bad))
