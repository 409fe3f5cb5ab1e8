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
from claude_relay.store.ledger import bodies
from claude_relay.store.ledger.lookups import NEWEST, PREFIX, NotOne, find

NOT_KEPT = "The body of {} was not kept: that is so from when relay.yaml has `ledger: {{bodies: {{keep: 7d}}}}`."
IN_PART = (
    "Only the beginning of {}'s body was kept ({:,} of {:,} bytes): give `ledger.bodies.limit` in relay.yaml more."
)


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
            request = find(connection, name).request
        except NotOne as error:
            raise none_or_several(error) from None
        kept = next(
            (body for body in bodies.read(connection, request["id"]) if (body.n, body.kind) == (0, "request")), None
        )
    if kept is None:
        raise Failure(NOT_KEPT.format(request["id"]))
    if kept.truncated:
        raise Failure(IN_PART.format(request["id"], len(kept.body), kept.size))
    return Recorded.of(str(request["id"]), request["method"], request["path"], (), kept.body)
