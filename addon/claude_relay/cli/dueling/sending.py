"""One recorded request through the relay to one target, and what the ledger has of it.

outcome = Sender(address, database, timeout=600.0).send(recorded, "glm/glm-4.6")
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claude_relay.core.clients.credentials import PLACEHOLDER
from claude_relay.core.config import Address
from claude_relay.core.duels.outcomes import Outcome
from claude_relay.core.exchange import Origin
from claude_relay.core.recordings.recorded import Recorded
from claude_relay.store.ledger.kept_requests import row_of
from claude_relay.upstream.base_url import Door, send


@dataclass(frozen=True, slots=True)
class Sender:
    """Through one relay. `timeout`: seconds without a byte."""

    base_url: Address
    database: Path
    timeout: float

    def send(self, recorded: Recorded, target: str) -> Outcome:
        """Request and read the whole answer. Never raises: what fails is an outcome, too."""
        answer, request = send(Door(self.base_url.url), recorded, target, Origin.DUEL, PLACEHOLDER, self.timeout)
        return Outcome(answer, request, row_of(self.database, request))
