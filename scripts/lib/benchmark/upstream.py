"""The made-up Claude with orders in a header; it must be many times faster than what is measured in front of it.

    POST …                                   a whole message
    x-bench: events=200 rate=20              a stream; each event of text carries the time at which it was sent
    x-bench: faults                          now and then an error, a cut, a stall (`faults`)
    GET /count                               how many requests have come in

A process: prints its port, ends when its standard input does. Reading requests is `cli/fake/server`'s; what is always the same is made
into bytes once.
"""

from __future__ import annotations

import asyncio
import random
import re
import sys
import time
from typing import Final

from claude_relay.cli.fake import messages
from claude_relay.cli.fake.answers import FAULTS, streamed, whole
from claude_relay.cli.fake.server import LAST_CHUNK, Connection, Open, chunk, listen, whole_bytes

from . import faults, traffic

ORDER: Final = re.compile(rb"\r\nx-bench: *([^\r]*)", re.IGNORECASE)
STREAM: Final = re.compile(rb"events=(\d+) rate=([\d.]+)")
WOBBLE: Final = 0.25
"""Events come up to so much of their distance early or late, as those of many independent streams do."""

MESSAGE: Final = whole_bytes(whole(messages.message(traffic.LINE * 4)))
TOKENS: Final = whole_bytes(whole({"input_tokens": 2095}))
OPENING: Final = whole_bytes(streamed([messages.start(), messages.PING, messages.BLOCK_START])).removesuffix(LAST_CHUNK)
CLOSING: Final = chunk(messages.BLOCK_STOP + messages.message_delta() + messages.STOP) + LAST_CHUNK
chance = random.Random(7)
opened: set[Open] = set()


class Asked(Connection):
    """A connection that does what the request's order says."""

    count = 0
    """Requests that have come in, over all connections."""

    def request_received(self, head: bytes, body: bytes) -> None:
        """Answer."""
        if head.startswith(b"GET /count"):
            self.say(whole(Asked.count))
            return
        Asked.count += 1
        order = ORDER.search(head)
        if order is not None and order[1] == b"faults" and (fault := faults.choose(head, chance.random())):
            self.say(FAULTS[fault])
        elif order is not None and (stream := STREAM.match(order[1])):
            self.begin_stream(int(stream[1]), float(stream[2]))
        elif b'"stream":true' in body:
            self.begin_stream(8, 100.0)
        else:
            self.transport.write(TOKENS if b"count_tokens" in head else MESSAGE)

    def begin_stream(self, events: int, rate: float) -> None:
        """Start at once; the rest follows by the clock."""
        now = time.monotonic()
        self.transport.write(OPENING + stamped())
        self.plan(events - 1, now, 1 / rate)

    def plan(self, left: int, last: float, period: float) -> None:
        """The next event, or the end."""
        due = last + period
        wobble = period * WOBBLE * (2 * chance.random() - 1)
        self.later(due + wobble - time.monotonic(), self.go_on, left, due, period)

    def go_on(self, left: int, due: float, period: float) -> None:
        """Send what is due."""
        if left > 0:
            self.transport.write(stamped())
            self.plan(left - 1, due, period)
        else:
            self.transport.write(CLOSING)


def stamped() -> bytes:
    """An event of text that carries the time of now (`traffic.SENT`)."""
    return chunk(messages.delta(f"a few words, sent={time.monotonic_ns()}; "))


async def serve() -> None:
    """Listen until standard input ends."""
    server, port = await listen(lambda: Asked(opened))
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
