"""The worst that can happen to the process and the disk, with a process of its own for each."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store import ledger as module
from claude_relay.store.database import connect
from claude_relay.store.migrations import migrate

from .rows import ids, read

# Says an id on stdout only after the ledger said that its row is committed, and goes on until it is killed.
WRITE_FOR_EVER = """
import asyncio, os, sys
from itertools import count
from pathlib import Path
from store.rows import attempt, request
from claude_relay.store.ledger import Ledger

ledger = Ledger(Path(sys.argv[1]), report=print)
ledger.open()

async def client(number):
    for n in count():
        row = request(id=f"req_relay_{number}_{n}", attempts=2)
        if await ledger.write(row, [attempt(row, 1), attempt(row, 2)]):
            os.write(1, row.id.encode() + b"\\n")

async def main():
    await asyncio.gather(*map(client, range(16)))

asyncio.run(main())
"""

# The disk is full: no file may grow any more. Then there is room again.
FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from store.rows import Heard, request
from claude_relay.store.ledger import Ledger

heard = Heard()
path = Path(sys.argv[1])
ledger = Ledger(path, report=heard)
ledger.open()

async def main():
    assert await ledger.write(request(), [])
    full = path.with_name("relay.db-wal").stat().st_size + 20_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    written = [await ledger.write(request(user_agent="x" * 3000), []) for _ in range(40)]
    assert written[0] and not written[-1], written
    assert ledger.failing and ledger.pending
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await asyncio.to_thread(heard.wait, "writing works again")
    assert await ledger.write(request(), [])

asyncio.run(main())
ledger.close()
print(*heard.texts, sep="\\n")
"""


def start(program: str, path: Path) -> subprocess.Popen[bytes]:
    folders = [Path(module.__file__).parents[2], Path(__file__).parents[1]]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_under_load_loses_nothing_that_was_promised(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "relay.db"
    promised: list[str] = []
    lives = 2
    for life in range(lives):
        process = start(WRITE_FOR_EVER.replace("_{number}_", f"_{life}_{{number}}_"), path)
        for _ in range(random.Random(seed + life).randint(1, 400)):
            promised.append(process.stdout.readline().decode().strip())
        process.send_signal(signal.SIGKILL)
        with process:  # `communicate` would miss what `readline` has read ahead
            promised += process.stdout.read().decode().split("\n")[:-1]  # the last line may be cut off
            assert process.stderr.read() == b""
    found = ids(path)
    assert set(promised) <= set(found)
    assert len(found) == len(set(found))
    assert len(found) - len(promised) <= lives * 16  # committed, but the process died before it could say so
    # A request and its attempts are there together or not at all.
    assert read(path, "SELECT count(*) FROM attempts") == [(2 * len(found),)]
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for the size of files there")
def test_a_full_disk_loses_nothing_and_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    process = start(FULL_DISK, path)
    output, errors = process.communicate(timeout=20)
    assert errors == b""
    said = output.decode().splitlines()
    assert len(said) == 2
    assert "make sure that the disk has room" in said[0]
    assert "writing works again" in said[1]
    assert len(ids(path)) == 42
