"""Who plays: fifty keys of three organisations, their limits, and what happens to them during the day.

    fleet = make_fleet(seed=1, start=0.0)
    fleet.accounts[0].limits         -> Limits(requests=…, input_tokens=…, output_tokens=…)

The limits have the shape of Claude's own but are small, because the traffic is: what counts is how both relate. An organisation's
limits are shared by all its keys and are less than their sum, as workspaces may be promised more than the organisation has.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from random import Random

from claude_relay.core.exchange import Key

from .buckets import Limits

PROVIDER = "anthropic"
HOUR = 3600.0
DAY = 24 * HOUR
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Rank:
    """A class of keys: how many there are, what each may use, its weight for `weighted`."""

    number: int
    limits: Limits
    weight: float


SMALL = Limits(requests=8, input_tokens=50_000, output_tokens=5_000)
RANKS = (Rank(4, SMALL * 4, 4.0), Rank(12, SMALL * 2, 2.0), Rank(34, SMALL, 1.0))
"""Best first: that is the order in which `priority` takes them."""
ORGANISATIONS = ("north", "south", "west")
SHARED = 0.7
"""An organisation's limits, as a share of the sum of its keys'."""
REVOKED, PENNILESS, OVERLOADS = 4, 5, 4


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when something holds, in seconds since the epoch."""

    begin: float = NEVER
    end: float = NEVER

    def __contains__(self, now: float) -> bool:
        """Whether it holds at a moment."""
        return self.begin <= now < self.end

    @property
    def happens(self) -> bool:
        """Whether it ever does."""
        return self.begin < self.end


@dataclass(frozen=True, slots=True)
class Account:
    """A key as its provider knows it."""

    key: Key
    organisation: str
    limits: Limits
    revoked: Span = Span()
    penniless: Span = Span()


@dataclass(frozen=True, slots=True)
class Fleet:
    """All accounts, and when the provider has too much to do."""

    accounts: tuple[Account, ...]
    overloads: tuple[Span, ...]

    @property
    def keys(self) -> tuple[Key, ...]:
        """What the relay's pool is given."""
        return tuple(account.key for account in self.accounts)

    def organisations(self) -> dict[str, Limits]:
        """The shared limits."""
        sums: dict[str, Limits] = {}
        for account in self.accounts:
            sums[account.organisation] = sums.get(account.organisation, Limits(0, 0, 0)) + account.limits
        return {name: total * SHARED for name, total in sums.items()}


def make_fleet(seed: int, start: float) -> Fleet:
    """The day's fleet, the same for the same seed. `start`: midnight."""
    random = Random(f"{seed}/fleet")
    ranks = [rank for rank in RANKS for _ in range(rank.number)]
    accounts = [_account(number, rank) for number, rank in enumerate(ranks, 1)]
    unlucky = random.sample(range(len(accounts)), REVOKED + PENNILESS)
    for place in unlucky[:REVOKED]:
        accounts[place] = replace(accounts[place], revoked=Span(start + random.uniform(0.2, 0.8) * DAY))
    for place in unlucky[REVOKED:]:
        begin = start + random.uniform(0.2, 0.8) * DAY
        accounts[place] = replace(accounts[place], penniless=Span(begin, begin + random.uniform(1, 5) * HOUR))
    overloads = (start + random.uniform(0.3, 0.9) * DAY for _ in range(OVERLOADS))
    return Fleet(tuple(accounts), tuple(Span(begin, begin + random.uniform(60, 240)) for begin in overloads))


def _account(number: int, rank: Rank) -> Account:
    secret = f"simulated-key-{number}"
    identity = hashlib.sha256(secret.encode()).hexdigest()[:16]
    key = Key(PROVIDER, f"k{number}", secret, identity, weight=rank.weight)
    return Account(key, ORGANISATIONS[number % len(ORGANISATIONS)], rank.limits)
