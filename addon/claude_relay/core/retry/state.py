"""One request on its way over providers and keys: which try is next, and what waiting is allowed.

The state behind `policy.attempts`, which tells it what became of each try (`uncertain`, `found_out`, `exclude`, …). It must not know
what a verdict means: only who is of use. Keys that this request has not asked come first, over all providers of the route, so that one
good key is found whatever the others do:

    1  a key not asked yet, of the first provider that has not failed twice; or one more try there, if the tries that are left then
       still reach every key not asked yet
    2  a key not asked yet, of a provider that has failed twice
    3  the end of a cooldown that is near enough, or all of them once more

`retry.attempts` bounds the tries that say nothing certain of a key, `retry.keys` the keys that turn out to be of no use now.

    state = RetryState(facts, targets, pools, retry, clock, wall, random, short_wait=5.0)
    state.candidate()        -> Candidate(target, pool, key), or None when no provider has a key of use now
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from claude_relay.core.exchange import Facts, Fault, Key, Outcome, Target, Verdict, Wait
from claude_relay.core.keys.affinity import Affinity
from claude_relay.core.keys.own_credentials import OwnCredential
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.shadow import Shadow
from claude_relay.core.steady import SLACK

STRIKES = 2
"""Failures at one provider before the next is tried."""
FIRST_PAUSE = 0.5
LEAST_WAIT = 0.001
CROWD = 0.25
"""Seconds over which requests that wait for the same key are spread."""
CLIENTS_OWN = ""
"""In the place of a key's id: the client's own credential."""
NOBODY: frozenset[str] = frozenset()


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """What an attempt is made of. `key` None: the client's own credential."""

    target: Target
    pool: Pool
    key: Key | None
    own: OwnCredential | None = None
    """Of the client's own credential what is known of it, where it takes part beside the pool."""

    @property
    def key_id(self) -> str:
        """Of the key, or what stands for the client's own credential."""
        return self.key.id if self.key else CLIENTS_OWN


@dataclass(frozen=True, slots=True)
class Last:
    """A try and what became of it."""

    step: Candidate
    outcome: Outcome
    verdict: Verdict
    real: bool = True
    """Whether it says something of its key: a fault that was made on purpose does not."""

    @property
    def status(self) -> int:
        """The status of an error answer that could be handed on; 0 when there is none."""
        status = self.outcome.status or 0
        return status if self.outcome.failure is None and status >= 400 else 0


type Table = dict[str, frozenset[str]]
"""Ids of keys by provider."""


@dataclass(slots=True)
class RetryState:
    """The state of one request."""

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
    faults: Callable[[Facts, int], Fault | None] | None = None
    """Whether the nth attempt is to fail on purpose; None: none is."""
    is_apart: bool = False
    """Whether it has met a fault, and pools and session are copies since then."""
    attempts: int = 0
    spent: int = 0
    """Tries that count to `retry.attempts`."""
    spared: int = 0
    """Tries that would count, but were the key's fault: its provider answers to others."""
    waited: float = 0.0
    pause: float = 0.0
    """Due before the same provider is asked again."""
    probed: bool = False
    repaired: bool = False
    """Whether the request goes on without the thoughts of earlier turns."""
    shared: Mapping[str, Pool] = field(default_factory=dict)
    """The pools of all requests, whatever this one has met."""
    stale: Last | None = None
    """The try whose token is to be exchanged for the next one."""
    renewed: Table = field(default_factory=dict)
    """Keys whose token was exchanged for this request, or should have been."""
    forced: Candidate | None = None
    """The try that was settled on, if its key still may be used."""
    last: Last | None = None
    failures: list[Last] = field(default_factory=list)
    """Tries in which the provider, or the way to it, failed."""
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
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a key (provider, id) failed in ways that say nothing certain of it."""
    repeated: Table = field(default_factory=dict)
    """Keys that had their second try at once."""
    strikes: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Providers that are of no use for this request."""

    # --- who is of use ---

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

    def keep_to(self, target: Target, pool: Pool, key_id: str) -> None:
        """Only this key will do: it made what the request is about."""
        self.targets, self.own = (target,), {}
        before = self.barred.get(target.provider, NOBODY)
        self.barred = {target.provider: before | {key.id for key in pool.keys if key.id != key_id}}

    # --- faults ---

    def fault(self) -> Fault | None:
        """What the next try meets."""
        return self.faults(self.facts, self.attempts + 1) if self.faults else None

    def apart(self, step: Candidate, fault: Fault | None) -> Candidate:
        """The same try, once there was a fault with a pool of the request's own, which knows whether this one is real."""
        if fault and not self.is_apart:
            self.is_apart = True
            providers = {target.provider for target in self.targets} & self.pools.keys()
            self.pools = {provider: Shadow(self.pools[provider]) for provider in providers}
            self.affinity = self.affinity and self.affinity.apart()
        if not self.is_apart:
            return step
        pool = self.pools[step.target.provider]
        assert isinstance(pool, Shadow)
        pool.fault = fault
        return replace(step, pool=pool)

    # --- what an outcome does ---

    def began(self, step: Candidate) -> None:
        """A try is under way."""
        self.attempts += 1
        self.forced = None
        add(self.attempted, step)

    def found_out(self, step: Candidate) -> None:
        """The key is of no use now, and everybody knows it. That counts only when this request had found it out before."""
        provider = step.target.provider
        if step.key_id in self.found.get(provider, NOBODY):
            waited_for = self.waited_for.pop(provider, NOBODY)
            self.spent += step.key_id not in waited_for
            add(self.avoided, step)  # no session waits for it again
        add(self.found, step)

    def uncertain(self, step: Candidate, *, pause: bool = True) -> None:
        """A try that says nothing certain of the key: others come first. Its provider suffers, unless it answers to other keys."""
        add(self.avoided, step)
        well = step.key is not None and step.pool.is_well(self.clock(), step.key)
        if well and self.spared < self.limit and self.count_fresh(step.target):
            self.spared += 1
            return
        self.spent += 1
        self.strikes[step.target.provider] = self.strikes.get(step.target.provider, 0) + 1
        if pause:
            self.pause = self.jitter(step)

    def jitter(self, step: Candidate) -> float:
        """The pause before a provider that failed is asked again, in seconds: full jitter, doubling with each failure of the same key."""
        key = step.target.provider, step.key_id
        times, self.failed[key] = self.failed[key], self.failed[key] + 1
        longest = FIRST_PAUSE if self.count_fresh(step.target) else FIRST_PAUSE * 2.0 ** min(times, 10)
        return self.random() * min(self.short_wait, longest)

    def may_renew(self, step: Candidate, verdict: Verdict, outcome: Outcome) -> bool:
        """Whether a refusal may be that of an old token: one that is renewed, and was not for this request."""
        refused = verdict.name == "unauthorized" or (verdict.name == "endpoint" and outcome.status == 401)
        if not refused or step.key is None or not step.key.renews:
            return False
        return step.key_id not in self.renewed.get(step.target.provider, NOBODY)

    def exclude(self, step: Candidate) -> None:
        """Not this key again."""
        add(self.tried, step)

    def turn_from_way(self, step: Candidate) -> None:
        """The way out that a key takes has failed: keys that take another, and other providers, have their turn before it has another."""
        provider = step.target.provider
        same = self.of_same_way(step)
        self.attempted[provider] = self.attempted.get(provider, NOBODY) | same
        self.avoided[provider] = self.avoided.get(provider, NOBODY) | same
        self.uncertain(step)
        if not self.count_fresh(step.target):
            self.strikes[provider] = STRIKES

    @staticmethod
    def of_same_way(step: Candidate) -> frozenset[str]:
        """Ids of the keys that go out as this one does."""
        way = step.key.proxy if step.key else None
        return frozenset(key.id for key in step.pool.keys if key.proxy == way)

    def leave_route(self, step: Candidate) -> None:
        """Something on the way stops the request: only keys that go out another way are of use at this provider."""
        same = self.of_same_way(step)
        self.tried[step.target.provider] = self.tried.get(step.target.provider, NOBODY) | same
        if len(same) == len(step.pool.keys):
            self.gone.add(step.target.provider)

    # --- waiting ---

    def today(self, now: float) -> float:
        """Now, in the terms in which providers name dates: the same, unless the system's clock was set back."""
        wall = self.wall()
        return wall if now - wall > SLACK else now

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

    def wait_for_key(self) -> Wait | None:
        """When keys come back at a known time that is near enough: wait for the first."""
        now = self.clock()
        end = self.soonest(now)
        if end is None or end <= now or end - now > self.left() or self.failed_one_is_sooner(end - now):
            return None
        self.pause = 0.0
        seconds = max(LEAST_WAIT, end - now) + CROWD * self.random()
        return self.wait(min(self.left(), seconds), "all keys have a cooldown")

    def soonest(self, now: float) -> float | None:
        """When the first key of a provider that is not down comes back, as far as that is known."""
        ends = (
            pool.soonest(target.kind, now, self.excluded(target), stated=True)
            for target in self.targets
            if not self.is_down(target) and (pool := self.pools.get(target.provider))
        )
        return min((end for end in ends if end is not None), default=None)

    def failed_one_is_sooner(self, seconds: float) -> bool:
        """Whether a provider that failed can be asked again before that; the last try is not spent on it."""
        return self.struck() and self.pause < seconds and self.spent + 1 < self.limit

    def another_round(self) -> Wait | Candidate | None:
        """All keys had their turn: after a pause once more from the first provider."""
        if not self.struck():
            return None
        self.strikes.clear()
        self.avoided.clear()
        return self.take_pause() or self.candidate() or self.wait_for_key()


def add(table: Table, step: Candidate) -> None:
    """Note a try's key, or the client's own credential, in a table."""
    table[step.target.provider] = table.get(step.target.provider, NOBODY) | {step.key_id}
