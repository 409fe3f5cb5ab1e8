"""Which key a conversation sits at, so that the provider's prompt cache stays of use.

A session has one seat at each provider: the key it uses now, and the one it calls home. It stays with its key while that is of
use; `affinity` says when it moves. This module remembers: for `ttl` seconds after the last use, at most `most` seats, those of
longest ago forgotten first. Seats go in and out as plain rows, and when several processes have seated a session, whatever the
order of the rows, they come to the same seat: the one that moved more often, of equals the one taken first.

It must not know pools, cooldowns or what a request is. Times are seconds since the epoch.

    sessions = Sessions(ttl=3600.0)
    sessions.sit("session-1", "anthropic", "key-id", now)
    sessions.used("session-1", "anthropic", "key-id", now)      its cache is warm for five minutes from now
    sessions.seat("session-1", "anthropic", now)                -> Seat(key_id="key-id", …)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from claude_relay.core.accounting.meter import Usage

WARM = 300.0
WARM_LONG = 3600.0
"""How long a provider's prompt cache lives after its last use. https://docs.claude.com/en/docs/build-with-claude/prompt-caching"""
MOST = 50_000

type Row = Mapping[str, object]
"""A seat as plain values, by the names of its columns."""
type Place = tuple[str, str]
"""Session and provider."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a session sits at a provider.

    home   the key that it would rather have; where it sits, unless it had to move
    moves  how often it was seated there anew
    since  when it sat down with this key
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

    def is_over(self, now: float, ttl: float) -> bool:
        """Whether the session has been silent for too long."""
        return self.used + ttl < now


class Sessions:
    """The seats of all sessions. `ttl`: seconds; `most`: seats. Both may be changed at any time."""

    def __init__(self, ttl: float, most: int = MOST) -> None:
        self.ttl = ttl
        self.most = most
        self._seats: OrderedDict[Place, Seat] = OrderedDict()
        self._dirty: set[Place] = set()
        self._stand_ins: dict[Place, str] = {}

    def __len__(self) -> int:
        """How many seats are remembered."""
        return len(self._seats)

    def seat(self, session: str, provider: str, now: float) -> Seat | None:
        """Where the session sits; None when it is not known, or has been silent for too long."""
        seat = self._seats.get((session, provider))
        return None if seat is None or seat.is_over(now, self.ttl) else seat

    def sit(self, session: str, provider: str, key_id: str, now: float, *, home: str | None = None) -> Seat:
        """The session uses this key from now on. `home`: the key that it would rather have; None: this one."""
        old = self._seats.get((session, provider))
        moves, cached = (old.moves + 1, old.cached) if old else (1, False)
        seat = Seat(key_id, home or key_id, moves, now, now, cached=cached)
        self._stand_ins.pop((session, provider), None)
        self._put((session, provider), seat)
        return seat

    def stand_in(self, session: str, provider: str) -> str:
        """The key that did last what the session's own could not do at the moment; empty when there is none. Its cache is warm, too."""
        return self._stand_ins.get((session, provider), "")

    def stood_in(self, session: str, provider: str, key_id: str) -> None:
        """A request of the session goes to this key, for its own is only busy: it comes home. Remembered here alone."""
        if (session, provider) in self._seats:
            self._stand_ins[session, provider] = key_id

    def touch(self, session: str, provider: str, now: float) -> None:
        """A request of the session begins: it is remembered for another while."""
        seat = self._seats.get((session, provider))
        if seat:
            self._put((session, provider), replace(seat, used=max(seat.used, now)))

    def used(self, session: str, provider: str, key_id: str, now: float, *, warm: float = WARM) -> None:
        """A request of the session was accepted with this key: its cache is warm for so many seconds, if the session still sits there."""
        seat = self._seats.get((session, provider))
        if seat and seat.key_id == key_id:
            self._put((session, provider), replace(seat, used=max(seat.used, now), warm=max(seat.warm, now + warm)))

    def settled(self, session: str, provider: str, key_id: str, usage: Usage, now: float) -> None:
        """The answer is done: what it says of the cache is truer than the guess when it was accepted."""
        place = session, provider
        seat = self._seats.get(place)
        if seat is None or seat.key_id != key_id or usage.cache_read_tokens is None:
            return
        writes_long = bool(usage.cache_write_1h_tokens)
        if usage.cache_read_tokens or usage.cache_write_5m_tokens or writes_long:
            warm = now + (WARM_LONG if writes_long else WARM)
            self._put(place, replace(seat, warm=max(seat.warm, warm), cached=True))
        elif not seat.cached:  # small requests beside a conversation cache nothing, and cool nothing
            self._put(place, replace(seat, warm=min(seat.warm, now)))

    def prune(self, now: float) -> None:
        """Forget the sessions that have been silent for too long."""
        for place in [place for place, seat in self._seats.items() if seat.is_over(now, self.ttl)]:
            self._forget(place)

    # --- as rows ---

    def snapshot(self) -> list[dict[str, object]]:
        """Every seat."""
        return [_row(place, seat) for place, seat in self._seats.items()]

    def drain(self) -> list[dict[str, object]]:
        """The seats that changed here since the last call."""
        changed, self._dirty = self._dirty, set()
        return [_row(place, self._seats[place]) for place in changed]

    def restore(self, rows: Iterable[Row], now: float) -> None:
        """Take seats of another process or an earlier run."""
        for row in rows:
            place, new = (str(row["session"]), str(row["provider"])), _seat(row)
            if new.is_over(now, self.ttl):
                continue
            old = self._seats.get(place)
            self._seats[place] = joined(old, new, self.ttl) if old else new
            self._shrink()

    def _put(self, place: Place, seat: Seat) -> None:
        self._seats[place] = seat
        self._seats.move_to_end(place)
        self._dirty.add(place)
        self._shrink()

    def _shrink(self) -> None:
        while len(self._seats) > self.most:
            self._forget(next(iter(self._seats)))

    def _forget(self, place: Place) -> None:
        del self._seats[place]
        self._stand_ins.pop(place, None)
        self._dirty.discard(place)


def joined(one: Seat, other: Seat, ttl: float) -> Seat:
    """What two processes know of a session's seat, as one; the order does not matter.

    A seat that was over when the other was taken does not count. The table `sessions` is joined in the same way.
    """
    if one.is_over(other.since, ttl):
        return other
    if other.is_over(one.since, ttl):
        return one
    last = max(one, other, key=_rank)
    warm = max(one.warm, other.warm) if _rank(one) == _rank(other) else last.warm
    return replace(last, used=max(one.used, other.used), warm=warm, cached=one.cached or other.cached)


def _rank(seat: Seat) -> tuple[int, float, str, str]:
    return seat.moves, -seat.since, seat.key_id, seat.home


def _row(place: Place, seat: Seat) -> dict[str, object]:
    return {"session": place[0], "provider": place[1], **asdict(seat)}


def _seat(row: Row) -> Seat:
    since, used, warm = (float(str(row[name])) for name in ("since", "used", "warm"))
    return Seat(str(row["key_id"]), str(row["home"]), int(str(row["moves"])), since, used, warm, bool(row["cached"]))
