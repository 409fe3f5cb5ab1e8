"""What is written down of each attempt, and of what is billed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.accounting.pricing import Priced
from claude_relay.core.accounting.terms import ORDINARY, Terms
from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Attempt, Outcome, Verdict

IDS = ("request-id", "x-request-id", "x-goog-request-id")
"""Header fields in which upstreams say by which id they know a request."""


@dataclass(slots=True)
class Charged:
    """What is billed beside an attempt's own model. `usage`: in portions, each priced by itself."""

    kind: str
    model: str
    terms: Terms
    usage: Sequence[Usage]
    priced: Priced | None = None


@dataclass(slots=True)
class AttemptRecord:
    """One attempt as the ledger will know it. `started_at` is in Unix seconds, the other times are those of the monotonic clock."""

    attempt: Attempt
    started_at: float
    began_at: float
    first_byte_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    verdict: str = ""
    error: str = ""
    upstream_id: str | None = None
    """The id by which the upstream knows it."""
    waited: float = 0.0
    """Seconds for which the request was held back before it."""
    usage: Usage | None = None
    """What the upstream has told of tokens, also in an answer that was discarded or broken off."""
    served_model: str | None = None
    terms: Terms = ORDINARY
    priced: Priced | None = None
    proxy: str = ""
    """The outbound proxy on its way, as tables call it; empty: none."""
    dispatched: bool = False
    """Whether its request has left."""
    unknown: Passed | None = None
    """What it has answered, where the upstream did not come to tell what that used."""
    estimated: bool = False
    """Whether the output, or more, was not told but estimated."""
    charges: list[Charged] = field(default_factory=list)
    """What is billed beside the answer's own model."""

    def goes_through(self, proxy: OutboundProxy | None) -> OutboundProxy | None:
        """Write down its way out; None: there is no proxy on it."""
        self.proxy = "" if proxy is None else proxy.title
        return proxy

    def end(self, outcome: Outcome, verdict: Verdict | None) -> None:
        """It is over, or accepted."""
        self.status = outcome.status
        self.upstream_id = next((outcome.headers[name] for name in IDS if outcome.headers.get(name)), None)
        # What it was, and why in the provider's words: the verdict's reason is one line of them, without what could be a credential.
        words = verdict.reason.partition(": ")[2] if verdict is not None else ""
        self.error = f"{outcome.message}: {words}" if words and words not in outcome.message else outcome.message
        self.verdict = verdict.name if verdict is not None else ""

    def with_fault(self, error: object) -> str:
        """What went wrong, and before it what was meant to."""
        if self.attempt.fault is None:
            return str(error)
        return "; ".join(filter(None, (f"fault: {self.attempt.fault}", str(error))))
