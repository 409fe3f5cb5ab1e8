"""The log, where one line stands for many: warnings and errors that are alike are counted, and told together.

    folding = Folding()
    folding.install()       every logger of the process, in every thread, whoever writes and whoever reads
    folding.remove()        what was counted is told

    [08:00:25] out of files
    [08:00:35] out of files … 6,652 more like this in 8 s

The first of its kind is written at once, and so are the first few that differ in more than numbers. Alike are lines of one logger, level
and message (arguments aside) with an exception from one place, within WINDOW seconds; what a line is `about` counts in the place of its
arguments. Never folded are lines below a warning, which tell of
ordinary life, and those that answer what a person does: `logger.warning("…", extra=EACH)`. It must not know what is said.
"""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from claude_relay.proxy.common.loops import place_of

WINDOW: Final = 10.0
EACH: Final = {"each": True}
"""For a line that is written each time."""


def about(what: str) -> dict[str, str]:
    """For a line about one of several things: lines about another one differ from it, even if only by a number, and others are alike."""
    return {"about": what}


DIFFERENT: Final = 5
"""Lines of one kind that are written because their arguments differ: of several things each is told, a flood of them is not."""
KINDS: Final = 1000
"""Kinds of lines that are counted at the same time."""
SHOWN: Final = 200
"""Characters of the first line that are said again."""
_PLACEHOLDER: Final = re.compile(r"%[-+ #0-9.]*[a-zA-Z]")
_NUMBER: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")

type Kind = tuple[str, int, str, object]

_plain: Final = logging.Logger.handle
"""As it is without anybody who folds."""


@dataclass(slots=True)
class Seen:
    """One kind of lines."""

    text: str
    since: float
    last: float
    texts: set[str]
    more: int = 0


class Folding:
    """`window`: seconds."""

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._seen: dict[Kind, Seen] = {}
        self._lock = threading.Lock()
        self._installed = False
        self._timer: threading.Timer | None = None

    def install(self) -> None:
        """Begin, in the place of whoever does it already; twice does no harm."""
        self._installed = True

        def handle(logger: logging.Logger, record: logging.LogRecord) -> None:
            if record.levelno < logging.WARNING or hasattr(record, "each") or self.is_first(record):
                _plain(logger, record)

        logging.Logger.handle = handle  # type: ignore[method-assign, assignment]

    def remove(self) -> None:
        """Every line is written again, and what was counted is told."""
        if not self._installed:
            return
        self._report(self._taken(math.inf))
        self._installed, logging.Logger.handle = False, _plain  # type: ignore[method-assign]
        if self._timer is not None:
            self._timer.cancel()

    def is_first(self, record: logging.LogRecord) -> bool:
        """Whether it is to be written; otherwise it is counted."""
        kind, now = kind_of(record), time.monotonic()
        with self._lock:
            seen = self._seen.get(kind)
            if seen is not None and now - seen.since < self._window:
                if len(seen.texts) < DIFFERENT and (text := compared(record)) not in seen.texts:
                    seen.texts.add(text)
                    return True
                seen.more += 1
                seen.last = now
                if self._timer is None:
                    self._begin_timer(seen.since + self._window - now)
                return False
        over = self._taken(now - self._window)
        with self._lock:
            if len(self._seen) < KINDS:
                self._seen[kind] = Seen(text_of(record), now, now, {compared(record)})
        self._report(over)
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
        self._report(over)

    def _taken(self, before: float) -> list[tuple[Kind, Seen]]:
        """The kinds that began before this monotonic time."""
        with self._lock:
            over = [(kind, seen) for kind, seen in self._seen.items() if seen.since <= before]
            for kind, _ in over:
                del self._seen[kind]
        return over

    def _report(self, over: list[tuple[Kind, Seen]]) -> None:
        for (name, level, *_), seen in over:
            if not seen.more or not self._installed:
                continue
            text = f"{seen.text} … {seen.more:,} more like this in {max(1, round(seen.last - seen.since))} s"
            logger = logging.getLogger(None if name == "root" else name)
            with suppress(Exception):  # a handler whose event loop is closed
                _plain(logger, logger.makeRecord(name, level, __file__, 0, text, (), None))


def kind_of(record: logging.LogRecord) -> Kind:
    """What lines that are alike have in common."""
    said = str(record.msg)
    if not any(map(str.isalpha, _PLACEHOLDER.sub("", said))):  # a template that says nothing
        said = text_of(record)
    error = record.exc_info[1] if record.exc_info else None
    place: Any = None if error is None else (type(error), *place_of(error))
    return record.name, record.levelno, without_numbers(said[:SHOWN]), place


def without_numbers(text: str) -> str:
    """Ports, ids and addresses in memory tell nothing apart."""
    return _NUMBER.sub("#", text)


def compared(record: logging.LogRecord) -> str:
    """What tells a line from others of its kind."""
    thing = getattr(record, "about", None)
    return thing if isinstance(thing, str) else without_numbers(message_of(record))


def message_of(record: logging.LogRecord) -> str:
    """Its message, as far as it is compared."""
    try:
        return record.getMessage()[: 10 * SHOWN]
    except Exception:  # arguments that do not fit: logging itself says so
        return str(record.msg)[: 10 * SHOWN]


def text_of(record: logging.LogRecord) -> str:
    """The first line of its message."""
    return (message_of(record).splitlines() or [""])[0][:SHOWN]
