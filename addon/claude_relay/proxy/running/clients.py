"""The clients in force: one picture of them in memory, made anew when the database has another one.

    clients = KnownClients(Path("relay.db"), stopped)
    await clients.start()
    grant = await clients.find("rk-…")               whose it is; None: nobody's
    clients.directory, clients.unread                the picture, and why there is none yet

Looked at every INTERVAL in a thread. A key that is not in the picture causes a look of its own, so that one made a moment ago works at
once; however many unknown keys come, there are at most 1/LEAST looks a second. A database that cannot be read leaves the last picture in
force. It must not know requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from claude_relay.core.clients.credentials import is_own
from claude_relay.core.clients.directory import NOBODY, Directory, Grant, Stop
from claude_relay.proxy.common.loops import Loop
from claude_relay.store.clients.book import ClientBook
from claude_relay.store.db.database import StoreError

logger = logging.getLogger(__name__)
INTERVAL = 0.4
"""Seconds between two looks: a stop takes effect within a second."""
LEAST = 0.2
"""Seconds between two looks that unknown keys cause."""
PATIENCE = 1.0
"""Seconds to wait for somebody else's lock: the last picture is good enough meanwhile."""


class KnownClients:
    """Of one relay. `stopped`: gets the stops that are new."""

    def __init__(self, database: Path, stopped: Callable[[Sequence[Stop]], None] = lambda stops: None) -> None:
        self.directory: Directory = NOBODY
        self.unread: str | None = "they are not read yet"
        """Why it is not known who there is; None: it is, or was a moment ago."""
        self._book = ClientBook(database, patience=PATIENCE)
        self._stopped = stopped
        self._generation: int | None = None
        self._last_stop = 0
        self._complaint = ""
        self._thread = ThreadPoolExecutor(1, "relay-clients")
        self._loop = Loop("looking at stored clients", self.look, lambda: INTERVAL)
        self._guard = asyncio.Lock()
        self._began = -LEAST
        self._next: asyncio.Task[None] | None = None
        """The look to come, for all who wait for one that begins after their coming."""

    async def start(self) -> None:
        """Take over what is stored, then keep looking."""
        try:
            await self.look()
        finally:
            self._loop.start()

    def close(self) -> None:
        """The relay ends. Maybe without a running loop."""
        self._loop.stop()
        if self._next is not None:
            self._next.cancel()
        self._thread.submit(self._book.close)
        self._thread.shutdown(wait=False)

    async def find(self, secret: str) -> Grant | None:
        """Whose secret it is, served or not."""
        found = self.directory.find(secret)
        if found is not None or not is_own(secret):
            return found
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._look_in_time(), name="relay: look for a client")
        await asyncio.shield(self._next)
        return self.directory.find(secret)

    async def look(self) -> None:
        """Take over what changed."""
        async with self._guard:
            await self._look()

    async def _look_in_time(self) -> None:
        try:
            await asyncio.sleep(max(0.0, self._began + LEAST - time.monotonic()))
            async with self._guard:
                self._next = None  # whoever comes now may have a key that this look does not see
                await self._look()
        finally:
            if self._next is asyncio.current_task():
                self._next = None

    async def _look(self) -> None:
        self._began = time.monotonic()
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._read, self._generation)
        except StoreError as error:
            self._complain(str(error))
            return
        self._complain("")
        if found is not None:
            self._generation, directory = found
            self._put_into_force(directory)

    def _read(self, known: int | None) -> tuple[int, Directory] | None:
        """The clients, when they changed. In a thread."""
        generation = self._book.changed()
        return None if generation == known else (generation, self._book.directory(self.directory))

    def _put_into_force(self, directory: Directory) -> None:
        self.directory, self.unread = directory, None
        fresh = [stop for stop in directory.stops if stop.id > self._last_stop]
        if fresh:
            self._last_stop = max(stop.id for stop in fresh)
            self._stopped(fresh)

    def _complain(self, text: str) -> None:
        """Say what is wrong once, and once that it is over."""
        before, self._complaint = self._complaint, text
        if self._generation is None and text:
            self.unread = text
        if text and text != before:
            logger.warning("stored clients cannot be read: %s", text)
        elif before and not text:
            logger.warning("stored clients can be read again")
