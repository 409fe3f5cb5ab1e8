"""Which key a conversation is bound to, so that the provider's prompt cache stays of use.

A session has one binding at each provider: the key it uses now, and the one it calls home. It stays with its key while that is of
use; `affinity` says when it moves. This module remembers: for `ttl` seconds after the last use, at most `most` bindings, those of
longest ago forgotten first. Bindings go in and out as plain rows, and when several processes have bound a session, whatever the
order of the rows, they come to the same binding: the one that moved more often, of equals the one taken first.

It must not know pools, cooldowns or what a request is. Times are seconds since the epoch.

    sessions = Sessions(ttl=3600.0)
    sessions.bind("session-1", "anthropic", "key-id", now)
    sessions.used("session-1", "anthropic", "key-id", now)      its cache is warm for five minutes from now
    sessions.binding("session-1", "anthropic", now)                -> Binding(key_id="key-id", …)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from claude_relay.core.accounting.meter import Usage
from claude_relay.core.times import HOUR

WARM = 300.0
WARM_LONG = HOUR
"""How long a provider's prompt cache lives after its last use. https://docs.claude.com/en/docs/build-with-claude/prompt-caching"""
MOST = 50_000

type Row = Mapping[str, object]
"""A binding as plain values, by the names of its columns."""
type Place = tuple[str, str]
"""Session and provider."""


@dataclass(frozen=True, slots=True)
class Binding:
    """To which key of a provider a session is bound.

    home   the key that it would rather have; to which it is bound, unless it had to move
    moves  how often it was bound there anew
    since  when it was bound to this key
    used   its last request
    warm   until when the provider has its prompt in the cache of this key
    cached whether an answer ever read from a cache or wrote to it
    """

    key_id: str
    home: str
    moves: int
    since: float
    used: float
    warm: float = 0.0
    cached: bool = False

    def is_warm(self, now: float) -> bool:
        """Whether another key would cost a cache."""
        return now < self.warm

    def later(self, *, used: float, warm: float, cached: bool) -> Binding:
        """The same after another request. Several times for each: `dataclasses.replace` takes three times as long."""
        return Binding(self.key_id, self.home, self.moves, self.since, used, warm, cached)

    def is_over(self, now: float, ttl: float) -> bool:
        """Whether the session has been silent for too long."""
        return self.used + ttl < now


class Sessions:
    """The bindings of all sessions. `ttl`: seconds; `most`: bindings. Both may be changed at any time."""

    def __init__(self, ttl: float, most: int = MOST) -> None:
        self.ttl = ttl
        self.most = most
        self._bindings: OrderedDict[Place, Binding] = OrderedDict()
        self._dirty: set[Place] = set()
        self._stand_ins: dict[Place, str] = {}

    def __len__(self) -> int:
        """How many bindings are remembered."""
        return len(self._bindings)

    def binding(self, session: str, provider: str, now: float) -> Binding | None:
        """To which key the session is bound; None when it is not known, or has been silent for too long."""
        binding = self._bindings.get((session, provider))
        return None if binding is None or binding.is_over(now, self.ttl) else binding

    def bind(self, session: str, provider: str, key_id: str, now: float, *, home: str | None = None) -> Binding:
        """The session uses this key from now on. `home`: the key that it would rather have; None: this one."""
        old = self._bindings.get((session, provider))
        moves, cached = (old.moves + 1, old.cached) if old else (1, False)
        binding = Binding(key_id, home or key_id, moves, now, now, cached=cached)
        self._stand_ins.pop((session, provider), None)
        self._put((session, provider), binding)
        return binding

    def stand_in(self, session: str, provider: str) -> str:
        """The key that did last what the session's own could not do at the moment; empty when there is none. Its cache is warm, too."""
        return self._stand_ins.get((session, provider), "")

    def stood_in(self, session: str, provider: str, key_id: str) -> None:
        """A request of the session goes to this key, for its own is only busy: it comes home. Remembered here alone."""
        if (session, provider) in self._bindings:
            self._stand_ins[session, provider] = key_id

    def touch(self, session: str, provider: str, now: float) -> None:
        """A request of the session begins: it is remembered for another while."""
        binding = self._bindings.get((session, provider))
        if binding:
            later = binding.later(used=max(binding.used, now), warm=binding.warm, cached=binding.cached)
            self._put((session, provider), later)

    def used(self, session: str, provider: str, key_id: str, now: float, *, warm: float = WARM) -> None:
        """A request of the session was accepted with this key, whose cache is warm for so many seconds then, if it is still bound to it."""
        binding = self._bindings.get((session, provider))
        if binding and binding.key_id == key_id:
            used, warm = max(binding.used, now), max(binding.warm, now + warm)
            self._put((session, provider), binding.later(used=used, warm=warm, cached=binding.cached))

    def settled(self, session: str, provider: str, key_id: str, usage: Usage, now: float) -> None:
        """The answer is done: what it says of the cache is truer than the guess when it was accepted."""
        place = session, provider
        binding = self._bindings.get(place)
        if binding is None or binding.key_id != key_id or usage.cache_read_tokens is None:
            return
        writes_long = bool(usage.cache_write_1h_tokens)
        if usage.cache_read_tokens or usage.cache_write_5m_tokens or writes_long:
            warm = now + (WARM_LONG if writes_long else WARM)
            self._put(place, binding.later(used=binding.used, warm=max(binding.warm, warm), cached=True))
        elif not binding.cached:  # small requests beside a conversation cache nothing, and cool nothing
            self._put(place, binding.later(used=binding.used, warm=min(binding.warm, now), cached=False))

    def prune(self, now: float) -> None:
        """Forget the sessions that have been silent for too long."""
        for place in [place for place, binding in self._bindings.items() if binding.is_over(now, self.ttl)]:
            self._forget(place)

    def apart(self, session: str) -> Sessions:
        """A copy with the bindings of one session, from which nothing comes back."""
        found = Sessions(self.ttl, self.most)
        found._bindings.update((place, binding) for place, binding in self._bindings.items() if place[0] == session)
        found._stand_ins.update((place, key) for place, key in self._stand_ins.items() if place[0] == session)
        return found

    # --- as rows ---

    def snapshot(self) -> list[dict[str, object]]:
        """Every binding."""
        return [_row(place, binding) for place, binding in self._bindings.items()]

    def drain(self) -> list[dict[str, object]]:
        """The bindings that changed here since the last call."""
        changed, self._dirty = self._dirty, set()
        return [_row(place, self._bindings[place]) for place in changed]

    def restore(self, rows: Iterable[Row], now: float) -> None:
        """Take bindings of another process or an earlier run."""
        for row in rows:
            place, new = (str(row["session"]), str(row["provider"])), _binding(row)
            if new.is_over(now, self.ttl):
                continue
            old = self._bindings.get(place)
            self._bindings[place] = joined(old, new, self.ttl) if old else new
            self._shrink()

    def _put(self, place: Place, binding: Binding) -> None:
        self._bindings[place] = binding
        self._bindings.move_to_end(place)
        self._dirty.add(place)
        self._shrink()

    def _shrink(self) -> None:
        while len(self._bindings) > self.most:
            self._forget(next(iter(self._bindings)))

    def _forget(self, place: Place) -> None:
        del self._bindings[place]
        self._stand_ins.pop(place, None)
        self._dirty.discard(place)


def joined(one: Binding, other: Binding, ttl: float) -> Binding:
    """What two processes know of a session's binding, as one; the order does not matter.

    A binding that was over when the other was taken does not count. The table `sessions` is joined in the same way.
    """
    if one.is_over(other.since, ttl):
        return other
    if other.is_over(one.since, ttl):
        return one
    last = max(one, other, key=_rank)
    warm = max(one.warm, other.warm) if _rank(one) == _rank(other) else last.warm
    return replace(last, used=max(one.used, other.used), warm=warm, cached=one.cached or other.cached)


def _rank(binding: Binding) -> tuple[int, float, str, str]:
    return binding.moves, -binding.since, binding.key_id, binding.home


def _row(place: Place, binding: Binding) -> dict[str, object]:
    return {"session": place[0], "provider": place[1], **asdict(binding)}


def _binding(row: Row) -> Binding:
    since, used, warm = (float(str(row[name])) for name in ("since", "used", "warm"))
    return Binding(str(row["key_id"]), str(row["home"]), int(str(row["moves"])), since, used, warm, bool(row["cached"]))
