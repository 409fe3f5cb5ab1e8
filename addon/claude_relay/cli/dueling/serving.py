"""The relay that a duel goes through.

    with relay_for(source) as relay:
        relay.base_url, relay.database, relay.providers

One that runs with the configuration already; else one is started, and ended afterwards, with the same file, ports and ledger.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from claude_relay.cli.console.common import Source
from claude_relay.cli.console.running import find
from claude_relay.cli.console.terminal import Failure
from claude_relay.cli.demonstration.relaying import END_SECONDS, LINES_SHOWN, POLL_SECONDS, RUN, START_SECONDS
from claude_relay.core.config import Address
from claude_relay.core.installation import ADDON
from claude_relay.store.shared.relays import RelayRow

NO_DOOR = "The relay has no base URL to send to: `listen.base_url` in relay.yaml is off."


@dataclass(frozen=True, slots=True)
class Serving:
    """A relay that listens. `providers`: their names, in the order of relay.yaml; `own`: it runs for this alone."""

    base_url: Address
    database: Path
    providers: tuple[str, ...]
    own: bool

    @classmethod
    def of(cls, row: RelayRow, database: Path, *, own: bool) -> Serving:
        """Raises Failure for one that has no base URL."""
        place = row.listener("base_url")
        if place is None:
            raise Failure(NO_DOOR)
        return cls(Address.parse(place).reachable, database, tuple(json.loads(row.pools)), own)


@contextlib.contextmanager
def relay_for(source: Source) -> Iterator[Serving]:
    """Raises Failure when none runs and none can be started."""
    database = source.config.database
    found = find(source, database)
    if found.row is not None and found.is_here:
        yield Serving.of(found.row, database, own=False)
        return
    if source.config.listen.base_url is None:
        raise Failure(NO_DOOR)
    with tempfile.TemporaryDirectory(prefix="claude-relay-duel-") as folder, started(source, Path(folder)) as row:
        yield Serving.of(row, database, own=True)


@contextlib.contextmanager
def started(source: Source, folder: Path) -> Iterator[RelayRow]:
    """A relay in a process of its own. `folder`: for what it says."""
    environ = {**os.environ, **({} if source.path is None else {"RELAY_CONFIG": str(source.path.resolve())})}
    command = [sys.executable, "-P", "-c", RUN, str(ADDON), "relay"]
    log = folder / "relay.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield wait_for(source, process, log)
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(source: Source, process: subprocess.Popen[bytes], log: Path) -> RelayRow:
    """Its row, as soon as it listens. Raises Failure with what it said."""
    until = time.monotonic() + START_SECONDS
    while True:
        row = find(source, source.config.database).row
        if row is not None:
            return row
        if process.poll() is not None or time.monotonic() > until:
            said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:]
            raise Failure(
                "No relay runs, and none could be started. It said:\n" + "\n".join(f"  {line}" for line in said)
            )
        time.sleep(POLL_SECONDS)
