"""The ledger that a command reads, and what it says when it cannot.

with reading(path) as connection: ...
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from claude_relay.cli.console.common import shown_path
from claude_relay.cli.console.terminal import Failure
from claude_relay.core.installation import command
from claude_relay.store.db.database import MissingDatabase, StoreError, read_only

FIRST_REQUEST = f"To send a first request, start {command('relay')}, then in another shell: {command('env')} -- claude"


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The ledger, for reading only. Turns a StoreError, also of the block, into one line and status 1."""
    try:
        with closing(read_only(path)) as connection:
            yield connection
    except MissingDatabase:
        raise Failure(
            f"There is no ledger at {shown_path(path)}; the relay creates it when it starts. {FIRST_REQUEST}"
        ) from None
    except StoreError as error:
        raise Failure(str(error)) from None
