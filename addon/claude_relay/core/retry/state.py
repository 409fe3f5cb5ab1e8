"""One request on its way over providers and keys: what became of its tries, and what waiting is allowed.

The state behind `policy.attempts`, which says what became of each try (`uncertain`, `found_out`, `exclude`, …); who is of use after
that, `candidates` knows. It must not know what a verdict means.

    state = RetryState(facts, targets, pools, retry, clock, wall, random, short_wait=5.0)
    state.candidate()             -> Candidate(target, pool, key), or None when no provider has a key of use now
    state.uncertain(candidate)    it failed, for whatever reason: others come first
    state.wait_for_key()          -> Wait(seconds), when a key comes back at a time that is near enough
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from claude_relay.core.exchange import Facts, Fault, Outcome, Target, Verdict, Wait
from claude_relay.core.keys.pool import Pool
from claude_relay.core.keys.shadow import Shadow
from claude_relay.core.steady import SLACK

from .candidates import LEAST_WAIT, STRIKES, Candidates
from .tries import NOBODY, Candidate, Last, Table, add

FIRST_PAUSE = 0.5
CROWD = 0.25
"""Seconds over which requests that wait for the same key are spread."""


@dataclass(slots=True)
class RetryState(Candidates):
    """The state of one request."""

    faults: Callable[[Facts, int], Fault | None] | None = None
    """Whether the nth attempt is to fail on purpose; None: none is."""
    is_apart: bool = False
    """Whether it has met a fault, and pools and session are copies since then."""
    attempts: int = 0
    spared: int = 0
    """Tries that would count, but were the key's fault: its provider answers to others."""
    pause: float = 0.0
    """Due before the same provider is asked again."""
    repaired: bool = False
    """Whether the request goes on without the thoughts of earlier turns."""
    shared: Mapping[str, Pool] = field(default_factory=dict)
    """The pools of all requests, whatever this one has met."""
    stale: Last | None = None
    """The try whose token is to be exchanged for the next one."""
    renewed: Table = field(default_factory=dict)
    """Keys whose token was exchanged for this request, or should have been."""
    failures: list[Last] = field(default_factory=list)
    """Tries in which the provider, or the way to it, failed."""
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a key (provider, id) failed in ways that say nothing certain of it."""
    repeated: Table = field(default_factory=dict)
    """Keys that had their second try at once."""

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

    def take_pause(self) -> Wait | None:
        """The pause that is due, cut to what is left; None when that is nothing."""
        seconds, self.pause = min(self.pause, self.left()), 0.0
        return self.wait(seconds, self.last.verdict.reason if self.last else "")

    def wait_for_key(self) -> Wait | None:
        """When keys come back at a known time that is near enough: wait for the first."""
        now = self.clock()
        end = self.soonest(now)
        if end is None or end <= now or end - now > self.left() or self.failed_one_is_sooner(end - now):
            return None
        self.pause = 0.0
        seconds = max(LEAST_WAIT, end - now) + CROWD * self.random()
        return self.wait(min(self.left(), seconds), "all keys have a cooldown")

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
