"""The made-up Claude of the day: it looks at the key, at its limits and at its prompt caches, and answers.

    upstream = Upstream(make_fleet(1, 0.0), Random(1), start=0.0)
    reply = upstream.answer("simulated-key-1", Turn(…), "session", now=0.0)        # Reply(outcome, latency, …)
    upstream.produced("simulated-key-1", 400, now=9.0)                             # the answer's tokens

A request must fit into the buckets of its key and of the organisation. It must not know who chose the key, or why.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from claude_relay.cli.fake.answers import FAULTS
from claude_relay.core.exchange import Outcome

from .answers import limit_headers, rate_limited, refusal, success
from .buckets import Allowance, Cost
from .caches import Caches
from .fleet import Account, Fleet
from .traffic import Turn

READS = 15_000.0
"""Input tokens a second, those from a cache not counted."""
OVERLOADED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `latency`: seconds until its head. `cached`: input tokens that came from the prompt cache."""

    outcome: Outcome
    latency: float
    cached: int = 0


class Upstream:
    """All accounts with the state of their buckets and caches."""

    def __init__(self, fleet: Fleet, random: Random, start: float) -> None:
        self.random = random
        self.overloads = fleet.overloads
        self.caches = Caches()
        shared = {name: Allowance(limits, start) for name, limits in fleet.organisations().items()}
        self.accounts = {account.key.secret: account for account in fleet.accounts}
        self.allowances = {
            account.key.secret: (Allowance(account.limits, start), shared[account.organisation])
            for account in fleet.accounts
        }

    def answer(self, secret: str, turn: Turn, session: str | None, now: float) -> Reply:
        """What a request with this key gets."""
        trouble = self._trouble(self.accounts[secret], now)
        return Reply(trouble, self._haste()) if trouble else self._serve(secret, turn, session, now)

    def produced(self, secret: str, tokens: int, now: float) -> None:
        """So much was written in answer to a request with this key."""
        for allowance in self.allowances[secret]:
            allowance.produce(tokens, now)

    def _trouble(self, account: Account, now: float) -> Outcome | None:
        if now in account.revoked:
            return refusal(FAULTS["unauthorized"])
        if now in account.penniless:
            return refusal(FAULTS["no_credit"])
        if any(now in span for span in self.overloads) and self.random.random() < OVERLOADED_SHARE:
            return refusal(FAULTS["overloaded"])
        return None

    def _serve(self, secret: str, turn: Turn, session: str | None, now: float) -> Reply:
        """Tokens from the cache do not count against the limit."""
        cached = self.caches.read(secret, session, turn.shared, now)
        cost, allowances = Cost(turn.context - cached), self.allowances[secret]
        lacks = [lack for allowance in allowances if (lack := allowance.lacks(cost, now))]
        if lacks:
            return Reply(rate_limited(max(lacks), self._headers(secret, now)), self._haste())
        for allowance in allowances:
            allowance.admit(cost, now)
        self.caches.write(secret, session, turn.context, now)
        latency = self.random.uniform(0.6, 1.6) + cost.input_tokens / READS
        return Reply(success(self._headers(secret, now)), latency, cached)

    def _headers(self, secret: str, now: float) -> dict[str, str]:
        organisation = {"anthropic-organization-id": self.accounts[secret].organisation}
        return organisation | limit_headers(self.allowances[secret], now)

    def _haste(self) -> float:
        """Errors come fast."""
        return self.random.uniform(0.1, 0.3)
