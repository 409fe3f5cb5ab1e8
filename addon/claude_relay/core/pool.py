"""The keys of one provider: which of them may be used now, and what an answer does to them.

A pool chooses among the keys that do not rest, by tier, then by strategy; it takes verdicts and turns them into rests. It must
not know routes, retries or how an outcome was read. Times are seconds since the epoch and always given; so is randomness.

    key = pool.choose("claude-opus-4-5", now)
    probe = pool.started(key, "claude-opus-4-5", now)            one more request under way
    pool.apply(verdict, key, "claude-opus-4-5", now, random, probe=probe)
    pool.finished(key)                                           one less

Every `started` is paired with exactly one `finished`; see `policy` for who calls which.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from .blame import RouteBlame
from .exchange import Attempt, Blame, Key, Verdict
from .limits import headroom
from .rests import Rests, scopes_of
from .states import KeyState, PoolState
from .strategies import DEFAULT, STRATEGIES, Random, by_tier
from .table import Length
from .verdicts import MEANINGS

HOUR = 3600.0
RECHECK = 6 * HOUR
GROWTH: Mapping[Length, tuple[float, float]] = {Length.SLOW: (HOUR, 24 * HOUR)}
USUAL_GROWTH = (1.0, 1800.0)
PROBE_POLL = 1.0
UNSEEN = (1.0, math.inf)
MODELS_REMEMBERED = 64
SCOPE = {Blame.KEY: 0, Blame.KEY_MODEL: 1, Blame.KEY_FAMILY: 2}


@dataclass(frozen=True, slots=True)
class _Ready:
    """Who may be chosen for a model, kept until a rest changes or the clock reaches `until`. `sure` leaves out the half-open keys."""

    version: int
    since: float
    until: float
    every: tuple[tuple[Key, ...], ...]
    sure: tuple[tuple[Key, ...], ...]


class Pool:
    """The keys of one provider. See the module's text."""

    def __init__(
        self,
        provider: str,
        keys: Sequence[Key],
        *,
        strategy: str = DEFAULT,
        passthrough: bool = True,
        rests: Rests | None = None,
    ) -> None:
        self.provider = provider
        self.rests = Rests() if rests is None else rests
        self.cursor = -1
        self._used: Counter[str] = Counter()
        self._busy: Counter[str] = Counter()
        self._blame = RouteBlame()
        self._room: dict[str, tuple[float, float]] = {}
        self._seen: dict[str, tuple[Mapping[str, str], float]] = {}
        self._now = 0.0
        self._set(keys, strategy, passthrough)

    def replace(self, keys: Sequence[Key], *, strategy: str | None = None, passthrough: bool | None = None) -> None:
        """Take over new keys and settings. Keys with the same id keep their rests and counters; the others are forgotten."""
        self._set(
            keys,
            self.strategy if strategy is None else strategy,
            self.passthrough if passthrough is None else passthrough,
        )
        self.rests.prune(self._position)
        self._blame.prune(self._position)
        self._used = Counter({key.id: self._used[key.id] for key in self.keys})
        self._room = {key: room for key, room in self._room.items() if key in self._position}
        self._seen = {key: seen for key, seen in self._seen.items() if key in self._position}

    def _set(self, keys: Sequence[Key], strategy: str, passthrough: bool) -> None:
        self._choose = STRATEGIES[strategy]
        self.strategy, self.passthrough = strategy, passthrough
        unique = {key.id: key for key in keys}
        self.keys = tuple(unique.values())
        least = min((self._used[key.id] for key in self.keys if key.id in self._used), default=0)
        for key in self.keys:
            self._used.setdefault(key.id, least)  # or a new key would get all requests until it has caught up
        self._position = {key.id: number for number, key in enumerate(self.keys)}
        self._ready: dict[str, _Ready] = {}

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
        ready = self._ready_for(model, now)
        self._now = now
        found = self._pick(ready.every if probe else ready.sure, exclude, random)
        return found if found or probe else self._pick(ready.every, exclude, random)

    def choose_denied(self, model: str, now: float, random: Random = lambda: 0.0) -> Key | None:
        """A key that rests for nothing but having been denied this model; None when there is none."""
        own, denied, family = scopes_of(model)
        keys = [
            key
            for key in self.keys
            if self.rests.blocked(key.id, (denied,), now) and not self.rests.blocked(key.id, (own, family), now)
        ]
        self._now = now
        return self._pick((tuple(keys),), frozenset(), random)

    def is_ready(self, key: Key, model: str, now: float) -> bool:
        """Whether this very key may be used for the model."""
        return key.id in self._position and not self.rests.blocked(key.id, scopes_of(model), now)

    def soonest(
        self, model: str, now: float, exclude: frozenset[str] = frozenset(), *, stated: bool = False
    ) -> float | None:
        """When the first key comes back (`now` if one is ready); None when none ever will by itself. `stated`: only ends that are known."""
        scopes = scopes_of(model)
        ends = (
            self.rests.opens(key.id, scopes, now, busy_until=now + PROBE_POLL)
            for key in self.keys
            if key.id not in exclude
        )
        soonest = min((end for end, known in ends if known or not stated), default=math.inf)
        return None if soonest == math.inf else soonest

    def _pick(self, tiers: tuple[tuple[Key, ...], ...], exclude: frozenset[str], random: Random) -> Key | None:
        for tier in tiers:
            keys = [key for key in tier if key.id not in exclude] if exclude else tier
            if keys:
                key = self._choose(keys, self, random)
                self.cursor = self._position[key.id]
                return key
        return None

    def _ready_for(self, model: str, now: float) -> _Ready:
        ready = self._ready.get(model)
        if ready and ready.version == self.rests.version and ready.since <= now < ready.until:
            return ready
        if len(self._ready) >= MODELS_REMEMBERED:  # clients choose these names
            self._ready.clear()
        self._ready[model] = ready = self._survey(model, now)
        return ready

    def _survey(self, model: str, now: float) -> _Ready:
        scopes, rests = scopes_of(model), self.rests
        looks = {
            key: rests.look(key, scopes, now) for key in rests.known()
        }  # nearly always few: the others cost nothing
        every = [key for key in self.keys if key.id not in looks or not looks[key.id].blocked]
        sure = [key for key in every if key.id not in looks or not looks[key.id].half_open]
        until = min((look.changes for look in looks.values()), default=math.inf)
        return _Ready(rests.version, now, until, by_tier(every), by_tier(sure))

    # --- requests under way ---

    def started(self, key: Key, model: str, now: float) -> bool:
        """A request with this key starts. True when it probes a half-open key. Pair it with one `finished`."""
        self._used[key.id] += 1
        self._busy[key.id] += 1
        return self.rests.probe(key.id, scopes_of(model), now)

    def finished(self, key: Key) -> None:
        """The request is over. Keys that left the pool meanwhile are counted down too."""
        self._busy[key.id] -= 1
        if self._busy[key.id] <= 0:
            del self._busy[key.id]

    def abandoned(self, key: Key, model: str, *, probe: bool) -> None:
        """The request ended without an outcome that says something about the key; if it was a probe, the next one may probe."""
        if probe:
            self.rests.release(key.id, scopes_of(model))

    # --- what answers do ---

    def succeeded(self, key: Key, model: str, headers: Mapping[str, str], now: float, *, probe: bool = False) -> None:
        """The key was accepted: streaks end, a probed key is back, and what the headers say is left is remembered."""
        if probe:
            self.rests.release(key.id, scopes_of(model))
        self.rests.succeeded(key.id, scopes_of(model), now, probe=probe)
        self._blame.succeeded(key.id, now)
        if key.id in self._position:
            self._seen[key.id] = headers, now

    def apply(
        self, verdict: Verdict, key: Key, model: str, now: float, random: Random = lambda: 0.0, *, probe: bool = False
    ) -> None:
        """Let the key, or its pair with the model or family, rest as the verdict says. Who is not to blame is left alone."""
        if probe:
            self.rests.release(key.id, scopes_of(model))
        if key.id not in self._position:
            return
        if verdict.blame is Blame.ROUTE and self._blame.failed(key.id, now):
            self._grow(key, "", verdict, now, random, *USUAL_GROWTH)
        elif verdict.blame in SCOPE:
            self._rest(key, scopes_of(model)[SCOPE[verdict.blame]], verdict, now, random)

    def _rest(self, key: Key, scope: str, verdict: Verdict, now: float, random: Random) -> None:
        length = MEANINGS[verdict.name].rest
        until = verdict.rest_until
        if until is not None and until > now:
            recheck = RECHECK if length is Length.CHECK else math.inf
            stated = until != math.inf
            self.rests.extend(
                key.id, scope, until=until, now=now, reason=verdict.reason, stated=stated, recheck=recheck
            )
        else:
            self._grow(key, scope, verdict, now, random, *GROWTH.get(length, USUAL_GROWTH))

    def _grow(
        self, key: Key, scope: str, verdict: Verdict, now: float, random: Random, first: float, longest: float
    ) -> None:
        stretch = 1.0 + 0.1 * random()  # keys that failed together must not come back together
        self.rests.grow(key.id, scope, now=now, reason=verdict.reason, first=first, longest=longest, stretch=stretch)

    # --- what strategies and reports ask ---

    def position(self, key: Key) -> int:
        """The key's place in the pool."""
        return self._position[key.id]

    def busy(self, key: Key) -> int:
        """How many requests are under way with it."""
        return self._busy.get(key.id, 0)

    def used(self, key: Key) -> int:
        """How many requests it has been given."""
        return self._used[key.id]

    def room(self, key: Key) -> float:
        """The share that is left as last seen; 1.0 when never seen, or when that limit has been reset since."""
        if key.id in self._seen:  # read only when somebody asks: most pools never do
            headers, seen = self._seen.pop(key.id)
            self._room[key.id] = headroom(headers, seen) or self._room.get(key.id, UNSEEN)
        share, until = self._room.get(key.id, UNSEEN)
        return share if self._now < until else 1.0

    def state(self, now: float) -> PoolState:
        """How the pool is, for a status report."""
        self._now = now
        keys = tuple(self._key_state(key, now) for key in self.keys)
        count = Counter(key.status for key in keys)
        return PoolState(
            self.provider, len(keys), count["ready"], count["resting"] + count["probing"], count["out"], keys
        )

    def _key_state(self, key: Key, now: float) -> KeyState:
        rests = {scope: rest for scope, rest in self.rests.of(key.id).items() if rest.careful or now < rest.opens}
        own = rests.get("")
        status = (
            "ready" if own is None else "out" if own.until == math.inf else "probing" if now >= own.opens else "resting"
        )
        until = own.opens if own and status == "resting" else None
        reason = "; ".join(f"{scope}: {rest.reason}" if scope else rest.reason for scope, rest in rests.items())
        return KeyState(key.alias, status, until, reason, self.busy(key), self.used(key), self.room(key))


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
