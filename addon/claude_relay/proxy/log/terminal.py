"""What mitmproxy writes to the terminal, behind a queue: its lines of the log, and those about flows that `flow_detail` asks for.

    terminal = Terminal(ctx.master, gone)
    terminal.install()
    terminal.remove()           all is written, and mitmproxy writes by itself again

mitmweb's list of events and mitmproxy's look at errors of its start hear of a line as before, when it is said. Where there is no terminal
(the console has its own way), nothing happens.
"""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections.abc import Callable
from typing import Any

from mitmproxy.addons.termlog import TermLogHandler
from mitmproxy.log import ALERT

from .queued import LAST_WORDS, Queued

TOGETHER = 0.05
"""Seconds for which lines about requests are collected."""
CONSOLE = "claude_relay.console"
"""The logger of lines for whoever watches (`watch.console`)."""


_terminal: Terminal | None = None
"""The one that is installed."""


def say(text: str) -> None:
    """A line about a request, with the time, for whoever watches; not in the log, where each would go through all of mitmproxy's addons."""
    if _terminal is not None:
        _terminal.say(text)


class Terminal:
    """In the place of mitmproxy's own handlers. `gone`: called once, from another thread, when nobody reads any more."""

    def __init__(self, master: Any, gone: Callable[[], object]) -> None:
        self._master, self._gone = master, gone
        self._output: _Output | None = None
        self._lines: list[str] = []
        self._second, self._clock = -1.0, ""

    def install(self) -> None:
        """Begin; twice does no harm."""
        addon = self._master.addons.get("termlog")
        if self._output is not None or addon is None:
            return
        handler = addon.logger
        global _terminal
        self._output = output = _Output(handler, self._gone, lambda: self._say_all(output))
        self._output.install()
        _terminal = self
        handler.uninstall()
        if (dumper := self._master.addons.get("dumper")) is not None and dumper.outfp is handler.file:
            dumper.outfp = _Lines(self._output)

    def remove(self) -> None:
        """Wait until all is written. mitmproxy writes by itself again, unless that would hang."""
        global _terminal
        output, self._output = self._output, None
        if output is None:
            return
        self._say_all(output)
        if _terminal is self:
            _terminal = None
        if output.is_written(LAST_WORDS):
            output.handler.install()
            if isinstance((dumper := self._master.addons.get("dumper")) and dumper.outfp, _Lines):
                dumper.outfp = output.handler.file
        output.remove()

    def say(self, text: str) -> None:
        """As soon as there is time: lines that come close together wake the thread that writes once."""
        if self._output is None or self._output.handler.level > ALERT:
            return
        second, part = divmod(time.time(), 1.0)
        if second != self._second:
            self._second, self._clock = second, time.strftime("%H:%M:%S", time.localtime(second))
        self._lines.append(f"[{self._clock}.{int(part * 1000):03}] {text}")
        if len(self._lines) == 1:
            asyncio.get_running_loop().call_later(TOGETHER, self._say_all, self._output)

    def _say_all(self, output: _Output) -> None:
        lines, self._lines = self._lines, []
        if lines:
            output.say("\n".join(lines))


class _Output(Queued):
    """Lines as the handler would write them, if it would. `before`: writes what was said earlier, so that lines keep their order."""

    def __init__(self, handler: TermLogHandler, gone: Callable[[], object], before: Callable[[], object]) -> None:
        super().__init__(lambda: handler.file, gone)
        self._earlier = before
        self.handler = handler
        self.encoding = getattr(handler.file, "encoding", None) or self.encoding
        self.setFormatter(handler.formatter)

    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        """By the level that mitmproxy's option has given it by now; at the relay's own, requests have a line, too."""
        wanted = record.levelno >= self.handler.level or (record.name == CONSOLE and self.handler.level <= ALERT)
        return wanted and self.handler.filter(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        """With what was said before it."""
        self._earlier()
        super().enqueue(record)

    def say(self, line: str) -> None:
        """Write a line that is none of the log."""
        self.acquire()
        try:
            self.enqueue(logging.makeLogRecord({"msg": line}))
        finally:
            self.release()


class _Lines(io.TextIOBase):
    """A file for whoever prints flows."""

    def __init__(self, output: _Output) -> None:
        self._output, self._begun = output, ""

    def write(self, text: str) -> int:
        """Each line when it is whole."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._output.say(line)
        return len(text)
