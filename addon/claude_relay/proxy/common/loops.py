"""What runs beside the requests: loops that go on whatever happens in one of their turns, and errands that are done once.

    loop = Loop("the vault", look, lambda: 0.4)     look() every 0.4 s
    loop.start()
    loop.stop()
    errand(reload, "relay.reload")                  once; nobody waits for it

An error that nobody expected is said once for each place that it comes from, not once a turn. Must not know what it runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)

_errands: set[asyncio.Task[None]] = set()
"""asyncio itself keeps no task that nobody else does."""


class Complaints:
    """Errors that were said already."""

    def __init__(self, what: str, level: int = logging.ERROR) -> None:
        """`what` fails, for people. An error that is logged while mitmproxy starts ends it: then `level` is a warning."""
        self.what = what
        self.level = level
        self._said: set[tuple[type[BaseException], str, int]] = set()

    def say(self, error: Exception) -> None:
        """Log an error with its traceback, unless one of its kind came from the same place before."""
        kind = type(error), *place_of(error)
        if kind not in self._said:
            self._said.add(kind)
            logger.log(self.level, "%s: an unexpected %s", self.what, type(error).__name__, exc_info=error)


class Loop:
    """Calls `turn` again and again, `pause()` seconds after the one before was done. `at_once`: without a pause before the first."""

    def __init__(
        self, what: str, turn: Callable[[], Awaitable[None]], pause: Callable[[], float], *, at_once: bool = False
    ) -> None:
        """Nothing runs before `start`. `what`: what it does, for people."""
        self._turn, self._pause, self._at_once = turn, pause, at_once
        self._complaints = Complaints(what)
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started and not stopped."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin; needs a running loop. Twice does no harm."""
        if not self.runs:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"relay: {self._complaints.what}")

    def stop(self) -> None:
        """No more turns; one that is under way is cancelled. Maybe without a running loop."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()

    async def _run(self) -> None:
        if not self._at_once:
            await asyncio.sleep(self._pause())
        while True:
            try:
                await self._turn()
            except Exception as error:  # whatever it is: the next turn may be better
                self._complaints.say(error)
            await asyncio.sleep(self._pause())


def errand(work: Callable[[], Awaitable[Any]], what: str) -> asyncio.Task[None]:
    """Do it beside the requests, once; an error in it is logged. Raises RuntimeError without a running loop."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(_done(work, what), name=f"relay: {what}")
    _errands.add(task)
    task.add_done_callback(_errands.discard)
    return task


async def _done(work: Callable[[], Awaitable[Any]], what: str) -> None:
    try:
        await work()
    except Exception as error:
        Complaints(what).say(error)


def place_of(error: BaseException) -> tuple[str, int]:
    """Where it was raised."""
    found, place = error.__traceback__, ("", 0)
    while found is not None:
        place = found.tb_frame.f_code.co_filename, found.tb_lineno
        found = found.tb_next
    return place
