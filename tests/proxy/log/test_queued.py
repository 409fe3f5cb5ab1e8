"""An output that is not read holds nobody up; what it was told comes in order, or is counted."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from claude_relay.proxy.log import queued as module
from claude_relay.proxy.log.queued import Queued, write
from waiting import PATIENCE, eventually

logger = logging.getLogger("claude_relay.test_queued")
LONG = "x" * 8192
"""Eight or sixteen such lines fill a pipe."""


class Pipe:
    """A pipe: nobody reads it until `text` does."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        self.stream = os.fdopen(writing, "w", buffering=1)

    def begin(self) -> Callable[[], str]:
        """Read in a thread; the result gives all of it when the other end is closed."""
        found: list[bytes] = []

        def read() -> None:
            while piece := os.read(self.reading, 1 << 16):
                found.append(piece)

        thread = threading.Thread(target=read)
        thread.start()

        def all_of_it() -> str:
            self.stream.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            return b"".join(found).decode()

        return all_of_it

    def close(self) -> None:
        self.stream.close()
        os.close(self.reading)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    found = Pipe()
    yield found
    found.close()


@pytest.fixture
def made() -> Iterator[Callable[..., Queued]]:
    all_of_them: list[Queued] = []

    def make(stream: IO[str], *rest: Callable[[], object], **more: int) -> Queued:
        output = Queued(lambda: stream, *rest, **more)
        output.install()
        output.install()
        all_of_them.append(output)
        return output

    yield make
    for output in all_of_them:
        output.remove()


def test_a_pipe_that_nobody_reads_holds_nobody_up(pipe: Pipe, made: Callable[..., Queued]) -> None:
    output = made(pipe.stream)
    for n in range(100):
        logger.warning("%d %s", n, LONG)  # whoever waited for the pipe would wait for ever
    assert not output.is_written(0.05)
    text = pipe.begin()
    assert output.is_written(PATIENCE)
    output.remove()
    assert text() == "".join(f"{n} {LONG}\n" for n in range(100))


def test_what_is_too_much_is_counted_where_it_is_missing(made: Callable[..., Queued]) -> None:
    out, ready = io.StringIO(), threading.Event()
    output = made(out, most=20)
    output.queue.put(ready.wait)  # the thread hangs
    eventually(lambda: not output.queue.qsize())
    for n in range(100):
        logger.warning("%d", n)
    ready.set()
    assert output.is_written(PATIENCE)
    logger.warning("afterwards")
    assert output.is_written(PATIENCE)
    missing = "80 lines of the log are missing here: they came faster than they could be written"
    assert out.getvalue().splitlines() == [*map(str, range(20)), missing, "afterwards"]


def test_what_waits_when_it_is_removed_is_still_written(pipe: Pipe, made: Callable[..., Queued]) -> None:
    output = made(pipe.stream)
    for n in range(50):
        logger.warning("%d %s", n, LONG)
    output.remove()
    output.remove()
    output.install()  # a thread of its own, while the other still hangs
    logger.warning("again")
    text = pipe.begin()
    assert output.is_written(PATIENCE)
    output.remove()
    found = text()
    assert [int(n) for n in re.findall(r"^(\d+) x+$", found, re.M)] == list(range(50))
    assert "again\n" in found


def test_records_tell_of_what_was(made: Callable[..., Queued]) -> None:
    """A thread reads them later: by then what they tell of may be another thing."""
    out, told = io.StringIO(), ["before"]
    output = made(out)
    ready = threading.Event()
    output.queue.put(ready.wait)
    logger.warning("it is %s", told)
    told[:] = ["after"]
    ready.set()
    assert output.is_written(PATIENCE)
    assert out.getvalue() == "it is ['before']\n"


def test_lines_of_many_threads_are_all_there(pipe: Pipe, made: Callable[..., Queued]) -> None:
    output, text = made(pipe.stream), pipe.begin()
    threads = [
        threading.Thread(target=lambda name=name: [logger.warning("%s%d", name, n) for n in range(200)])
        for name in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert output.is_written(PATIENCE)
    output.remove()
    lines = text().splitlines()
    for name in "abcd":
        assert [line for line in lines if line[0] == name] == [f"{name}{n}" for n in range(200)]


def test_an_output_that_is_gone_is_told_of_once(pipe: Pipe, made: Callable[..., Queued]) -> None:
    told = threading.Semaphore(0)
    output = made(pipe.stream, told.release)
    os.close(pipe.reading)
    pipe.reading = os.open(os.devnull, os.O_RDONLY)
    logger.warning("one")
    logger.warning("two")
    assert output.is_written(PATIENCE)
    assert told.acquire(timeout=PATIENCE)
    assert not told.acquire(blocking=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has none")
def test_a_full_disk_is_no_end(made: Callable[..., Queued]) -> None:
    told: list[str] = []
    with open("/dev/full", "w") as full:
        output = made(full, lambda: told.append("gone"))
        logger.warning("one")
        assert output.is_written(PATIENCE)
    assert told == []


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    thread = threading.Thread(target=write, args=(pipe.stream.fileno(), LONG.encode() * 50))
    thread.start()
    text = pipe.begin()
    thread.join(PATIENCE)
    assert text() == LONG * 50


PROGRAM = """
import logging, sys
from claude_relay.proxy.log import queued

queued.LAST_WORDS = float(sys.argv[2])
queued.Queued(lambda: sys.stdout).install()
for n in range(int(sys.argv[1])):
    logging.getLogger().warning("%d %s", n, "x" * 8192)
raise SystemExit("an end that nobody saw coming")
"""


def start(lines: int, last_words: float = module.LAST_WORDS) -> subprocess.Popen[str]:
    environ = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[3])}
    words = [sys.executable, "-c", PROGRAM, str(lines), str(last_words)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


def test_the_last_lines_are_written_however_it_ends() -> None:
    with start(200, PATIENCE) as process:
        out, errors = process.communicate(timeout=PATIENCE)
    assert [line.split()[0] for line in out.splitlines()] == [str(n) for n in range(200)]
    assert (process.returncode, errors) == (1, "an end that nobody saw coming\n")


def test_an_end_is_not_held_up_by_an_output_that_nobody_reads() -> None:
    with start(200) as process:
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert process.stderr.read() == "an end that nobody saw coming\n"
