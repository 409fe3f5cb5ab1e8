"""The soak's clients: whole answers, streams, count_tokens, clients that leave; each sends when it has its answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from . import traffic
from .orders import Mix, Mixed

type Reader = asyncio.StreamReader


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request. `leaves`: the client is gone after the first piece of the answer."""

    share: float
    size: int
    path: str = traffic.MESSAGES
    stream: bool = False
    leaves: bool = False


KINDS: Final = (
    Kind(0.45, 2_048),
    Kind(0.10, 100_000),
    Kind(0.15, 4_096, traffic.COUNT_TOKENS),
    Kind(0.25, 20_000, stream=True),
    Kind(0.05, 20_000, stream=True, leaves=True),
)


@dataclass(slots=True)
class MixtureTally:
    """What became of the requests."""

    sent: int = 0
    left: int = 0
    errored: int = 0
    broken: int = 0
    hung: int = 0
    slowest: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)


class Client:
    """One client; connects anew when a connection has ended."""

    def __init__(self, order: Mix, number: int, tally: MixtureTally) -> None:
        self.order, self.number, self.tally = order, number, tally
        self.chance = random.Random(number)
        self.line: tuple[Reader, asyncio.StreamWriter] | None = None

    async def run(self, until: float) -> None:
        """Send requests until then."""
        while time.monotonic() < until:
            kind = self.chance.choices(KINDS, [kind.share for kind in KINDS])[0]
            begun = time.monotonic()
            try:
                async with asyncio.timeout(self.order.patience):
                    await self.once(kind)
            except TimeoutError:
                self.tally.hung += 1
                self.hang_up()
            except (OSError, EOFError, ValueError):
                self.tally.broken += 1
                self.hang_up()
            self.tally.slowest = max(self.tally.slowest, time.monotonic() - begun)
        self.hang_up()

    async def once(self, kind: Kind) -> None:
        """One request and its answer."""
        if self.line is None:
            self.line = await asyncio.open_connection("127.0.0.1", self.order.port)
        reader, writer = self.line
        self.tally.sent += 1
        writer.write(
            traffic.request(
                self.order.port, kind.size, path=kind.path, stream=kind.stream, order="faults", client=self.number
            )
        )
        head = await reader.readuntil(b"\r\n\r\n")
        if kind.leaves:
            self.tally.left += 1
            self.hang_up()
            return
        body = await read_body(head.lower(), reader)
        self.tally.statuses[head[9:12].decode()] += 1
        self.tally.errored += b"event: error" in body
        if b"connection: close" in head.lower():
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection; the next request opens another."""
        if self.line is not None:
            self.line[1].close()
            self.line = None


async def read_body(head: bytes, reader: Reader) -> bytes:
    """A body by its framing. Raises EOFError when it ends early, ValueError when there is no framing."""
    if b"transfer-encoding: chunked" in head:
        pieces = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            pieces.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(pieces)
    length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
    return await reader.readexactly(int(length))


async def run(order: Mix) -> Mixed:
    """All clients at once."""
    tally = MixtureTally()
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(order.connections):
            group.create_task(Client(order, n, tally).run(begun + order.seconds))
    return Mixed(
        sent=tally.sent,
        seconds=time.monotonic() - begun,
        statuses=dict(tally.statuses),
        left=tally.left,
        errored=tally.errored,
        broken=tally.broken,
        hung=tally.hung,
        slowest=tally.slowest,
    )
