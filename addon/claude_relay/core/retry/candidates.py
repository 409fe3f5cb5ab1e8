"""Who is of use for one request now: the order in which keys and providers are tried.

Keys that this request has not tried come first, over all providers of the route, so that one good key is found whatever the others do:

    1  a key not tried yet, of the first provider that has not failed twice; or one more try there, if the tries that are left then
       still reach every key not tried yet
    2  a key not tried yet, of a provider that has failed twice
    3  the end of a cooldown that is near enough, or all of them once more (`state`)

`retry.attempts` bounds the tries that say nothing certain of a key, `retry.keys` the keys that turn out to be of no use now.

    candidates = Candidates(facts, targets, pools, retry, clock, wall, random, short_wait=5.0)
    candidates.candidate()        -> Candidate(target, pool, key), or None when no provider has a key of use now

It must not know what an outcome does to all this (`state`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from claude_relay.core.exchange import Facts, Key, Target, Wait
from claude_relay.core.keys.affinity import Affinity
from claude_relay.core.keys.own_credentials import OwnCredential
from claude_relay.core.keys.pool import Pool

from .tries import CLIENTS_OWN, NOBODY, Candidate, Last, Table, add

STRIKES = 2
"""Failures at one provider before the next is tried."""
LEAST_WAIT = 0.001


class RetryLike(Protocol):
    """The bounds of a request."""

    @property
    def attempts(self) -> int:
        """At most so many tries that say nothing certain of a key, over all providers; at least one."""

    @property
    def keys(self) -> int:
        """At most so many keys that turn out to be of no use now."""

    @property
    def max_wait(self) -> float:
        """At most so many seconds of waiting in all."""


@dataclass(slots=True)
class Candidates:
    """Of one request: what it was given to choose from, and what of that it knows to be of no use."""

    facts: Facts
    targets: tuple[Target, ...]
    pools: Mapping[str, Pool]
    retry: RetryLike
    clock: Callable[[], float]
    wall: Callable[[], float]
    """The time in whose terms providers name dates."""
    random: Callable[[], float]
    short_wait: float
    affinity: Affinity | None = None
    """To what the request's session is bound; None: it has none."""
    spent: int = 0
    """Tries that count to `retry.attempts`."""
    waited: float = 0.0
    probed: bool = False
    forced: Candidate | None = None
    """The try that was settled on, if its key still may be used."""
    last: Last | None = None
    attempted: Table = field(default_factory=dict)
    found: Table = field(default_factory=dict)
    """Keys that turned out to be of no use now: each once, which does not count."""
    waited_for: Table = field(default_factory=dict)
    """The session's keys, which are asked once more after a short wait; that does not count either."""
    tried: Table = field(default_factory=dict)
    """Keys that are of no use for this request."""
    own: Mapping[str, OwnCredential] = field(default_factory=dict)
    """The client's own credential, by the providers at which it takes part beside the pool."""
    barred: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Keys that are not for this request, or know nothing of what it is about."""
    avoided: Table = field(default_factory=dict)
    """Keys that failed: others first."""
    strikes: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Providers that are of no use for this request."""

    @property
    def limit(self) -> int:
        """At most so many tries that say nothing certain of a key."""
        return max(1, self.retry.attempts)

    @property
    def is_over(self) -> bool:
        """Whether no further try is allowed: too many said nothing certain, or too many keys were found out and others are left."""
        if self.spent >= self.limit:
            return True
        return sum(map(len, self.found.values())) >= self.retry.keys and any(map(self.count_fresh, self.targets))

    def settled_on(self) -> Candidate | None:
        """The try that was settled on, while its key may be used."""
        step = self.forced
        if step and step.key and not step.pool.is_ready(step.key, step.target.kind, self.clock()):
            return None
        return step

    def candidate(self) -> Candidate | Wait | None:
        """The next try, or the wait for a warm key before it; None when nobody is of use now."""
        for target in self.targets:
            if not self.is_down(target) and (step := self.fresh_at(target) or self.again_at(target)):
                return step
        for target in self.targets:
            if target.provider not in self.gone and (step := self.fresh_at(target)):
                return step
        return None

    def fresh_at(self, target: Target) -> Candidate | Wait | None:
        """A try with a key of this provider that the request has not asked, or a wait before it."""
        pool = self.pools.get(target.provider)
        if pool is None:
            return None
        attempted = self.attempted.get(target.provider, NOBODY)
        own = self.own_at(target, pool)
        if own and own.own and own.own.first:
            return own
        if not pool.keys:
            passes = pool.passthrough and CLIENTS_OWN not in attempted
            return own or (Candidate(target, pool, None) if passes else None)
        excluded = self.excluded(target)
        if wait := self.wait_for_binding(target, pool, excluded | self.avoided.get(target.provider, NOBODY)):
            return wait
        key = self.choose(target, pool, excluded | attempted)
        return Candidate(target, pool, key) if key else own

    def own_at(self, target: Target, pool: Pool) -> Candidate | None:
        """A try with the client's own credential, where it takes part, is of use, and was not asked yet."""
        own = self.own.get(target.provider)
        if own is None or CLIENTS_OWN in self.attempted.get(target.provider, NOBODY):
            return None
        return Candidate(target, pool, None, own) if own.is_ready(target.kind, self.clock()) else None

    def again_at(self, target: Target) -> Candidate | None:
        """One more try at this provider, when no key of it is fresh; a key that others are preferred to only if there is no other."""
        pool = self.pools.get(target.provider)
        if pool is None or not self.can_repeat():
            return None
        tried = self.excluded(target)
        if not pool.keys:
            return Candidate(target, pool, None) if pool.passthrough and CLIENTS_OWN not in tried else None
        key = self.choose(target, pool, tried | self.avoided.get(target.provider, NOBODY)) or self.choose(
            target, pool, tried
        )
        return Candidate(target, pool, key) if key else None

    def can_repeat(self) -> bool:
        """Whether one more failure leaves a try for every key that was not asked yet."""
        left = self.limit - self.spent - 1
        return left >= sum(self.count_fresh(target) for target in self.targets)

    def count_fresh(self, target: Target) -> int:
        """How many keys of a provider are ready and were not asked."""
        pool = self.pools.get(target.provider)
        if pool is None or target.provider in self.gone:
            return 0
        attempted = self.attempted.get(target.provider, NOBODY)
        own = int(self.own_at(target, pool) is not None)
        if not pool.keys:
            return own or int(pool.passthrough and CLIENTS_OWN not in attempted)
        return own + pool.count_ready(target.kind, self.clock(), self.excluded(target) | attempted)

    def choose(self, target: Target, pool: Pool, exclude: frozenset[str]) -> Key | None:
        """The session's key, or the pool's choice. One request spends no more than one try on a probe while there are sure keys."""
        now, probe = self.clock(), not self.probed
        if self.affinity:
            return self.affinity.key(target, pool, exclude, now, self.random, probe=probe)
        return pool.choose(target.kind, now, exclude, self.random, probe=probe)

    def denied(self) -> Candidate | None:
        """A key not asked yet with a cooldown for nothing but this model, when no other is back soon: the request that it was refused for
        may have been another one, and otherwise the client hears it from the provider.
        """
        if self.soonest(self.clock()) is not None:
            return None
        for target in sorted(self.targets, key=self.is_down):
            pool = None if target.provider in self.gone else self.pools.get(target.provider)
            useless = self.excluded(target) | self.attempted.get(target.provider, NOBODY)
            key = pool.choose_denied(target.kind, self.clock(), self.random, useless) if pool else None
            if pool and key:
                return Candidate(target, pool, key)
        return None

    def excluded(self, target: Target) -> frozenset[str]:
        """The keys of a provider that are of no use for this request."""
        tried, barred = self.tried.get(target.provider), self.barred.get(target.provider)
        return tried | barred if tried and barred else tried or barred or NOBODY

    def is_down(self, target: Target) -> bool:
        """Whether this request has done with a provider for now."""
        return target.provider in self.gone or self.strikes.get(target.provider, 0) >= STRIKES

    def struck(self) -> bool:
        """Whether a provider had its turn and failed, but may be asked again."""
        return any(self.is_down(target) and target.provider not in self.gone for target in self.targets)

    # --- waiting ---

    def left(self) -> float:
        """Seconds that may still be waited."""
        return max(0.0, self.retry.max_wait - self.waited)

    def wait(self, seconds: float, reason: str) -> Wait | None:
        """A wait, unless it is too short to be one."""
        because = self.last.verdict if self.last else None
        return Wait(seconds, reason, because) if seconds >= LEAST_WAIT else None

    def wait_for_binding(self, target: Target, pool: Pool, useless: frozenset[str]) -> Wait | None:
        """The session's cache is warm and its key is back soon: a short wait costs less than filling another cache."""
        if self.affinity is None:
            return None
        own, seconds = self.affinity.wait(target, pool, useless, self.clock(), self.left())
        wait = self.wait(seconds, "the session's key has a cooldown") if own else None
        if wait:
            self.affinity.waited += wait.seconds
            self.forced = Candidate(target, pool, own)
            add(self.waited_for, self.forced)
        return wait

    def soonest(self, now: float) -> float | None:
        """When the first key of a provider that is not down comes back, as far as that is known."""
        ends = (
            pool.soonest(target.kind, now, self.excluded(target), stated=True)
            for target in self.targets
            if not self.is_down(target) and (pool := self.pools.get(target.provider))
        )
        return min((end for end in ends if end is not None), default=None)
