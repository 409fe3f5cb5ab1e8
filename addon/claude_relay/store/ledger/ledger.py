"""The ledger: one row for every request, one for every try; written so that an answered request is never lost.

    ledger = Ledger(Path("relay.db"), report=logging.error)
    ledger.open()
    committed = await ledger.write(RequestRow(id="req_relay_1", …), [AttemptRow(request="req_relay_1", n=1, …)])
    ledger.close()

With durability `strict`, `write` waits for the commit, so the caller can hold back the last byte of the answer until
then. It never waits longer than `patience`; a row that the database does not take, or that comes while it is known to fail, goes at
once into a file beside it (`journal`), so that a killed process loses none that was answered. With `relaxed` it stays in memory
first, and goes there when these get many or the process ends.

What this module must not know: SQL (`tables`), where the figures come from, and what they are used for (`reports`).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from .rows import AttemptRow, ChargeRow, Finished, Record, RequestRow
from .spill import Journal
from .tables import Tables
from .writer import Entry, Writer, settle

__all__ = ["AttemptRow", "ChargeRow", "Finished", "Ledger", "RequestRow"]

KEPT = 100_000
"""Rows held in memory while neither the database nor the journal takes them."""
SPILL_BEYOND = {"strict": 0, "relaxed": 10_000}
"""Rows held in memory while the database fails, by durability; beyond that they go into the journal."""
NOTICED_WITHIN = 0.75
"""The part of `patience` after which a lock of somebody else's is a failure: there must be time left to put the rows elsewhere."""

decode: Callable[[bytes], Record] = msgspec.json.Decoder(tuple[RequestRow, tuple[AttemptRow, ...]]).decode


def encode(record: Record) -> bytes:
    """A request and its attempts as JSON, with `?` for a header's bytes that are no UTF-8, as in the database."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        request, attempts = record
        return msgspec.json.encode((_storable(request), [_storable(attempt) for attempt in attempts]))


def _storable(row: Any) -> Any:
    values = ((field.name, getattr(row, field.name)) for field in dataclasses.fields(row))
    texts = {name: value.encode("utf-8", "replace").decode() for name, value in values if isinstance(value, str)}
    return dataclasses.replace(row, **texts)


class Ledger:
    """Writes requests and their attempts to the database at `path`.

    report      told what a person must know (failing, working again, rows lost), once each; called in any thread
    patience    seconds that `write` waits for a commit at most
    durability  `strict`: `write` waits for the commit; `relaxed`: it does not, and a killed process loses a few rows
    kept, spill_beyond  rows held in memory at most, and beyond how many they go into the journal while the database fails; by default
                as the durability says
    """

    def __init__(
        self,
        path: Path,
        *,
        report: Callable[[str], None],
        patience: float = 2.0,
        durability: str = "strict",
        kept: int = KEPT,
        spill_beyond: int | None = None,
    ) -> None:
        """Nothing is touched before `open`."""
        self.path = path
        self.patience = patience
        self.durability = durability
        beyond = SPILL_BEYOND[durability] if spill_beyond is None else spill_beyond
        self._at_once = beyond == 0
        self._writer: Writer[Record] = Writer(
            Tables(path, NOTICED_WITHIN * patience),
            spill=Journal(path, encode=encode, decode=decode, report=lambda text: report(f"ledger: {text}")),
            name="ledger",
            report=report,
            limit=kept,
            spill_beyond=beyond,
        )

    @property
    def pending(self) -> int:
        """Rows of `requests` in memory that are not committed yet."""
        return self._writer.pending

    @property
    def failing(self) -> bool:
        """True while the last try to use the database failed, and after `close`."""
        return self._writer.failing

    @property
    def problem(self) -> str:
        """Why the database cannot be used; empty while it can."""
        return self._writer.problem

    @property
    def whole(self) -> bool:
        """Whether every row that was given is committed, none waiting in memory or in the journal."""
        return not (self._writer.pending or self._writer.failing or self._writer.spilled)

    def open(self) -> None:
        """Open the database and start writing. When that fails it is reported and tried again in the background."""
        self._writer.start()

    async def write(self, request: RequestRow, attempts: Iterable[AttemptRow]) -> bool:
        """Write a request down; True: it is committed. False: it is kept elsewhere and will be as soon as possible.

        False comes after `patience` seconds without a commit, at once while the database fails, always when relaxed.
        An id that is in the ledger already is left as it is.
        """
        record = request, tuple(attempts)
        if self.durability == "relaxed":
            self._writer.put(Entry(record))
            return False
        if self._writer.failing:
            if not (self._at_once and await asyncio.to_thread(self._writer.keep, record)):
                self._writer.put(Entry(record))
            return False
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(self.patience, settle, (done,), False)
        self._writer.put(Entry(record, done))
        if self._writer.failing:  # since a moment ago: nobody answers any more
            settle((done,), False)
        try:
            return await done
        finally:
            timer.cancel()

    def put(self, request: RequestRow, attempts: Iterable[AttemptRow]) -> None:
        """Queue a request without waiting for anything; for where nobody can await."""
        self._writer.put(Entry((request, tuple(attempts))))

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued, for at most `timeout` seconds, put the rest into the journal and let go of it; needs no event loop."""
        self._writer.close(timeout)
