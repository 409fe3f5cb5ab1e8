"""The worst that can happen to the process and the disk, with a process of its own for each."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger import ledger as module
from claude_relay.store.ledger.ledger import Ledger
from store.rows import Heard, attempt, ids, read, request
from waiting import PATIENCE

LIVES = 100
CLIENTS = 16

# Forks a ledger under load for each line it reads, says its process id, and "gone" when it was killed. An id is written to the
# pipe only after the ledger said that its row is committed. A Python that is warm starts a ledger in milliseconds.
LIVE_AND_BE_KILLED = """
import asyncio, os, sys
from itertools import count
from pathlib import Path
import sqlite_utils
from store.rows import attempt, request
from claude_relay.store.ledger.ledger import Ledger

def live(life, pipe):
    ledger = Ledger(Path(sys.argv[1]), report=lambda text: os.write(2, text.encode()), patience=60.0)
    ledger.open()

    async def client(number):
        for n in count():
            row = request(id=f"req_relay_{life}_{number}_{n}", attempts=2)
            if await ledger.write(row, [attempt(row, 1), attempt(row, 2)]):
                os.write(pipe, row.id.encode() + b"\\n")

    async def main():
        await asyncio.gather(*map(client, range(16)))

    asyncio.run(main())

for life in sys.stdin:
    child = os.fork()
    if child == 0:
        live(life.strip(), 1)
    os.write(1, f"pid {child}\\n".encode())
    os.waitpid(child, 0)
    os.write(1, b"\\ngone\\n")  # the line before may be cut off
"""

# The disk is full: no file may grow any more, then not even a journal may be begun. Then there is room again.
FULL_DISK = """
import asyncio, resource, sqlite3, sys
from pathlib import Path
from store.rows import Heard, request
from claude_relay.store.ledger.ledger import Ledger

heard = Heard()
path = Path(sys.argv[1])
ledger = Ledger(path, report=heard, patience=60.0, spill_beyond=15)
ledger.open()

def disk(room):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

async def main():
    for _ in range(100):  # what a file may grow to is the same for all: the WAL is to be larger than all that the journal will get
        assert await ledger.write(request(user_agent="x" * 3000), [])
    reader = sqlite3.connect(path)  # while it reads, the WAL cannot begin anew, which would make room
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchone()
    disk(path.with_name("relay.db-wal").stat().st_size + 120_000)
    written = [await ledger.write(request(user_agent="x" * 3000), []) for _ in range(90)]
    assert written[0] and not written[-1], written
    assert ledger.failing
    while not any(spill.stat().st_size for spill in path.parent.glob("relay.db.spill-*")):
        await asyncio.sleep(0.01)
    disk(1)
    written = [await ledger.write(request(user_agent="x" * 3000), []) for _ in range(40)]
    assert not any(written)
    await asyncio.to_thread(heard.wait, "either")
    while ledger.pending < 40:  # as long as one is tried again, it is in neither place
        await asyncio.sleep(0.01)
    reader.close()
    disk(resource.RLIM_INFINITY)
    await asyncio.to_thread(heard.wait, "writing works again")
    assert await ledger.write(request(), [])

asyncio.run(main())
ledger.close()
print(*heard.texts, sep="\\n")
"""


def start(program: str, path: Path, **pipes: int) -> subprocess.Popen[bytes]:
    folders = [Path(module.__file__).parents[3], Path(__file__).parents[2]]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-c", program, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, **pipes)


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_hundred_kills_under_load_lose_nothing_that_was_promised(tmp_path: Path) -> None:
    """kill -9 at any moment, also while the file is being opened; each start goes on with what the killed one left."""
    path, promised, chance, span = tmp_path / "relay.db", list[str](), random.Random(), 0.0
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
    with start(LIVE_AND_BE_KILLED, path, stdin=subprocess.PIPE) as process:
        for life in range(LIVES):
            process.stdin.write(b"%d\n" % life)
            process.stdin.flush()
            child = int(process.stdout.readline().removeprefix(b"pid "))
            if life:
                time.sleep(chance.random() * span)
            else:  # how long a life takes to its first promise is this machine's affair; the others die before and after that
                born = time.monotonic()
                promised += [process.stdout.readline().decode().strip()]
                span = 2 * (time.monotonic() - born)
            os.kill(child, signal.SIGKILL)
            while (line := process.stdout.readline()) != b"gone\n":
                promised += [line.decode().strip()] if line.count(b"_") == 4 and line.endswith(b"\n") else []
        process.stdin.close()
        assert process.stderr.read() == b""
    found = ids(path)
    whole = set(found)
    assert promised
    assert {name for name in promised if name not in whole} == set()
    assert len(found) == len(whole)
    assert len(found) - len(promised) <= LIVES * CLIENTS  # committed, but the process died before it could say so
    # A request and its attempts are there together or not at all.
    assert read(path, "SELECT count(*) FROM attempts") == [(2 * len(found),)]
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.skipif(sys.platform == "win32", reason="no limits for the size of files there")
def test_a_full_disk_loses_nothing_and_stops_nobody(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    process = start(FULL_DISK, path)
    output, errors = process.communicate(timeout=PATIENCE)
    assert errors.decode() == ""
    said = output.decode().splitlines()
    assert [text.split()[1:3] for text in said] == [
        ["cannot", "write."],
        ["rows", "cannot"],
        [said[2].split()[1], "rows"],
        ["writing", "works"],
    ]
    assert "make sure that the disk has room" in said[0]
    assert "File too large. They stay in memory" in said[1]
    assert len(ids(path)) == 100 + 90 + 40 + 1
    assert list(tmp_path.iterdir()) == [path]


def test_rows_left_by_an_ended_relay_are_in_the_ledger_after_the_next_start(tmp_path: Path) -> None:
    """Every column survives the way through the journal, a header's bytes that are no UTF-8 as `?`; what is there stays as it is."""
    path, heard = tmp_path / "relay.db", Heard()
    first, second = request(id="a", cost_usd=0.1, stream=True, notes="…"), request(id="b", user_agent="caf\udce9")
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
        connection.execute("BEGIN EXCLUSIVE")
        broken = Ledger(path, report=heard, patience=0.01)
        broken.open()
        for row in (first, second):
            broken.put(row, [attempt(row, 1, verdict="é", cost_usd=0.1), attempt(row, 2)])
        broken.close()
        connection.execute("ROLLBACK")
    assert "is kept in" in heard.texts[-1]
    assert ids(path) == []
    (spill,) = tmp_path.glob("relay.db.spill-*")
    again = spill.read_bytes()
    for _ in range(2):
        next_start = Ledger(path, report=heard)
        next_start.open()
        heard.wait("2 rows that were kept in")
        next_start.close()
        heard.texts.clear()
        assert not spill.exists()
        spill.write_bytes(again)  # as if killed after the rows were written and before the file was removed
    direct = Ledger(tmp_path / "direct.db", report=heard)
    direct.open()
    for row in (first, second):
        direct.put(row, [attempt(row, 1, verdict="é", cost_usd=0.1), attempt(row, 2)])
    direct.close(PATIENCE)
    for table in ("requests", "attempts"):
        assert read(path, f"SELECT * FROM {table}") == read(tmp_path / "direct.db", f"SELECT * FROM {table}")


def test_a_damaged_file_says_what_to_do_and_a_new_one_gets_the_rows(tmp_path: Path) -> None:
    path, heard = tmp_path / "relay.db", Heard()
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    ledger = Ledger(path, report=heard)
    ledger.open()
    ledger.put(request(id="a"), [])
    told = heard.wait("malformed")
    assert all(word in told for word in (str(path), "move it", "scripts/ledger backup", ".recover"))
    for file in tmp_path.glob("relay.db*"):
        file.rename(tmp_path / f"old-{file.name}")
    heard.wait("writing works again")
    ledger.close()
    assert ids(path) == ["a"]
