"""Mixed traffic at an upstream that fails now and then, with a key that is refused: is every request answered, and written down?"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from claude_relay.store.db.database import read_only

from .figures import Results, Soak
from .orders import Mix, Mixed
from .scenarios import RELAY, Say, give
from .targets import SOAK_KEYS, SOAK_RETRY, Bench, ready

CONNECTIONS: Final = 16
PATIENCE: Final = 45.0
SETTLING: Final = 10.0
"""Seconds that the ledger may take for the rows of clients that have left."""


async def run_soak(bench: Bench, seconds: float, say: Say) -> Results:
    """Run it for so long."""
    say(f"{seconds:g} s of mixed traffic with failing keys")
    target = await bench.relay(keys=SOAK_KEYS, retry=SOAK_RETRY)
    await ready({RELAY: target})
    before = target.child.resident()
    report = await give(bench.load, Mix(target.port, CONNECTIONS, seconds, PATIENCE), seconds + PATIENCE, target)
    assert isinstance(report, Mixed)
    assert target.database is not None
    rows, attempt_rows = await settled(target.database, report.sent)
    return Results(
        soak=Soak(
            seconds=report.seconds,
            sent=report.sent,
            answered=sum(report.statuses.values()),
            left=report.left,
            broken=report.broken,
            hung=report.hung,
            errored=report.errored,
            slowest=report.slowest,
            statuses=report.statuses,
            rows=rows,
            attempt_rows=attempt_rows,
            tries=await tries(bench.upstream.port),
            memory=(before, target.child.resident()),
        )
    )


async def settled(database: Path, expected: int) -> tuple[int, int]:
    """Rows of `requests` and of `attempts`, once there are as many requests as expected or it takes too long."""
    until = asyncio.get_running_loop().time() + SETTLING
    while True:
        found = await asyncio.to_thread(count_rows, database)
        if found[0] >= expected or asyncio.get_running_loop().time() > until:
            return found
        await asyncio.sleep(0.1)


def count_rows(database: Path) -> tuple[int, int]:
    """Rows of both tables, at one moment."""
    with closing(read_only(database)) as connection:
        try:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM requests), (SELECT count(*) FROM attempts)"
            ).fetchone()
        except sqlite3.OperationalError:
            return 0, 0
        return int(row[0]), int(row[1])


async def tries(port: int) -> int:
    """How many requests have reached the upstream."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /count HTTP/1.1\r\nHost: bench\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    found = int(await reader.read(64))
    writer.close()
    return found
