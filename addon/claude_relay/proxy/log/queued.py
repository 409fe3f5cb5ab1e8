"""Outputs of the log, each behind a queue: a terminal that is held or a pipe that nobody reads stops a thread, and no request.

    output = Queued(lambda: sys.stderr)
    output.install()            a handler of the root logger; a thread of its own writes
    output.flush()              waits until all is written, LAST_WORDS seconds at most; at the end of the process `logging` calls it
    output.remove()             takes no more; what waits is still written

Lines keep their order. At most `most` of them wait: the others are counted, and told in the place where they are missing. It must not know
what is said.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import QueueHandler, QueueListener
from queue import SimpleQueue
from typing import IO, Any, Final

MOST: Final = 10_000
LAST_WORDS: Final = 2.0
GONE: Final = frozenset({errno.EPIPE, errno.EIO})
"""Nobody reads any more: the other end of a pipe, or a terminal, is closed. A full disk may have room again."""

type Queue = SimpleQueue[Any]
type Write = Callable[[bytes], object]


class Queued(QueueHandler):
    """A handler whose records are written by a thread, as its formatter makes them: on the loop, while what they tell of is as it was.

    stream   asked for at `install`: where to
    gone     called once, from the thread, when nobody reads it any more
    """

    queue: Queue

    def __init__(
        self, stream: Callable[[], IO[str]], gone: Callable[[], object] = lambda: None, *, most: int = MOST
    ) -> None:
        super().__init__(SimpleQueue())
        self._stream, self._gone, self._most = stream, gone, most
        self.encoding = "utf-8"
        self._lost = 0
        self._writer: _Writer | None = None
        self._before: threading.Thread | None = None
        """Still writes what came before `remove`."""

    def install(self) -> None:
        """Begin; twice does no harm."""
        if self._writer is None:
            self.queue = SimpleQueue()  # whoever still writes what came before keeps its own
            self._writer = _Writer(self.queue, self._stream(), self.encoding, self._gone)
            if self._before is not None:
                self.queue.put(self._before.join)  # else a line of the one could end within a line of the other
            self._writer.start()
            logging.getLogger().addHandler(self)

    def remove(self) -> None:
        """Take no more, and wait for nothing. Twice does no harm."""
        writer, self._writer = self._writer, None
        if writer is not None:
            logging.getLogger().removeHandler(self)
            self._report_lost()
            self._before = writer._thread
            writer.enqueue_sentinel()

    def enqueue(self, record: logging.LogRecord) -> None:
        """Have it written, unless too much waits already. With the handler's lock, as `handle` has it."""
        if self._writer is None:
            return
        if self.queue.qsize() >= self._most:
            self._lost += 1
            return
        self._report_lost()
        self.queue.put(record)

    def flush(self) -> None:
        """Wait until all is written, at most LAST_WORDS seconds."""
        self.is_written(LAST_WORDS)

    def is_written(self, seconds: float) -> bool:
        """Whether all that was said until now is written within that time."""
        if self._writer is None:
            return True
        self._report_lost()
        done = threading.Event()
        self.queue.put(done.set)
        return done.wait(seconds)

    def _report_lost(self) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            said = "%d lines of the log are missing here: they came faster than they could be written"
            fields = {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": said,
                "args": (lost,),
            }
            self.queue.put(self.prepare(logging.makeLogRecord(fields)))


class _Writer(QueueListener):
    """The thread. What it finds in its queue are records, each a line, and functions to call in their turn."""

    queue: Queue

    def __init__(self, queue: Queue, stream: IO[str], encoding: str, gone: Callable[[], object]) -> None:
        super().__init__(queue)
        self._write, self._close = opened(stream)
        self._encoding = encoding
        self._gone: Callable[[], object] | None = gone

    def handle(self, record: logging.LogRecord | Callable[[], object]) -> None:
        """Write a line or do what is to be done then. No handler's lock is held: whoever wants it would wait as long as the output."""
        if not isinstance(record, logging.LogRecord):
            record()
        elif self._gone is not None:
            try:
                self._write(f"{record.msg}\n".encode(self._encoding, "backslashreplace"))
            except (OSError, ValueError) as error:
                if getattr(error, "errno", None) in GONE:
                    gone, self._gone = self._gone, None
                    with suppress(RuntimeError):  # the event loop has ended, too
                        gone()

    def enqueue_sentinel(self) -> None:
        """The last that there is to do."""
        self.queue.put(self._close)
        super().enqueue_sentinel()


def opened(stream: IO[str]) -> tuple[Write, Callable[[], object]]:
    """How to write to where a stream leads, past its buffer, and how to be done with it.

    Whoever hangs in a write to the stream itself holds its lock, which Python needs at its end.
    """
    try:
        stream.flush()
        descriptor = os.dup(stream.fileno())
    except (OSError, ValueError):  # it is closed, or leads into memory
        return lambda data: stream.write(data.decode()), lambda: None
    return lambda data: write(descriptor, data), lambda: os.close(descriptor)


def write(descriptor: int, data: bytes) -> None:
    """All of it, however long it takes. Raises OSError."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # whoever shares it has made it so
            select.select([], [descriptor], [])
