"""What a writer writes to: a sink, and a spill for as long as that does not take rows; and which of their errors are a row's own fault.

What this module must not know: threads, queues, what a row is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Protocol

ROWS_FAULT = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    TypeError,
    ValueError,
    OverflowError,
    AttributeError,
)
"""Errors that speak about a row; every other one speaks about the database."""


class Sink[T](Protocol):
    """Where rows go. Any method may raise; the writer then closes the sink, waits, and opens it again."""

    def open(self) -> None:
        """Make ready; also called again after a failure."""

    def write(self, rows: Sequence[T]) -> None:
        """Commit the rows. When it raises, some may be in: a row that is there already is left as it is."""

    def tidy(self, *, idle: bool) -> None:
        """Housekeeping after a commit, when nobody waits for it; `idle`: nothing is queued."""

    def close(self) -> None:
        """Let go of everything; must not raise, and may be called twice."""

    def explain(self, error: Exception) -> str:
        """What is wrong, and the remedy, in one line without secrets."""


class Spill[T](Protocol):
    """Where rows wait that the sink does not take and memory should not hold; they outlive the process."""

    @property
    def place(self) -> str:
        """Where they are, for people."""

    @property
    def waiting(self) -> bool:
        """Whether there is anything to read."""

    def append(self, rows: Sequence[T]) -> list[Exception]:
        """Keep the rows; returns why some of them cannot be. Raises OSError when none is kept."""

    def adopt(self) -> None:
        """Take over what ended processes have left; must not raise."""

    def read(self, count: int) -> list[T]:
        """The oldest rows, again and again the same until `forget`; none: there are no more."""

    def forget(self) -> None:
        """The rows read last are written."""

    def close(self) -> None:
        """Let go of everything; must not raise."""
