"""The keys of one provider: which of them may be used now, and what an answer does to them.

A pool chooses among the keys that have no cooldown and whose limits allow one more request, by tier, then by strategy; it takes verdicts
and turns them into cooldowns. It must not know routes, retries, sessions or how an outcome was read. Times are seconds since the epoch
and always given; so is randomness. `model` is the kind of a request (`kinds`): the model, and whether it has limits of its own.

    key = pool.choose("claude-opus-4-5", now)
    probe = pool.started(key, "claude-opus-4-5", now)            one more request under way
    pool.apply(verdict, key, "claude-opus-4-5", now, random, probe=probe)
    pool.finished(key)                                           one less
    pool.spent(key, 1200, now)                                   what it used, for its limit of tokens
    pool.chosen = key.id                                         somebody wants this one first; the others stand behind it

Every `started` is paired with exactly one `finished`; see `policy` for who calls which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress

from claude_relay.core.bodies.ratelimits import Left
from claude_relay.core.exchange import OAUTH, Attempt, Cause, Key, Length, Verdict
from claude_relay.core.times import HOUR

from .cooldown import Row
from .cooldowns import ORDINARY, Cooldowns
from .headroom import Headroom
from .kinds import scopes_of
from .load import Load
from .outliers import Outliers
from .readiness import Readiness, Tier, Tiers, both, outranks
from .selection import DEFAULT, STRATEGIES, Random, chance_of
from .status import KeyState, PoolState

RECHECK = 6 * HOUR
LOOKS: Mapping[Length, float] = {Length.CHECK: RECHECK, Length.STATED: HOUR}
"""How often one request looks at a key before its cooldown is over, for its owner may have mended it or bought more."""
GROWTH: Mapping[Length, tuple[float, float]] = {Length.SLOW: (HOUR, 24 * HOUR)}
USUAL_GROWTH = (1.0, 1800.0)
PROBE_POLL = 1.0
OWN = ("",)
SCOPE = {Cause.KEY: 0, Cause.KEY_MODEL: 1, Cause.KEY_FAMILY: 2}


class Pool:
    """The keys of one provider. See the module's text."""

    def __init__(
        self,
        provider: str,
        keys: Sequence[Key],
        *,
        strategy: str = DEFAULT,
        passthrough: bool = True,
        cooldowns: Cooldowns | None = None,
    ) -> None:
        self.provider = provider
        self.cooldowns = Cooldowns() if cooldowns is None else cooldowns
        self.cursor = -1
        self.load = Load()
        self.chosen = ""
        """Id of the key that goes before all others while it is ready; empty: none was chosen. Only a key of the pool counts."""
        self._position: dict[str, int] = {}
        self._outliers = Outliers()
        self._headroom = Headroom()
        self._now = 0.0
        self._kind = ""
        """Of the request that a key is chosen for."""
        self._among = b""
        self._set(keys, strategy, passthrough)

    def replace(self, keys: Sequence[Key], *, strategy: str | None = None, passthrough: bool | None = None) -> None:
        """Take over new keys and settings. Keys with the same id keep their cooldowns and counters; the others are forgotten.

        Only a next token of an account is not out because the one before was.
        """
        before = {key.id: key.secret for key in self.keys if key.kind == OAUTH}
        self._set(keys, strategy or self.strategy, self.passthrough if passthrough is None else passthrough)
        self.cooldowns.prune(self._position)
        self._outliers.prune(self._position)
        self._headroom.prune(self._position)
        for key in self.keys:
            out = self.cooldowns.of(key.id).get("")
            if out is not None and out.until == math.inf and before.get(key.id, key.secret) != key.secret:
                self.cooldowns.lift(key.id, "")

    def _set(self, keys: Sequence[Key], strategy: str, passthrough: bool) -> None:
        self._choose = STRATEGIES[strategy]
        self.strategy, self.passthrough = strategy, passthrough
        unique = {key.id: key for key in keys}
        self.keys = tuple(unique.values())
        self.load.replace(self.keys, self._position)
        self._position = {key.id: number for number, key in enumerate(self.keys)}
        self._ready = Readiness(self.keys, self.cooldowns)
        self._chances = tuple(chance_of(key) for key in self.keys)
        self._summed: tuple[bytes, Sequence[float]] = b"", ()
        self._taken_out: tuple[bytes, tuple[Key, ...]] = b"", ()

    # --- choosing ---

    def choose(
        self,
        model: str,
        now: float,
        exclude: frozenset[str] = frozenset(),
        random: Random = lambda: 0.0,
        *,
        probe: bool = True,
    ) -> Key | None:
        """A key that is ready for the model and whose id is not excluded; None when there is none.

        `probe` False: a half-open key only when no sure one is left, so that a single request does not spend its tries on probes.
        """
        self._now, self._kind = now, model
        if chosen := self.first_choice(model, now, exclude, probe=probe):
            return chosen
        ready = self._ready.of(model, now)
        found = self._pick(ready.every if probe else ready.sure, exclude, random)
        return found if found or probe else self._pick(ready.every, exclude, random)

    def first_choice(
        self, model: str, now: float, exclude: frozenset[str] = frozenset(), *, probe: bool = True
    ) -> Key | None:
        """The chosen key, whatever its tier, while it may be used for the model and is not excluded; else None."""
        key = self.by_id(self.chosen) if self.chosen else None
        if key is None or key.id in exclude or not self.is_ready(key, model, now, probe=probe):
            return None
        return key

    def choose_denied(
        self, model: str, now: float, random: Random = lambda: 0.0, exclude: frozenset[str] = frozenset()
    ) -> Key | None:
        """A key whose cooldown is for nothing but having been denied this model; None when there is none."""
        own, denied, *others = scopes_of(model)
        blocked, unrelated = self.cooldowns.blocked, (own, *others)
        mask = bytes(blocked(key.id, (denied,), now) and not blocked(key.id, unrelated, now) for key in self.keys)
        self._now, self._kind = now, model
        return self._pick((Tier(tuple(compress(self.keys, mask)), mask),), exclude, random)

    def count_ready(self, model: str, now: float, exclude: frozenset[str] = frozenset()) -> int:
        """How many keys are ready for the model and not excluded."""
        free = self._free_but(exclude, now, gently=False)
        return sum(both(tier.mask, free).count(1) for tier in self._ready.of(model, now).every)

    def by_id(self, key_id: str) -> Key | None:
        """The key of that id; None when it is not in the pool."""
        position = self._position.get(key_id)
        return None if position is None else self.keys[position]

    def is_ready(self, key: Key, model: str, now: float, *, probe: bool = True) -> bool:
        """Whether this very key may be used for the model. `probe` False: not if it is half-open."""
        look = self.cooldowns.look(key.id, scopes_of(model), now)
        takes = key.id in self._position and self.load.takes(key.id, now)
        return takes and not look.blocked and (probe or not look.half_open)

    def is_in_cooldown(self, key: Key, model: str, now: float) -> bool:
        """Whether it is of no use for the model even if its limits allow more."""
        return key.id not in self._position or self.cooldowns.blocked(key.id, scopes_of(model), now)

    def is_used_up(self, key: Key, now: float) -> bool:
        """Whether its latest answer said that nothing is left of a limit, and that is not over."""
        return self._headroom.of(key.id, now) <= 0.0

    def is_outranked(self, key: Key, model: str, now: float) -> bool:
        """Whether a key of an earlier tier is ready."""
        best = next((tier.keys[0] for tier in self._ready.of(model, now).sure), key)
        return outranks(best, key)

    def opens(self, key: Key, model: str, now: float) -> tuple[float, bool]:
        """When this very key is free (math.inf: not by itself), and whether that is known."""
        end, known = self.cooldowns.opens(key.id, scopes_of(model), now, busy_until=now + PROBE_POLL)
        return max(end, self.load.opens(key.id, now)), known

    def soonest(
        self, model: str, now: float, exclude: frozenset[str] = frozenset(), *, stated: bool = False
    ) -> float | None:
        """When the first key comes back (`now` if one is ready); None when none ever will by itself. `stated`: only ends that are known."""
        ends = (self.opens(key, model, now) for key in self.keys if key.id not in exclude)
        soonest = min((end for end, known in ends if known or not stated), default=math.inf)
        return None if soonest == math.inf else soonest

    def _pick(self, tiers: Tiers, exclude: frozenset[str], random: Random) -> Key | None:
        """The strategy's choice in the first tier that has a key of use; those that should get less only when no tier has another."""
        for gently in (True, False) if self.load.prefers else (False,):
            for tier in tiers:
                key = self._pick_in(tier, exclude, random, gently=gently)
                if key:
                    self.cursor = self._position[key.id]
                    return key
        return None

    def _pick_in(self, tier: Tier, exclude: frozenset[str], random: Random, *, gently: bool) -> Key | None:
        free = self._free_but(exclude, self._now, gently=gently)
        self._among = mask = both(tier.mask, free)
        if 1 not in mask:
            return None
        return self._choose(tier.keys if mask == tier.mask else self._chosen_by(mask), self, random)

    def _free_but(self, exclude: frozenset[str], now: float, *, gently: bool) -> bytearray:
        """The mask of the keys whose load allows more, without these."""
        free = self.load.free(now, gently=gently)
        for key_id in exclude & self._position.keys():
            free[self._position[key_id]] = 0
        return free

    def _chosen_by(self, mask: bytes) -> tuple[Key, ...]:
        """The keys of a mask. From one choice to the next it seldom changes, and to take them out costs more than the choice."""
        if self._taken_out[0] != mask:
            self._taken_out = mask, tuple(compress(self.keys, mask))
        return self._taken_out[1]

    # --- requests under way ---

    def started(self, key: Key, model: str, now: float) -> bool:
        """A request with this key starts. True when it probes a half-open key. Pair it with one `finished`."""
        self.load.started(key.id, now)
        self._headroom.started(key.id)
        return self.cooldowns.probe(key.id, scopes_of(model), now)

    def answered(self, key: Key) -> None:
        """The head of an answer is there, or there will be none: what the request takes is known. Once for each `started`."""
        self._headroom.answered(key.id)

    def finished(self, key: Key) -> None:
        """The request is over. Keys that left the pool meanwhile are counted down too."""
        self.load.finished(key.id)

    def spent(self, key: Key, tokens: int, now: float) -> None:
        """An answer used so many tokens, as the provider counts them for its limit."""
        self.load.spent(key.id, tokens, now)

    def abandoned(self, key: Key, model: str, *, probe: bool) -> None:
        """The request ended without an outcome that says something about the key; if it was a probe, the next one may probe."""
        if probe:
            self.cooldowns.release(key.id, scopes_of(model))

    # --- what answers do ---

    def succeeded(
        self,
        key: Key,
        model: str,
        headers: Mapping[str, str],
        now: float,
        *,
        probe: bool = False,
        today: float | None = None,
    ) -> None:
        """The key was accepted: streaks end, a probed key is back, and what the headers say is left is remembered.

        today  now, in the terms in which headers name dates; None: the same
        """
        if probe:
            self.cooldowns.release(key.id, scopes_of(model))
        self.cooldowns.succeeded(key.id, scopes_of(model), now, probe=probe)
        self._outliers.succeeded(key.id, now)
        if not self.cooldowns.blocked(key.id, OWN, now):
            self.load.succeeded(key.id)
        if key.id in self._position:
            self._headroom.saw(key.id, headers, now, now if today is None else today)

    def apply(
        self, verdict: Verdict, key: Key, model: str, now: float, random: Random = lambda: 0.0, *, probe: bool = False
    ) -> None:
        """Give the key, or its pair with the model, family or limits, the verdict's cooldown. Who is not the cause is left alone."""
        if probe:
            self.cooldowns.release(key.id, scopes_of(model))
        if key.id in self._position and verdict.cause in SCOPE:
            self._cool_down(key, _scope(verdict, model), verdict, now, random)

    def failed_alone(self, verdict: Verdict, key: Key, now: float, random: Random = lambda: 0.0) -> None:
        """A request met this failure of the route with the key, and then succeeded with another key of the pool."""
        if key.id in self._position and self._outliers.failed(key.id):
            self._grow(key, "", verdict, now, random, *USUAL_GROWTH)

    def overloaded(self, key: Key, now: float) -> None:
        """The provider had no capacity for a request with this key: for some seconds others are preferred, for all requests."""
        self.load.overloaded(key.id, now)

    def is_well(self, now: float, besides: Key) -> bool:
        """Whether the provider has answered to another key within the last minute."""
        return self._outliers.is_well(now, besides.id)

    def _cool_down(self, key: Key, scope: str, verdict: Verdict, now: float, random: Random) -> None:
        length, until = verdict.cooldown, verdict.cooldown_until
        if until is not None and until > now:
            recheck = LOOKS.get(length, math.inf)
            stated = until != math.inf
            self.cooldowns.extend(
                key.id, scope, until=until, now=now, reason=verdict.reason, stated=stated, recheck=recheck
            )
            self._cooled_down(key.id, scope)
        else:
            self._grow(key, scope, verdict, now, random, *GROWTH.get(length, USUAL_GROWTH))

    def _grow(
        self, key: Key, scope: str, verdict: Verdict, now: float, random: Random, first: float, longest: float
    ) -> None:
        stretch = 1.0 + 0.1 * random()  # keys that failed together must not come back together
        self.cooldowns.grow(
            key.id, scope, now=now, reason=verdict.reason, first=first, longest=longest, stretch=stretch
        )
        self._cooled_down(key.id, scope)

    def _cooled_down(self, key_id: str, scope: str) -> None:
        if scope in OWN:
            self.load.cooled_down(key_id)

    def restore(self, rows: Iterable[Row]) -> None:
        """Take cooldowns of an earlier run or another process (`Cooldowns.snapshot`, `drain`), as far as they concern this pool."""
        for key_id in self.cooldowns.restore(row for row in rows if row["key_id"] in self._position):
            if "" in self.cooldowns.of(key_id):
                self.load.cooled_down(key_id)

    # --- what strategies and reports ask ---

    def position(self, key: Key) -> int:
        """The key's place in the pool."""
        return self._position[key.id]

    def busy(self, key: Key) -> int:
        """How many requests are under way with it."""
        return self.load.busy(key.id)

    def used(self, key: Key) -> int:
        """How many requests it has been given."""
        return self.load.used(key.id)

    def headroom(self, key: Key) -> float:
        """The share that is left of its scarcest limit by now, requests under way counted in; 1.0 when never seen."""
        return self._headroom.of(key.id, self._now, self._kind)

    def heard(self, key_id: str, left: Left, seen: float, ahead: float) -> None:
        """What somebody else was told of a key's windows. `ahead`: of this clock before that by which the reset is named."""
        self._headroom.heard(key_id, left, seen, ahead)

    def sums(self) -> Sequence[float]:
        """The running sums of the weights of those that the latest choice is among."""
        if self._summed[0] != self._among:
            self._summed = self._among, tuple(accumulate(compress(self._chances, self._among)))
        return self._summed[1]

    def state(self, now: float) -> PoolState:
        """How the pool is, for a status report."""
        self._now = now
        return PoolState.of(self.provider, [self._key_state(key, now) for key in self.keys])

    def notable(self, now: float) -> Iterator[KeyState]:
        """The states of the keys that are not just ready, idle and unused, one after another: it costs little, and may be paused."""
        self._now = now
        load, in_cooldown, headroom = self.load, self.cooldowns.known(), self._headroom.of
        for key in self.keys:
            if key.id in in_cooldown or not load.takes(key.id, now):
                yield self._key_state(key, now)
            elif used := load.used(key.id):
                counts = load.busy(key.id), used, headroom(key.id, now), self._headroom.each(key.id, now)
                yield KeyState(key.alias, "ready", None, "", *counts)

    def _key_state(self, key: Key, now: float) -> KeyState:
        load, why_full = self.load, self.load.why_full(key.id, now)
        counts = load.busy(key.id), load.used(key.id), self.headroom(key), self._headroom.each(key.id, now)
        return KeyState.of(key.alias, self.cooldowns.of(key.id), why_full, now, *counts)


def _scope(verdict: Verdict, kind: str) -> str:
    """What a cooldown hangs on. The limits of a key are those of ordinary requests; others have limits of their own."""
    scopes = scopes_of(kind)
    of_limits = verdict.cause is Cause.KEY and verdict.cooldown is Length.STATED
    return scopes[-1] if of_limits and len(scopes) > ORDINARY else scopes[SCOPE[verdict.cause]]


class Pools(Mapping[str, Pool]):
    """All pools by provider."""

    def __init__(self, pools: Iterable[Pool] = ()) -> None:
        self._pools = {pool.provider: pool for pool in pools}

    def __getitem__(self, provider: str) -> Pool:
        """A provider's pool; KeyError when it has none."""
        return self._pools[provider]

    def __iter__(self) -> Iterator[str]:
        """The providers."""
        return iter(self._pools)

    def __len__(self) -> int:
        """How many providers."""
        return len(self._pools)

    def finished(self, attempt: Attempt) -> None:
        """The answer of an accepted attempt is done. Use the pools that the attempt came from."""
        if attempt.key and attempt.provider in self._pools:
            self._pools[attempt.provider].finished(attempt.key)

    def spent(self, attempt: Attempt, tokens: int, now: float) -> None:
        """The answer of an accepted attempt used so many tokens, as the provider counts them for its limit."""
        if attempt.key and attempt.provider in self._pools:
            self._pools[attempt.provider].spent(attempt.key, tokens, now)
