"""How the relay is: what /healthz and `doctor` tell, beyond that the event loop turns.

    health = Health(database, ledger, stored, ending)
    await health.look()         -> Report(serves=True, problems=("the database fails: …",))

A problem by which answers still go out (rows are kept elsewhere, one key of several is damaged) is told beside `ok`; not ok is a relay that
has no key because it cannot read them, or that is ending. No secret is told: of keys their names. What asks the disk is done in a thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.running.stored import Stored
from claude_relay.store.db.folders import refusal, shortage
from claude_relay.store.ledger.ledger import Ledger

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

FILES: Final = 0.9
"""The part of the files that a process may have open."""
JUMP_REPORTED: Final = 600.0
"""Seconds for which a jump of the clock is told."""


@dataclass(frozen=True, slots=True)
class Report:
    """One look. `serves`: whether requests are answered."""

    serves: bool
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """ending: whether the relay takes no further requests. unserved: why no request can have a key; None: some can."""

    database: Path
    ledger: Ledger
    stored: Callable[[], Stored | None]
    ending: Callable[[], bool]

    async def look(self) -> Report:
        """How it is now."""
        stored = self.stored()
        if stored is not None:
            await stored.inspect()
        problems = [*self.of_the_database(), *self.of_the_clock()]
        problems += await asyncio.to_thread(lambda: [*self.of_the_disk(), *self.of_the_files()])
        blocking = [why] if stored is not None and (why := stored.without_keys()) else []
        if self.ending():
            blocking.append("the relay is ending")
        return Report(not blocking, (*blocking, *problems))

    def of_the_database(self) -> Iterator[str]:
        """The ledger, and what is shared through the database."""
        if why := self.ledger.problem:
            yield f"the ledger cannot be written: {why}"
        stored = self.stored()
        for about, why in ({} if stored is None else dict(stored.complaints)).items():
            if why:
                yield f"stored {about} cannot be used: {why}"

    def of_the_disk(self) -> Iterator[str]:
        """Room."""
        folder = self.database.parent
        if why := refusal(folder) or shortage(folder):
            yield f"{self.database}: {why}; make room"

    @staticmethod
    def of_the_files() -> Iterator[str]:
        """Files and connections that are open."""
        if resource is None:
            return
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            count = len(os.listdir("/dev/fd"))
        except FileNotFoundError:
            return
        except OSError:
            count = most
        if most > 0 and count >= FILES * most:
            yield f"{count:,} of {most:,} files and connections are open; allow more with `ulimit -n`"

    @staticmethod
    def of_the_clock() -> Iterator[str]:
        """The system's clock, as it was set."""
        if ahead := NOW.ahead():
            yield f"the system's clock was set back by {ahead:,.0f} s; cooldowns go on by the old time"
        elif (jump := NOW.jumped(JUMP_REPORTED)) is not None:
            yield f"the system's clock jumped ahead by {jump:,.0f} s (was it set, or did the machine sleep?)"


__all__ = ["Health", "Report"]
