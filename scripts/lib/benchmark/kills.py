"""kill -9 at random moments under load, over and over, on one ledger: is every answer that a client has whole written down, once?

Each request carries a name of its own as its user agent, which the ledger keeps.
"""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from claude_relay.cli.fake.server import LAST_CHUNK
from claude_relay.store.db.database import read_only

from . import traffic
from .figures import Kills, Results
from .processes import BenchError
from .scenarios import RELAY, Say
from .targets import Bench, Target, ready

CONNECTIONS: Final = 8
SOONEST, LATEST = 0.1, 1.0
"""Seconds of load before a kill, drawn evenly from between."""
USER_AGENT: Final = traffic.CLIENT_HEADERS["User-Agent"].encode()
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_EVENT: Final = b'"type":"message_stop"}\n\n'


@dataclass(slots=True)
class KillTally:
    """Names of requests: those sent, and those whose answer the client has whole."""

    sent: int = 0
    whole: set[str] = field(default_factory=set)


async def run_kills(bench: Bench, kills: int, say: Say) -> Results:
    """Start, load and kill the relay so often."""
    begun = time.monotonic()
    target = await bench.relay()
    assert target.database is not None
    tally = KillTally()
    chance = random.Random()
    for turn in range(kills):
        if turn:
            await target.child.start()
        if turn % 10 == 0:
            say(f"kill {turn + 1} of {kills}")
        await ready({RELAY: target})
        await one_life(target, tally, chance.uniform(SOONEST, LATEST))
    await target.child.start()  # the last one takes over what the killed ones have left
    await ready({RELAY: target})
    found = await asyncio.to_thread(in_ledger, target.database)
    return Results(
        kills=Kills(
            kills=kills,
            seconds=time.monotonic() - begun,
            sent=tally.sent,
            answered=len(tally.whole),
            rows=found.total(),
            missing=len(tally.whole - found.keys()),
            doubled=sum(count > 1 for count in found.values()),
            torn=await asyncio.to_thread(torn, target.database),
        )
    )


async def one_life(target: Target, tally: KillTally, seconds: float) -> None:
    """Clients at work until the relay is killed, after so many seconds."""
    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(client(target.port, number, tally))
        await asyncio.sleep(seconds)
        target.child.process.kill()
        await target.child.process.wait()


async def client(port: int, number: int, tally: KillTally) -> None:
    """Ask, a stream and a whole answer in turns, until the connection breaks."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            stream = bool(number % 2)
            while await ask(reader, writer, port, stream, tally):
                stream = not stream


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, stream: bool, tally: KillTally
) -> bool:
    """One request; False when the connection has ended. Whole is an answer with its last byte, framing or not."""
    tally.sent += 1
    name = f"kill-{tally.sent}"
    writer.write(traffic.request(port, 2_048, stream=stream).replace(USER_AGENT, name.encode()))
    received = b""
    while data := await reader.read(65_536):
        received += data
        head, _, body = received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200"[: len(head)]):
            raise BenchError(f"not answered: {head[:200]!r}")
        if (LAST_EVENT in body) if stream else (length is not None and len(body) >= int(length[1])):
            tally.whole.add(name)
            if not stream or body.endswith(LAST_CHUNK):
                return True
    return False


def in_ledger(database: Path) -> Counter[str]:
    """The names in the ledger, and how often each is there."""
    with closing(read_only(database)) as connection:
        return Counter(name for (name,) in connection.execute("SELECT user_agent FROM requests"))


def torn(database: Path) -> int:
    """Requests without all of their attempts, and attempts without a request."""
    with closing(read_only(database)) as connection:
        return _number(
            connection,
            "SELECT count(*) FROM requests r WHERE attempts <> (SELECT count(*) FROM attempts WHERE request = r.id)",
        ) + _number(connection, "SELECT count(*) FROM attempts WHERE request NOT IN (SELECT id FROM requests)")


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
