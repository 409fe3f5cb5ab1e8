"""Requests of the ledger whose bodies were kept, to be sent once more; and the row of one that has just been sent.

    recorded = kept_request(connection, "req_relay_01a2")         raises NotOne, Unusable
    row = row_of(Path("relay.db"), "req_relay_01b3")              as soon as it is there; None: it does not come

It must not know where they are sent.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from claude_relay.core.recordings.recorded import Recorded, Unusable
from claude_relay.store.db.database import StoreError, read_only

from . import bodies
from .lookups import NotOne, find

ROW_SECONDS: Final = 3.0
"""How long a row may take to come; with `durability: strict` it is there before the answer's end."""
POLL_SECONDS: Final = 0.05
NOT_KEPT: Final = "The body of {} was not kept: that is so from when relay.yaml has `ledger: {{bodies: {{keep: 7d}}}}`."
IN_PART: Final = (
    "Only the beginning of {}'s body was kept ({:,} of {:,} bytes): give `ledger.bodies.limit` in relay.yaml more."
)


def kept_request(connection: sqlite3.Connection, name: str) -> Recorded:
    """Its head was not kept: it goes without betas. Raises NotOne, Unusable, StoreError."""
    request = find(connection, name).request
    kept = next(
        (body for body in bodies.read(connection, request["id"]) if (body.n, body.kind) == (0, "request")), None
    )
    if kept is None:
        raise Unusable(NOT_KEPT.format(request["id"]))
    if kept.truncated:
        raise Unusable(IN_PART.format(request["id"], len(kept.body), kept.size))
    return Recorded.of(str(request["id"]), request["method"], request["path"], (), kept.body)


def row_of(path: Path, request: str) -> Mapping[str, Any] | None:
    """What the ledger has of a request that was just answered; None: nothing. `request` empty: it has none."""
    until = time.monotonic() + ROW_SECONDS
    while request:
        try:
            with closing(read_only(path)) as connection:
                return find(connection, request).request
        except NotOne:
            if time.monotonic() > until:
                break
            time.sleep(POLL_SECONDS)
        except StoreError:
            break
    return None
