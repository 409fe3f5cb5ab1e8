"""Rows to write, ways to wait for the ledger, and a look at what arrived."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

from claude_relay.store.ledger.ledger import AttemptRow, RequestRow
from waiting import PATIENCE

STARTED = 1_795_000_000.25
_ids = count(1)


def request(**fields: Any) -> RequestRow:
    given = {
        "id": f"req_relay_{next(_ids):06d}",
        "started_at": STARTED,
        "method": "POST",
        "path": "/v1/messages",
        "finished": "complete",
        "attempts": 1,
        "requested_model": "claude-sonnet-5",
        "provider": "anthropic",
        "key": "k1",
        "status": 200,
    }
    return RequestRow(**(given | fields))


def attempt(row: RequestRow, n: int = 1, **fields: Any) -> AttemptRow:
    given = {"provider": "anthropic", "key": "k1", "status": 200, "verdict": "success", "started_at": STARTED}
    return AttemptRow(request=row.id, n=n, **(given | fields))


class Heard:
    """The listener for reports: keeps them, and lets a test wait for one."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._came = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._came:
            self.texts.append(text)
            self._came.notify_all()

    def wait(self, part: str) -> str:
        """The first report with that part; waits for it."""
        with self._came:
            assert self._came.wait_for(lambda: any(part in text for text in self.texts), PATIENCE), (part, self.texts)
            return next(text for text in self.texts if part in text)


def read(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def ids(path: Path) -> list[str]:
    return [name for (name,) in read(path, "SELECT id FROM requests ORDER BY id")]
