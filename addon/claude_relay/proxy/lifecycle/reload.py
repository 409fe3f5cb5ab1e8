"""relay.yaml, read again when it changes.

A broken edit keeps the last good configuration, with a warning. The file is looked at twice a second, off the event loop, and read
when two looks have found the same: many editors empty a file before they write it. A file that was emptied or cut off, or is gone, changes
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from mitmproxy import exceptions
from mitmproxy.log import ALERT

from claude_relay.core.config import Config, ConfigError, ConfigProblem, parse, running
from claude_relay.core.config.yaml import read as read_yaml
from claude_relay.proxy.common.loops import Loop
from claude_relay.proxy.log.folding import EACH

logger = logging.getLogger(__name__)
INTERVAL = 0.5
"""Seconds between two looks at the file."""
SETTLE = 0.2
"""Seconds for which a changed file must stay as it is before it is read."""
EMPTIED = (
    "says nothing any more, so its providers and routes would be gone; if that is meant, start the relay again with it"
)

CUT_OFF = (
    "holds only the beginning of what it was, without all of its providers and routes; if that is meant, change something else in it "
    "too (a comment will do), or start the relay again"
)
NO_FILE = "is no file any more"

type Stamp = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Version:
    """The file as it was read last. `seen`: how it looked when that began."""

    seen: Stamp = None
    text: bytes = b""


def read(path: Path) -> tuple[Version, Config]:
    """Read and check a configuration. Raises ConfigError with every problem, also when the file cannot be read."""
    seen = stamp(path)
    try:
        text = path.read_bytes()
    except OSError as e:
        raise refused(path, f"cannot be read: {e.strerror or e}") from e
    return Version(seen, text), parse(text, environ=os.environ, where=str(path))


def read_anew(path: Path, now: Config, text: bytes, known: Callable[[bytes], bool]) -> tuple[Version, Config]:
    """As `read`, while a configuration is in force, whose place a file that was emptied or cut off must not take.

    now, text   what is in force, and what the file said then
    known       whether a text was in force before: whoever goes back to one of these has not lost the rest
    """
    if is_special(path):  # reading a pipe that nobody writes would never end
        raise refused(path, NO_FILE)
    version, config = read(path)
    if running(now, config) == now:
        return version, config
    if not read_yaml(version.text).data:
        raise refused(path, EMPTIED)
    serves = (config.providers, config.routes) == (now.providers, now.routes)
    if is_cut_off(version.text, text, serves=serves) and not known(version.text):
        raise refused(path, CUT_OFF)
    return version, config


def is_cut_off(text: bytes, before: bytes, *, serves: bool) -> bool:
    """Whether a text looks like another one of which the end was lost: in the middle of a line, or with what serves requests.

    A person may well take away the last lines; `serves`: then providers and routes are still the same.
    """
    tail = before[len(text) :]
    if not tail or not before.startswith(text):
        return False
    whole_lines = text.endswith(b"\n") or tail.startswith((b"\n", b"\r\n"))
    return not (whole_lines and serves)


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def refused(path: Path, what: str) -> ConfigError:
    """A problem of the whole file."""
    return ConfigError([ConfigProblem(str(path), None, "", what)])


def stamp(path: Path) -> Stamp:
    """What changes when a file is edited or replaced; None when it is not there."""
    try:
        s = path.stat()
    except OSError:
        return None
    return (s.st_mtime_ns, s.st_size, s.st_ino)


class Watcher:
    """Looks at one file and reports every good new configuration.

    read     the file as it was read last
    changed  puts a configuration into force; raises ConfigError or OptionsError, with nothing changed, if it cannot be
    now      the configuration in force
    """

    def __init__(
        self, path: Path, read: Version, changed: Callable[[Config], Awaitable[None]], now: Callable[[], Config]
    ) -> None:
        self.path = path
        self.seen = read.seen
        self.text = read.text
        self.changed = changed
        self.now = now
        self._known = {hash(read.text)}
        """Texts that were in force."""
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
                version, config = await asyncio.to_thread(
                    read_anew, self.path, self.now(), self.text, lambda text: hash(text) in self._known
                )
                if await self._is_changing(found):
                    return
                await self.changed(config)
            except (ConfigError, exceptions.OptionsError) as e:
                if not await self._is_changing(found):
                    self.seen = found
                    logger.warning(
                        "%s is broken; the relay goes on with the last good configuration.\n%s",
                        self.path,
                        e,
                        extra=EACH,
                    )
                return
            except Exception:
                self.seen = found  # the next edit may be better
                raise
            self.seen, self.text = found, version.text
            self._known.add(hash(version.text))
            logger.log(ALERT, "%s was read again and applies from now on", self.path)

    async def _is_changing(self, found: Stamp) -> bool:
        return await asyncio.to_thread(stamp, self.path) != found
