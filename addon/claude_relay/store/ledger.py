"""The ledger: one row for every request, one for every try; written so that an answered request is never lost.

    ledger = Ledger(Path("relay.db"), report=logging.error)
    ledger.open()
    committed = await ledger.write(RequestRow(id="req_relay_1", …), [AttemptRow(request="req_relay_1", n=1, …)])
    ledger.close()

With durability `strict`, `write` waits for the commit, so the caller can hold back the last byte of the answer until
then; it never waits longer than `patience`, and not at all while the database is known to fail. A row that could not be
written yet stays queued.

What this module must not know: SQL (`tables`), where the figures come from, and what they are used for (`reports`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from .tables import AttemptRow, Finished, Record, RequestRow, Tables
from .writer import Entry, Writer, settle

__all__ = ["AttemptRow", "Finished", "Ledger", "RequestRow"]

KEPT = 100_000
"""Rows held in memory while the database fails."""


class Ledger:
    """Writes requests and their attempts to the database at `path`.

    report      told what a person must know (failing, working again, rows lost), once each; called in any thread
    patience    seconds that `write` waits for a commit at most
    durability  `strict`: `write` waits for the commit; `relaxed`: it does not, and a killed process loses a few rows
    kept        rows held in memory at most while the database fails
    """

    def __init__(
        self,
        path: Path,
        *,
        report: Callable[[str], None],
        patience: float = 2.0,
        durability: str = "strict",
        kept: int = KEPT,
    ) -> None:
        """Nothing is touched before `open`."""
        self.path = path
        self.patience = patience
        self.durability = durability
        self._writer: Writer[Record] = Writer(Tables(path, patience), name="ledger", report=report, limit=kept)

    @property
    def pending(self) -> int:
        """Rows of `requests` that are not committed yet."""
        return self._writer.pending

    @property
    def failing(self) -> bool:
        """True while the last try to use the database failed, and after `close`."""
        return self._writer.failing

    def open(self) -> None:
        """Open the database and start writing. When that fails it is reported and tried again in the background."""
        self._writer.start()

    async def write(self, request: RequestRow, attempts: Iterable[AttemptRow]) -> bool:
        """Write a request down; True: it is committed. False: it is queued and will be as soon as possible.

        False comes after `patience` seconds without a commit, at once while the database fails, always when relaxed.
        An id that is in the ledger already is left as it is.
        """
        if self.durability == "relaxed" or self._writer.failing:
            self.put(request, attempts)
            return False
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(self.patience, settle, (done,), False)
        self._writer.put(Entry((request, tuple(attempts)), done))
        try:
            return await done
        finally:
            timer.cancel()

    def put(self, request: RequestRow, attempts: Iterable[AttemptRow]) -> None:
        """Queue a request without waiting for anything; for where nobody can await."""
        self._writer.put(Entry((request, tuple(attempts))))

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, for at most `timeout` seconds, and let go of the file; needs no event loop."""
        self._writer.close(timeout)
