"""One request on its way over providers and keys: which try is next, and what waiting is allowed.

The state behind `policy.attempts`, which tells it what became of each try (`strike`, `exclude`, …). It must not know what a
verdict means: only who is of use.

    trip = Trip(facts, hops, pools, retry, clock, random, short_wait=5.0)
    trip.candidate()        -> Try(hop, pool, key), or None when no provider has a key of use now
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .exchange import Facts, Hop, Key, Outcome, Verdict, Wait
from .keys.pool import Pool
from .keys.seating import Seating

STRIKES = 2
"""Failures at one provider before the next is tried."""
FIRST_PAUSE = 0.5
LEAST_WAIT = 0.001
CROWD = 0.25
"""Seconds over which requests that wait for the same key are spread."""


class RetryLike(Protocol):
    """The bounds of a request."""

    @property
    def attempts(self) -> int:
        """At most so many tries over all providers, at least one."""

    @property
    def max_wait(self) -> float:
        """At most so many seconds of waiting in all."""


@dataclass(frozen=True, slots=True)
class Try:
    """What an attempt is made of. `key` None: the client's own credential."""

    hop: Hop
    pool: Pool
    key: Key | None


@dataclass(frozen=True, slots=True)
class Last:
    """The latest try and what became of it."""

    step: Try
    outcome: Outcome
    verdict: Verdict

    @property
    def status(self) -> int:
        """The status of an error answer that could be handed on; 0 when there is none."""
        status = self.outcome.status or 0
        return status if self.outcome.failure is None and status >= 400 else 0


@dataclass(slots=True)
class Trip:
    """The state of one request."""

    facts: Facts
    hops: tuple[Hop, ...]
    pools: Mapping[str, Pool]
    retry: RetryLike
    clock: Callable[[], float]
    random: Callable[[], float]
    short_wait: float
    seating: Seating | None = None
    """Where the request's session sits; None: it has none."""
    sent: int = 0
    waited: float = 0.0
    pause: float = 0.0
    """Due before the same provider is asked again."""
    pauses: int = 0
    at: int = 0
    """The provider whose turn it is."""
    probed: bool = False
    other_used: bool = False
    repaired: bool = False
    """Whether the request goes on without the thoughts of earlier turns."""
    forced: Try | None = None
    """The try that was settled on, if its key still may be used."""
    last: Last | None = None
    tried: dict[str, frozenset[str]] = field(default_factory=dict)
    """Keys that are of no use for this request, by provider."""
    barred: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Keys that know nothing of what the request is about."""
    avoided: dict[str, frozenset[str]] = field(default_factory=dict)
    """Keys that failed on the way: others first."""
    strikes: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Providers that asked for more patience than this request has."""

    # --- who is of use ---

    def candidate(self) -> Try | Wait | None:
        """The try that was settled on, else one with the best key of the first provider that has any, or the wait for a warm one."""
        forced = self.forced
        if forced and (forced.key is None or forced.pool.is_ready(forced.key, forced.hop.model, self.clock())):
            return forced
        while self.at < len(self.hops):
            step = self.try_at(self.hops[self.at])
            if step:
                return step
            self.at += 1
        return None

    def try_at(self, hop: Hop) -> Try | Wait | None:
        """A try at this provider, or a wait before it, unless it is down, has no key, or none that is of use."""
        pool = self.pools.get(hop.provider)
        if pool is None or self.is_down(hop):
            return None
        if not pool.keys:
            return Try(hop, pool, None) if pool.passthrough else None
        tried = self.excluded(hop)
        avoided = tried | self.avoided.get(hop.provider, frozenset())
        if wait := self.wait_for_seat(hop, pool, avoided):
            return wait
        for exclude in (avoided, tried):
            key = self.choose(hop, pool, exclude)
            if key:
                return Try(hop, pool, key)
        return None

    def another_key(self, step: Try) -> Try | None:
        """A try with another key of the same provider."""
        key = self.choose(step.hop, step.pool, self.excluded(step.hop)) if step.key else None
        return Try(step.hop, step.pool, key) if key else None

    def choose(self, hop: Hop, pool: Pool, exclude: frozenset[str]) -> Key | None:
        """The session's key, or the pool's choice. One request spends no more than one try on a probe while there are sure keys."""
        now, probe = self.clock(), not self.probed
        if self.seating:
            return self.seating.key(hop, pool, exclude, now, self.random, probe=probe)
        return pool.choose(hop.model, now, exclude, self.random, probe=probe)

    def denied(self) -> Try | None:
        """Nobody was asked yet, and keys rest for nothing but this model: ask one, so that the client hears it from the provider."""
        if self.last or self.soonest(self.clock()) is not None:
            return None
        for hop in self.hops:
            pool = self.pools.get(hop.provider)
            key = pool.choose_denied(hop.model, self.clock(), self.random, self.excluded(hop)) if pool else None
            if pool and key:
                return Try(hop, pool, key)
        return None

    def excluded(self, hop: Hop) -> frozenset[str]:
        """The keys of a provider that are of no use for this request."""
        tried, barred = self.tried.get(hop.provider), self.barred.get(hop.provider)
        return tried | barred if tried and barred else tried or barred or frozenset()

    def is_down(self, hop: Hop) -> bool:
        """Whether this request has done with a provider for now."""
        return hop.provider in self.gone or self.strikes.get(hop.provider, 0) >= STRIKES

    def struck(self) -> bool:
        """Whether a provider had its turn and failed, but may be asked again."""
        return any(self.is_down(hop) and hop.provider not in self.gone for hop in self.hops)

    def keep_to(self, hop: Hop, pool: Pool, key_id: str) -> None:
        """Only this key will do: it made what the request is about."""
        self.hops = (hop,)
        self.barred = {hop.provider: frozenset(key.id for key in pool.keys if key.id != key_id)}

    # --- what an outcome does ---

    def strike(self, step: Try) -> None:
        """Note a failure of the provider, and the pause before it is asked again (full jitter, doubling)."""
        provider = step.hop.provider
        self.strikes[provider] = self.strikes.get(provider, 0) + 1
        self.pause = self.random() * min(self.short_wait, FIRST_PAUSE * 2.0**self.pauses)
        self.pauses += 1

    def avoid(self, step: Try) -> None:
        """Other keys first."""
        _add(self.avoided, step)

    def exclude(self, step: Try) -> None:
        """Not this key again."""
        _add(self.tried, step)

    # --- waiting ---

    def left(self) -> float:
        """Seconds that may still be waited."""
        return max(0.0, self.retry.max_wait - self.waited)

    def take_pause(self) -> Wait | None:
        """The pause that is due, cut to what is left; None when that is nothing."""
        seconds, self.pause = min(self.pause, self.left()), 0.0
        return self.wait(seconds, self.last.verdict.reason if self.last else "")

    def wait(self, seconds: float, reason: str) -> Wait | None:
        """A wait, unless it is too short to be one."""
        because = self.last.verdict if self.last else None
        return Wait(seconds, reason, because) if seconds >= LEAST_WAIT else None

    def wait_for_seat(self, hop: Hop, pool: Pool, useless: frozenset[str]) -> Wait | None:
        """The session's cache is warm and its key is back soon: a short wait costs less than filling another cache."""
        if self.seating is None:
            return None
        seconds = self.seating.wait(hop, pool, useless, self.clock(), self.left())
        wait = self.wait(seconds, "the session's key rests")
        self.seating.waited += wait.seconds if wait else 0.0
        return wait

    def wait_for_key(self) -> Wait | None:
        """When keys come back at a known time that is near enough: wait for the first, and begin with the first provider again."""
        now = self.clock()
        end = self.soonest(now)
        if end is None or end <= now or end - now > self.left() or self.failed_one_is_sooner(end - now):
            return None
        self.at, self.pause = 0, 0.0
        seconds = max(LEAST_WAIT, end - now) + CROWD * self.random()
        return self.wait(min(self.left(), seconds), "all keys rest")

    def soonest(self, now: float) -> float | None:
        """When the first key of a provider that is not down comes back, as far as that is known."""
        ends = (
            pool.soonest(hop.model, now, self.excluded(hop), stated=True)
            for hop in self.hops
            if not self.is_down(hop) and (pool := self.pools.get(hop.provider))
        )
        return min((end for end in ends if end is not None), default=None)

    def failed_one_is_sooner(self, seconds: float) -> bool:
        """Whether a provider that failed can be asked again before that; the last try is not spent on it."""
        return self.struck() and self.pause < seconds and self.sent + 1 < self.retry.attempts

    def another_round(self) -> Wait | Try | None:
        """All providers had their turn: after a pause once more from the first."""
        if not self.struck():
            return None
        self.strikes.clear()
        self.avoided.clear()
        self.at = 0
        return self.take_pause() or self.candidate() or self.wait_for_key()


def _add(table: dict[str, frozenset[str]], step: Try) -> None:
    own = frozenset((step.key.id,)) if step.key else frozenset()
    table[step.hop.provider] = table.get(step.hop.provider, frozenset()) | own
