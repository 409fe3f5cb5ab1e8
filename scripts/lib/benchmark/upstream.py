"""A lean fake of Claude: just enough HTTP/1.1 to be many times faster than what is measured in front of it.

    POST …                                   a whole message
    x-bench: events=200 rate=20              a stream; each event of text carries the time at which it was sent
    x-bench: faults                          now and then an error, a cut, a stall (`faults`)
    GET /count                               how many requests have come in

A process: prints its port, ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sys
import time
from typing import Final, cast

from . import faults, traffic

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ORDER: Final = re.compile(rb"\r\nx-bench: *([^\r]*)", re.IGNORECASE)
STREAM: Final = re.compile(rb"events=(\d+) rate=([\d.]+)")
WOBBLE: Final = 0.25
"""Events come up to so much of their distance early or late, as those of many independent streams do."""

MESSAGE: Final = traffic.message()
TOKENS: Final = b'{"input_tokens":2095}'
JSON: Final = "application/json"
numbers = itertools.count(1)
chance = random.Random(7)


class Connection(asyncio.Protocol):
    """One connection; requests on it are answered one after the other."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.stream: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop sending."""
        if self.stream is not None:
            self.stream.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body = bytes(self.buffer[end + 4 : whole])
            del self.buffer[:whole]
            self.answer(head, body)

    def answer(self, head: bytes, body: bytes) -> None:
        """Do what the request's order says."""
        if head.startswith(b"GET /count"):
            self.write(200, b"%d" % (next(numbers) - 1))
            return
        number = next(numbers)
        order = ORDER.search(head)
        if order is not None and order[1] == b"faults":
            fault = faults.choose(head, chance.random())
            if fault is not None:
                fault(self, number)
                return
        stream = STREAM.match(order[1]) if order is not None else None
        if stream is not None:
            self.begin_stream(number, int(stream[1]), float(stream[2]))
        elif b'"stream":true' in body:
            self.begin_stream(number, 8, 100.0)
        else:
            self.write(200, TOKENS if b"count_tokens" in head else MESSAGE, number)

    def write(self, status: int, body: bytes, number: int = 0, content_type: str = JSON) -> None:
        """A whole answer."""
        self.transport.write(traffic.head(status, content_type, number, f"Content-Length: {len(body)}") + body)

    def open_stream(self, number: int, *events: bytes) -> None:
        """The head of a stream and its first events."""
        head = traffic.head(200, "text/event-stream; charset=utf-8", number, "Transfer-Encoding: chunked")
        self.transport.write(head + b"".join(traffic.chunk(event) for event in events))

    def begin_stream(self, number: int, events: int, rate: float) -> None:
        """Start at once; the rest follows by the clock."""
        self.open_stream(number, traffic.OPENING)
        now = time.monotonic()
        self.transport.write(traffic.chunk(traffic.BLOCK) + stamped())
        self.plan(events - 1, now, 1 / rate)

    def plan(self, left: int, last: float, period: float) -> None:
        """The next event, or the end."""
        due = last + period
        wobble = period * WOBBLE * (2 * chance.random() - 1)
        self.stream = asyncio.get_running_loop().call_at(due + wobble, self.go_on, left, due, period)

    def go_on(self, left: int, due: float, period: float) -> None:
        """Send what is due."""
        if left > 0:
            self.transport.write(stamped())
            self.plan(left - 1, due, period)
        else:
            self.transport.write(traffic.chunk(traffic.CLOSING) + traffic.LAST_CHUNK)


def stamped() -> bytes:
    """An event with the time of now."""
    return traffic.chunk(traffic.delta(time.monotonic_ns()))


async def serve() -> None:
    """Listen until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
