"""Which key one request of a session gets: the session's own key, for as long as that is of use.

    warm                        its key, or a wait of up to `short_wait` for it; a key whose cooldown is longer: it moves
    silent for five minutes     nothing is lost by leaving: it goes home again, or to a better tier; otherwise its key
    its key is only in use      (its limits, a failure on the way, no capacity for it) another key, the same one each time, until its
                                own is well; the session stays where it is
    new                         the pool's choice
    somebody has chosen a key   that one, while it is of use, whatever the session had: who chooses a key wants it to be used now. The
                                session moves there, and goes home when it is cold and the choice is over

It must not know verdicts. Requests that name no session and begin alike are bound together; one that caches nothing is not bound.
"""

from __future__ import annotations

from dataclasses import dataclass

from claude_relay.core.exchange import Endpoint, Facts, Key, Target

from .pool import Pool
from .readiness import outranks
from .selection import Random
from .sessions import Binding, Sessions

WITH_CACHE = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})


@dataclass(slots=True)
class Affinity:
    """The bindings of one request. `short_wait`: seconds that it waits for a warm key in all."""

    sessions: Sessions
    session: str
    short_wait: float
    waited: float = 0.0

    @classmethod
    def of(cls, sessions: Sessions | None, facts: Facts, short_wait: float) -> Affinity | None:
        """For a request; None when it belongs to no session."""
        session = facts.session or facts.prefix
        if sessions is None or not session or facts.endpoint not in WITH_CACHE:
            return None
        return cls(sessions, session, short_wait)

    def apart(self) -> Affinity:
        """The same, of which nothing is remembered after the request."""
        return Affinity(self.sessions.apart(self.session), self.session, self.short_wait, self.waited)

    def key(
        self, target: Target, pool: Pool, useless: frozenset[str], now: float, random: Random, *, probe: bool
    ) -> Key | None:
        """The key to use: the session's own if it is of use, else the pool's choice. `useless`: ids; `probe` False: no half-open key."""
        if chosen := pool.first_choice(target.kind, now, useless, probe=probe):
            return chosen
        binding = self._binding(target, now)
        wanted = self._wanted(binding, pool, now) if binding else ()
        of_use = (key for key in wanted if key.id not in useless and pool.is_ready(key, target.kind, now, probe=probe))
        own = next(of_use, None)
        if own is None or pool.load.is_eased(own.id, now):
            return self._stand_in(target, pool, useless, now) or pool.choose(
                target.kind, now, useless, random, probe=probe
            )
        if binding and (binding.is_warm(now) or not pool.is_outranked(own, target.kind, now)):
            return own
        best = pool.choose(target.kind, now, useless, random, probe=probe)
        return own if best and not outranks(best, own) else best

    def _stand_in(self, target: Target, pool: Pool, useless: frozenset[str], now: float) -> Key | None:
        """The key that stood in the last time: what was sent is cached there."""
        key = pool.by_id(self.sessions.stand_in(self.session, target.provider))
        if key is None or key.id in useless or pool.load.is_eased(key.id, now):
            return None
        return key if pool.is_ready(key, target.kind, now, probe=False) else None

    def wait(
        self, target: Target, pool: Pool, useless: frozenset[str], now: float, left: float
    ) -> tuple[Key | None, float]:
        """A warm session's key, and the seconds after which it is back, if that is known and soon enough. `left`: what may be waited."""
        binding = self._binding(target, now)
        own = pool.by_id(binding.key_id) if binding and binding.is_warm(now) else None
        if own is None or own.id in useless or pool.first_choice(target.kind, now, useless):
            return None, 0.0
        end, known = pool.opens(own, target.kind, now)
        soon = known and end - now <= min(left, self.short_wait - self.waited)
        return (own, end - now) if soon else (None, 0.0)

    def bind(self, target: Target, pool: Pool, key: Key, now: float) -> None:
        """A try with this key begins: the session takes it over, unless its own key is only in use."""
        binding = self._binding(target, now)
        if binding is None:
            self.sessions.bind(self.session, target.provider, key.id, now)
        elif key.id != binding.key_id and self._moves(binding, target, pool, key, now):
            comes_home = key.id == binding.home or pool.by_id(binding.home) is None
            home = None if comes_home or self._rises(binding, pool, key) else binding.home
            self.sessions.bind(self.session, target.provider, key.id, now, home=home)
        else:
            if key.id != binding.key_id:
                self.sessions.stood_in(self.session, target.provider, key.id)
            self.sessions.touch(self.session, target.provider, now)

    def accepted(self, target: Target, key: Key, now: float) -> None:
        """The answer is good: what was sent is cached there."""
        self.sessions.used(self.session, target.provider, key.id, now)

    def _binding(self, target: Target, now: float) -> Binding | None:
        return self.sessions.binding(self.session, target.provider, now)

    @staticmethod
    def _wanted(binding: Binding, pool: Pool, now: float) -> list[Key]:
        """Its key; when it is cold its home first, but not all come home at once to a key that has just come back."""
        own, home = pool.by_id(binding.key_id), pool.by_id(binding.home)
        if binding.is_warm(now) or (home and home is not own and pool.load.is_steep(home.id)):
            home = None
        return [key for key in (home, own) if key]

    def _moves(self, binding: Binding, target: Target, pool: Pool, key: Key, now: float) -> bool:
        own = pool.by_id(binding.key_id)
        if own is None or key.id == pool.chosen or pool.is_in_cooldown(own, target.kind, now):
            return True
        return not binding.is_warm(now) and (key.id == binding.home or self._rises(binding, pool, key))

    @staticmethod
    def _rises(binding: Binding, pool: Pool, key: Key) -> bool:
        own = pool.by_id(binding.key_id)
        return own is not None and outranks(key, own)
