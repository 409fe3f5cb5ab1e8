"""The ledger: one row for every request, one for every try; written so that an answered request is never lost.

    ledger = Ledger(Path("relay.db"), report=logging.error)
    ledger.open()
    committed = await ledger.write(RequestRow(id="req_relay_1", …), [AttemptRow(request="req_relay_1", n=1, …)])
    ledger.close()

With durability `strict`, `write` waits for the commit, so the caller can hold back the last byte of the answer until
then; it never waits longer than `patience`, and not at all while the database is known to fail. A row that could not be
written yet stays queued: in memory, and when these get many or the process ends, in a file beside the database (`journal`).

What this module must not know: SQL (`tables`), where the figures come from, and what they are used for (`reports`).
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from .journal import Journal
from .tables import AttemptRow, Finished, Record, RequestRow, Tables
from .writer import Entry, Writer, settle

__all__ = ["AttemptRow", "Finished", "Ledger", "RequestRow"]

KEPT = 100_000
"""Rows held in memory while neither the database nor the journal takes them."""
SPILL_BEYOND = 10_000
"""Rows held in memory while the database fails; beyond that they go into the journal."""

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
    kept, spill_beyond  rows held in memory at most, and beyond how many they go into the journal while the database fails
    """

    def __init__(
        self,
        path: Path,
        *,
        report: Callable[[str], None],
        patience: float = 2.0,
        durability: str = "strict",
        kept: int = KEPT,
        spill_beyond: int = SPILL_BEYOND,
    ) -> None:
        """Nothing is touched before `open`."""
        self.path = path
        self.patience = patience
        self.durability = durability
        self._writer: Writer[Record] = Writer(
            Tables(path, patience),
            spill=Journal(path, encode=encode, decode=decode, report=lambda text: report(f"ledger: {text}")),
            name="ledger",
            report=report,
            limit=kept,
            spill_beyond=spill_beyond,
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
    def whole(self) -> bool:
        """Whether every row that was given is committed, none waiting in memory or in the journal."""
        return not (self._writer.pending or self._writer.failing or self._writer.spilled)

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
        """Write what is queued, for at most `timeout` seconds, put the rest into the journal and let go of it; needs no event loop."""
        self._writer.close(timeout)
