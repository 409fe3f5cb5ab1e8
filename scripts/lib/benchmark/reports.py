"""How long reports over a large ledger take: in this process, from a file that is made first.

    measure_reports(Path("reports.db"), 1_000_000)   -> [Reporting(name="by model", rows=1_000_000, seconds=Spread(…)), …]

The ledger looks like a year of a team with Claude Code: sessions of some dozens of requests, each with its client, project, key and two
models, a few failures. What this module must not know: what is fast enough.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

from sqlite_utils import Database

from claude_relay.core.times import iso
from claude_relay.store.db import rollups
from claude_relay.store.db.database import connect, read_only
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.filters import Only
from claude_relay.store.ledger.lookups import sessions
from claude_relay.store.ledger.reports import GROUPS, summarise

from .figures import Reporting, Spread

ROUNDS: Final = 3
BEGIN: Final = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
DAYS: Final = 400
COLUMNS: Final = (
    "id, started_at, client, session, method, path, requested_model, served_model, provider, key, stream, status, error_type, "
    "attempts, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens, cost_usd, priced_by, ttft_ms, duration_ms, "
    "finished, project"
)

type Values = tuple[Any, ...]
type Report = Callable[[sqlite3.Connection], object]


def measure_reports(path: Path, rows: int) -> list[Reporting]:
    """Make the ledger, and every report of it a few times."""
    make_ledger(path, rows)
    found = []
    with closing(read_only(path)) as connection:
        for name, report in all_reports().items():
            times = [seconds(report, connection) for _ in range(ROUNDS)]
            found.append(Reporting(name, rows, Spread.of(times)))
    return found


def all_reports() -> dict[str, Report]:
    """Over everything, over a span with a filter, and of sessions."""

    def grouped(by: str, **options: Any) -> Report:
        return lambda connection: summarise(connection, by=by, **options)

    span = {
        "since": BEGIN + timedelta(days=30),
        "until": BEGIN + timedelta(days=DAYS - 30),
        "only": Only(model="*opus*"),
    }
    found = {f"by {by}": grouped(by) for by in GROUPS}
    found |= {f"by {by}, one model, part of the time": grouped(by, **span) for by in GROUPS}
    found["sessions"] = sessions
    return found


def seconds(report: Report, connection: sqlite3.Connection) -> float:
    """Of one report."""
    began = time.perf_counter()
    report(connection)
    return time.perf_counter() - began


def make_ledger(path: Path, rows: int, made: Iterator[Values] | None = None) -> None:
    """A new file with so many requests, the same in every run. `made`: where they come from."""
    made = made if made is not None else requests(Random(1))
    marks = ", ".join("?" * len(COLUMNS.split(",")))
    with closing(connect(path, patience=5.0)) as connection:
        migrate(connection)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        connection.execute("DROP TABLE rollups")
        for trigger in ("rollups_added", "rollups_changed", "rollups_taken"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.executemany(f"INSERT INTO requests ({COLUMNS}) VALUES ({marks})", islice(made, rows))
        rollups.create(Database(connection, execute_plugins=False))  # at once: several times as fast as by triggers
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def requests(
    random: Random, *, begin: datetime = BEGIN, days: float = DAYS, clients: int = 8, keys: int = 6
) -> Iterator[Values]:
    """Session after session, without end. `begin`, `days`: when they begin; a third of the keys are of the second provider."""
    number = 0
    while True:
        at = begin + timedelta(days=days * random.random())
        client, project = f"client-{random.randrange(clients)}", f"project-{random.randrange(20)}"
        key = random.randrange(keys)
        session = f"{random.getrandbits(128):032x}"
        provider = ("anthropic", "glm")[key >= keys * 2 / 3]
        for _ in range(random.randrange(10, 70)):
            number += 1
            at += timedelta(seconds=random.expovariate(1 / 60))
            model = ("claude-opus-4-5", "claude-haiku-4-5")[random.random() < 0.25]
            begun = (
                f"req_{number:09d}",
                iso(at),
                client,
                session,
                "POST",
                "/v1/messages",
                model,
                model,
                provider,
                f"k{key}",
            )
            yield *begun, *ending(random), project


def ending(random: Random) -> Values:
    """From `stream` to `finished`: one in thirty fails."""
    tries = 1 + (random.random() < 0.1)
    if random.random() < 1 / 30:
        return 1, 529, "overloaded_error", tries, *[None] * 7, 900.0, "error"
    ttft = random.lognormvariate(7.2, 0.6)
    tokens = (random.randrange(2_000), random.randrange(3_000), random.randrange(150_000), random.randrange(9_000))
    return 1, 200, None, tries, *tokens, 0.01, "bench", ttft, ttft + random.lognormvariate(9.0, 0.8), "complete"
