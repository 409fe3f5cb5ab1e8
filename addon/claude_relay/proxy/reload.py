"""relay.yaml, read again when it changes.

A broken edit keeps the last good configuration and says so loudly. The file is looked at twice a second, off the event loop, and read
when two looks have found the same: many editors empty a file before they write it. A file that was emptied, or is gone, changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from mitmproxy import exceptions
from mitmproxy.log import ALERT

from claude_relay.core.config import Config, ConfigError, Problem, parse, running
from claude_relay.core.config.yaml import read as read_yaml

from .loops import Loop

logger = logging.getLogger(__name__)
INTERVAL = 0.5
"""Seconds between two looks at the file."""
SETTLE = 0.2
"""Seconds for which a changed file must stay as it is before it is read."""
EMPTIED = (
    "says nothing any more, so its providers and routes would be gone; if that is meant, start the relay again with it"
)

type Stamp = tuple[int, int, int] | None


def read(path: Path, now: Config | None = None) -> Config:
    """Read and check a configuration. Raises ConfigError with every problem, also when the file cannot be read.

    now  the configuration in force, when there is one: a file without any setting must not take its place
    """
    try:
        text = path.read_bytes()
    except OSError as e:
        raise ConfigError([Problem(str(path), None, "", f"cannot be read: {e.strerror or e}")]) from e
    config = parse(text, environ=os.environ, where=str(path))
    if now is not None and not read_yaml(text).data and running(now, config) != now:
        raise ConfigError([Problem(str(path), None, "", EMPTIED)])
    return config


def stamp(path: Path) -> Stamp:
    """What changes when a file is edited or replaced; None when it is not there."""
    try:
        s = path.stat()
    except OSError:
        return None
    return (s.st_mtime_ns, s.st_size, s.st_ino)


class Watcher:
    """Looks at one file and reports every good new configuration.

    seen     how the file was when it was read last
    changed  puts a configuration into force; raises ConfigError or OptionsError, with nothing changed, if it cannot be
    now      the configuration in force
    """

    def __init__(
        self, path: Path, seen: Stamp, changed: Callable[[Config], Awaitable[None]], now: Callable[[], Config]
    ) -> None:
        self.path = path
        self.seen = seen
        self.changed = changed
        self.now = now
        self._settling: tuple[Stamp] | None = None
        """How the file was at the last look, if it was another one than the one that was read."""
        self._reading = asyncio.Lock()
        self._loop = Loop(
            f"watching {path}", self.look, lambda: INTERVAL if self._settling is None else min(SETTLE, INTERVAL)
        )

    def start(self) -> None:
        """Begin to look; needs a running loop."""
        self._loop.start()

    def stop(self) -> None:
        """Stop looking."""
        self._loop.stop()

    async def look(self) -> None:
        """One look: has the file changed, and is it finished?"""
        found = await asyncio.to_thread(stamp, self.path)
        settled = self._settling == (found,)
        self._settling = None if found == self.seen else (found,)
        if settled and self._settling is not None:
            await self.reload()

    async def reload(self) -> None:
        """Take over what the file says now, or keep what was. Not for a file that changes while it is read: the next look sees to it."""
        async with self._reading:
            found = await asyncio.to_thread(stamp, self.path)
            try:
                config = await asyncio.to_thread(read, self.path, self.now())
                if await self._is_changing(found):
                    return
                await self.changed(config)
            except (ConfigError, exceptions.OptionsError) as e:
                if not await self._is_changing(found):
                    self.seen = found
                    logger.warning(
                        "%s is broken; the relay goes on with the last good configuration.\n%s", self.path, e
                    )
                return
            except Exception:
                self.seen = found  # the next edit may be better
                raise
            self.seen = found
            logger.log(ALERT, "%s was read again and applies from now on", self.path)

    async def _is_changing(self, found: Stamp) -> bool:
        return await asyncio.to_thread(stamp, self.path) != found
