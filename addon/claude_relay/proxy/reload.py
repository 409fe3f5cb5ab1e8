"""relay.yaml, read again when it changes.

A broken edit keeps the last good configuration and says so loudly; the file is looked at twice a second, off the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from mitmproxy.log import ALERT

from claude_relay.core.config import Config, ConfigError, Problem, parse

logger = logging.getLogger(__name__)
INTERVAL = 0.5
"""Seconds between two looks at the file."""

type Stamp = tuple[int, int, int] | None


def read(path: Path) -> Config:
    """Read and check a configuration. Raises ConfigError with every problem, also when the file cannot be read."""
    try:
        text = path.read_bytes()
    except OSError as e:
        raise ConfigError([Problem(str(path), None, "", f"cannot be read: {e}")]) from e
    return parse(text, environ=os.environ, where=str(path))


def stamp(path: Path) -> Stamp:
    """What changes when a file is edited or replaced."""
    try:
        s = path.stat()
    except OSError:
        return None
    return (s.st_mtime_ns, s.st_size, s.st_ino)


class Watcher:
    """Looks at one file and reports every good new configuration."""

    def __init__(self, path: Path, seen: Stamp, changed: Callable[[Config], None]) -> None:
        self.path = path
        self.seen = seen
        self.changed = changed
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; needs a running loop."""
        self.task = asyncio.get_running_loop().create_task(self.watch(), name=f"watch {self.path}")

    def stop(self) -> None:
        """Stop looking."""
        if self.task is not None:
            self.task.cancel()

    async def watch(self) -> None:
        """One look every half second."""
        while True:
            await asyncio.sleep(INTERVAL)
            now = await asyncio.to_thread(stamp, self.path)
            if now != self.seen:
                self.seen = now
                await self.reload()

    async def reload(self) -> None:
        """Take over what the file says now, or keep what was."""
        try:
            self.changed(await asyncio.to_thread(read, self.path))
        except ConfigError as e:
            logger.warning("%s is broken; the relay goes on with the last good configuration.\n%s", self.path, e)
            return
        logger.log(ALERT, "%s was read again and applies from now on", self.path)
