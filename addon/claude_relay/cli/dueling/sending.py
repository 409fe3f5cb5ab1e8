"""One recorded request through the relay to one target, and what the ledger has of it.

outcome = Sender(address, database, timeout=600.0).send(recorded, "glm/glm-4.6")
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

from claude_relay.cli.console.taking_back import PLACEHOLDER
from claude_relay.core.config import Address
from claude_relay.core.duels.answers import Answer
from claude_relay.core.duels.outcomes import Outcome
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import ORIGIN, TARGET, Recorded
from claude_relay.store.db.database import StoreError, read_only
from claude_relay.store.ledger.lookups import NotOne, find

ROW_SECONDS: Final = 3.0
"""How long a row may take to come; with `durability: strict` it is there before the answer's end."""
POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Sender:
    """Through one relay. `timeout`: seconds without a byte."""

    base_url: Address
    database: Path
    timeout: float

    def send(self, recorded: Recorded, target: str) -> Outcome:
        """Ask and read the whole answer. Never raises: what fails is an outcome, too."""
        head = {**dict(recorded.fields), "accept-encoding": "identity", "x-api-key": PLACEHOLDER}
        head |= {TARGET: target, ORIGIN: str(Origin.DUEL)}
        with closing(HTTPConnection(self.base_url.host, self.base_url.port, timeout=self.timeout)) as connection:
            try:
                connection.request("POST", recorded.path, recorded.body, head)
                response = connection.getresponse()
                request, kind = response.getheader("x-relay-request", ""), response.getheader("content-type", "")
                answer = Answer.of(response.status, kind, response.read())
            except (OSError, HTTPException, ValueError) as error:
                return Outcome(Answer(0, error="broken", message=f"{type(error).__name__}: {error}"))
        return Outcome(answer, request, self.row(request))

    def row(self, request: str) -> Mapping[str, Any] | None:
        """What the ledger has of it, as soon as it has; None: nothing."""
        until = time.monotonic() + ROW_SECONDS
        while request:
            try:
                with closing(read_only(self.database)) as connection:
                    return find(connection, request).request
            except NotOne:
                if time.monotonic() > until:
                    break
                time.sleep(POLL_SECONDS)
            except StoreError:
                break
        return None
