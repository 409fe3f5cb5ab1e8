"""Ledgers with a few requests whose sums one can work out in one's head, written as a relay writes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from claude_relay.store.ledger.rows import AttemptRow, RequestRow
from claude_relay.store.ledger.tables import Tables
from waiting import PATIENCE

DAY = 86400.0


def request(id: str, at: float, **values: Any) -> RequestRow:
    """One that went well, for a cent."""
    usual: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/messages",
        "finished": "complete",
        "attempts": 1,
        "stream": True,
        "client": "alice",
        "session": "s1",
        "requested_model": "claude-opus-4-8",
        "served_model": "claude-opus-4-8",
        "provider": "anthropic",
        "key": "k1",
        "status": 200,
        "input_tokens": 100,
        "output_tokens": 50,
        "cache_read_tokens": 900,
        "cost_usd": 0.01,
        "ttft_ms": 800.0,
        "duration_ms": 2100.0,
    }
    return RequestRow(id=f"req_relay_{id}", started_at=at, **(usual | values))


def attempt(id: str, n: int, at: float, **values: Any) -> AttemptRow:
    """The try that went well."""
    usual: dict[str, Any] = {
        "provider": "anthropic",
        "key": "k1",
        "status": 200,
        "verdict": "ok",
        "first_byte_ms": 700.0,
        "duration_ms": 1800.0,
    }
    return AttemptRow(request=f"req_relay_{id}", n=n, started_at=at, **(usual | values))


def write(path: Path, rows: Iterable[RequestRow], attempts: Iterable[AttemptRow] = ()) -> None:
    """As the relay does."""
    tables = Tables(path, patience=PATIENCE)
    tables.open()
    of: dict[str, list[AttemptRow]] = {}
    for one in attempts:
        of.setdefault(one.request, []).append(one)
    try:
        tables.commit([(row, tuple(of.get(row.id, ()))) for row in rows])
    finally:
        tables.close()
