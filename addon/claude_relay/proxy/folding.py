"""The log, where one line stands for many: warnings and errors that are alike are counted, and told together.

    folding = Folding()
    folding.install()       every logger of the process, in every thread, whoever writes and whoever reads
    folding.remove()        what was counted is told

    [08:00:25] out of files
    [08:00:35] out of files … 6,652 more like this in 8 s

The first of its kind is written at once. Alike are lines of one logger, level and message (numbers and arguments aside) with an exception
from one place, within WINDOW seconds. Lines below a warning, which tell of ordinary life, are never folded. It must not know what is said.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from .loops import place_of

WINDOW: Final = 10.0
KINDS: Final = 1000
"""Kinds of lines that are counted at the same time."""
SHOWN: Final = 200
"""Characters of the first line that are said again."""
_PLACEHOLDER: Final = re.compile(r"%[-+ #0-9.]*[a-zA-Z]")
_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")

type Kind = tuple[str, int, str, object]
type Handle = Callable[[logging.Logger, logging.LogRecord], None]


@dataclass(slots=True)
class Seen:
    """One kind of lines."""

    text: str
    since: float
    last: float
    more: int = 0


class Folding:
    """`window`: seconds."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._seen: dict[Kind, Seen] = {}
        self._lock = threading.Lock()
        self._original: Handle | None = None
        self._timer: threading.Timer | None = None

    def install(self) -> None:
        """Begin; twice does no harm."""
        if self._original is not None:
            return
        original = self._original = logging.Logger.handle

        def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
            if record.levelno < logging.WARNING or self.is_first(record):
                original(logger, record)

        logging.Logger.handle = handle  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """Every line is written again, and what was counted is told."""
        if self._original is None:
            return
        self._tell(self._taken(math.inf))
        logging.Logger.handle, self._original = self._original, None  # type: ignore[method-assign, assignment]
        if self._timer is not None:
            self._timer.cancel()

    def is_first(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written; otherwise it is counted."""
        kind, now = kind_of(record), time.monotonic()
        with self._lock:
            seen = self._seen.get(kind)
            if seen is not None and now - seen.since < self._window:
                seen.more += 1
                seen.last = now
                if self._timer is None:
                    self._begin_timer(seen.since + self._window - now)
                return False
        over = self._taken(now - self._window)
        with self._lock:
            if len(self._seen) < KINDS:
                self._seen[kind] = Seen(text_of(record), now, now)
        self._tell(over)
        return True

    def _begin_timer(self, seconds: float) -> None:
        self._timer = threading.Timer(max(0.0, seconds), self._ring)
        self._timer.daemon = True
        with suppress(RuntimeError):  # no room for a thread: it is told with the next line
            self._timer.start()

    def _ring(self) -> None:
        """Tell of the kinds whose time is over; look again when there are others."""
        over = self._taken(time.monotonic() - self._window)
        with self._lock:
            self._timer = None
            if waiting := [seen.since for seen in self._seen.values() if seen.more]:
                self._begin_timer(min(waiting) + self._window - time.monotonic())
        self._tell(over)

    def _taken(self, before: float) -> list[tuple[Kind, Seen]]:
        """The kinds that began before this monotonic time."""
        with self._lock:
            over = [(kind, seen) for kind, seen in self._seen.items() if seen.since <= before]
            for kind, _ in over:
                del self._seen[kind]
        return over

    def _tell(self, over: list[tuple[Kind, Seen]]) -> None:
        for (name, level, *_), seen in over:
            if not seen.more or self._original is None:
                continue
            text = f"{seen.text} … {seen.more:,} more like this in {max(1, round(seen.last - seen.since))} s"
            logger = logging.getLogger(None if name == "root" else name)
            with suppress(Exception):  # a handler whose event loop is closed
                self._original(logger, logger.makeRecord(name, level, __file__, 0, text, (), None))


def kind_of(record: logging.LogRecord) -> Kind:
    """What lines that are alike have in common."""
    said = str(record.msg)
    if not any(map(str.isalpha, _PLACEHOLDER.sub("", said))):  # a template that says nothing
        said = text_of(record)
    error = record.exc_info[1] if record.exc_info else None
    place: Any = None if error is None else (type(error), *place_of(error))
    return record.name, record.levelno, _NUMBER.sub("#", said[:SHOWN]), place


def text_of(record: logging.LogRecord) -> str:
    """The first line of its message."""
    try:
        return (record.getMessage().splitlines() or [""])[0][:SHOWN]
    except Exception:  # arguments that do not fit: logging itself says so
        return str(record.msg)[:SHOWN]
