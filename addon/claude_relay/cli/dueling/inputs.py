"""Where a duel's requests come from: a file of flows, a HAR file, or a request in the ledger whose body was kept.

for recorded in recorded_at("agent.flow", database): ...
for recorded in recorded_at("req_relay_01a2", database): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claude_relay.cli.console.terminal import Failure, echo
from claude_relay.cli.spending.single import none_or_several
from claude_relay.cli.spending.source import reading
from claude_relay.core.recordings.files import read
from claude_relay.core.recordings.recorded import Recorded, Unusable
from claude_relay.store.ledger.kept_requests import kept_request
from claude_relay.store.ledger.lookups import NEWEST, PREFIX, NotOne


def recorded_at(name: str, database: Path) -> Sequence[Recorded]:
    """The requests of a file, or the one of the ledger with that name. Raises Failure; what is left out of a file is said."""
    path = Path(name)
    try:
        if not path.is_file():
            return [in_ledger(name, database)]
        found = read(path.read_bytes(), path.name)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror}") from None
    except Unusable as error:
        raise Failure(str(error)) from None
    for why in found.left_out:
        echo(f"left out: {why}", err=True)
    return found.requests


def in_ledger(name: str, database: Path) -> Recorded:
    """Its head was not kept: it goes without betas. Raises Failure, Unusable."""
    if not name.startswith(PREFIX) and name != NEWEST:
        raise Failure(f"{name} is no file, and no request's id (those begin with {PREFIX}; `{NEWEST}` is the newest).")
    with reading(database) as connection:
        try:
            return kept_request(connection, name)
        except NotOne as error:
            raise none_or_several(error) from None
