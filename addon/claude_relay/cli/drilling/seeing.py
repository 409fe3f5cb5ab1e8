"""One run of a client: it is started, waited for, and what it printed and asked is looked at.

    seen = run(["claude", "-p", "Hello"], environ, timeout=60.0)
    Figures.of(Path("relay.db"))

It must not know faults nor how anything is shown.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_relay.cli.console.terminal import Failure
from claude_relay.store.db.database import MissingDatabase, read_only

FIGURES = """
    SELECT count(*), coalesce(sum(attempts), 0), sum(cost_usd), max(estimated),
        (SELECT count(*) FROM attempts WHERE error GLOB 'fault: *')
    FROM requests"""
SHOWN = 64 * 1024
"""Bytes of the client's output in which its last line is looked for."""
GRACE = 3.0
"""Seconds between being asked to end and being ended."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the person would have seen. `exit` None: it had to be ended."""

    exit: int | None
    last_line: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What the ledger says of a run. `faulted`: attempts that met a fault. `cost_usd` None: nothing has a price; `estimated`: in part."""

    requests: int
    attempts: int
    faulted: int
    cost_usd: float | None
    estimated: bool

    @classmethod
    def of(cls, database: Path) -> Figures:
        """Of all that is in it."""
        try:
            with contextlib.closing(read_only(database)) as connection:
                requests, attempts, cost, estimated, faulted = connection.execute(FIGURES).fetchone()
        except MissingDatabase:
            return cls(0, 0, 0, None, False)
        return cls(requests, attempts, faulted, cost, bool(estimated))


def run(command: Sequence[str], environ: Mapping[str, str], *, timeout: float) -> Seen:
    """Run a client to its end, for `timeout` seconds at most. Raises Failure when it cannot be started."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            client = subprocess.Popen(
                command,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(f"{command[0]}: {error.strerror or error}") from None
        try:
            status: int | None = client.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(client)
        seconds = time.monotonic() - began
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - SHOWN))
        return Seen(status, last_line(output.read().decode(errors="replace")), seconds)


def end(client: subprocess.Popen[bytes]) -> None:
    """End a client and what it has started, if they still run."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(client.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(GRACE)
            return


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
