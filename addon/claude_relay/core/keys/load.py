"""What the keys of a pool carry, and whether one may take more.

    limits      the key's own: so many requests at once, so many requests or tokens in any 60 s. Nobody goes beyond.
    ramp        a key that is new, or back from a cooldown, begins with one request at a time; each success allows one more, up to
                RAMP_TOP. It is a preference: when every other key is of no use the ramp does not count.
    ease        a key that the provider just had no capacity for: others are preferred for some seconds, growing. A preference, too.
    elsewhere   what other processes say they carry with the same key counts as if it were carried here

For every key a byte says why it should not get more, so that a choice among a thousand need not ask each.
It must not know cooldowns or strategies. Keys are ids; times are seconds since the epoch.

    load.started("key-id", now); load.takes("key-id", now)      -> False, when one at a time is its limit
    load.finished("key-id")
    load.spent("key-id", tokens, now)                           once the answer says how many
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from claude_relay.core.exchange import Key, KeyLimits
from claude_relay.core.times import MINUTE

RAMP_TOP = 16
"""Requests at a time from which on a key has its full share. Each success allows one more, so all that run at once double what is allowed:
16 are four rounds of answers. A sharp rise has limits of its own at Claude: https://docs.claude.com/en/api/errors (429, "acceleration")."""
POLL = 1.0
"""When to look again at a key that is free when somebody's request ends."""

EASE_FIRST, EASE_LONGEST = 2.0, 30.0
"""Seconds for which other keys are preferred to one that the provider had no capacity for; each further time doubles them."""

# Why a key should not get one more request: a bit each, in the key's byte of `Load._flags`. The first two are limits, beyond which nobody
# goes; the others are preferences, which do not count when no other key is of use.
CROWDED = 1  # `limits.concurrent` requests are under way, here and in other processes together
CLOSED = 2  # the requests or tokens of its minute are used up
STEEP = 4  # as many are under way as the ramp allows by now
EASED = 8  # the provider had no capacity for a request with it a moment ago (529)

# What each byte of flags comes to, 1: one more may go there. `bytes.translate` turns those of a thousand keys in one call, where a loop
# would take longer than all else that a choice does.
_TAKES = bytes(not flags & (CROWDED | CLOSED) for flags in range(256))
_TAKES_GENTLY = bytes(not flags for flags in range(256))


@dataclass(frozen=True, slots=True)
class KeyLoad:
    """What one process carries with a key: requests under way, requests and tokens of the last 60 s."""

    key_id: str
    busy: int = 0
    requests: int = 0
    tokens: int = 0


class Minute:
    """What was spent in the last 60 s, against a limit; 0: there is none.

    A sliding window, which is the strictest reading of "per minute". Providers fill token buckets
    (https://docs.claude.com/en/api/rate-limits): whoever stays below the limit in any 60 s never empties one of that size.
    """

    __slots__ = ("_entries", "limit", "total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._entries: deque[tuple[float, int]] = deque()

    def add(self, amount: int, now: float) -> None:
        """Spend so much; kept only where there is a limit."""
        if self.limit:
            self._entries.append((now, amount))
            self.total += amount

    def at(self, now: float) -> int:
        """What was spent in the 60 s before."""
        while self._entries and not now - MINUTE < self._entries[0][0] <= now:  # later than now: the clock was set back
            self.total -= self._entries.popleft()[1]
        return self.total

    def opens(self, now: float, elsewhere: int) -> float:
        """When there is room for more; `now` when there is. What others spent is only known for now."""
        left = self.at(now) + elsewhere
        if left < self.limit:
            return now
        for when, amount in self._entries:
            left -= amount
            if left < self.limit:
                return when + MINUTE
        return now + POLL


class Load:
    """What a pool's keys carry. See the module's text."""

    def __init__(self) -> None:
        self.ramping: dict[str, int] = {}
        """How many requests at a time are allowed to a key that is not to get its full share yet."""
        self._busy: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._limits: dict[str, KeyLimits] = {}
        self._minutes: dict[str, tuple[Minute, Minute]] = {}
        self._crowded: set[str] = set()
        self._closed: dict[str, float] = {}
        """Until when the minute of a key is used up."""
        self._eased: dict[str, tuple[float, float]] = {}
        """Up to when others are preferred, and how long that is in all."""
        self._elsewhere: Mapping[str, KeyLoad] = {}
        self._place: dict[str, int] = {}
        """Where a key's byte is in `_flags`: its place in the pool."""
        self._flags = bytearray()
        """CROWDED and STEEP change with what happens here, and are set then. CLOSED and EASED end by themselves: for these is `_turns`."""
        self._turns: list[tuple[float, str]] = []
        """A heap of when to look again whether a key is closed or eased. Turns that are out of date stay: a look too many does no harm."""
        self._looked = 0.0
        """When that was done last: an earlier `now` means that the clock was set back."""

    def replace(self, keys: Sequence[Key], known: Collection[str]) -> None:
        """These are the keys now; those of `known` were there before. The others start as the least used, at the foot of the ramp."""
        least = min((self._used[key.id] for key in keys if key.id in known), default=0)
        self._used = Counter({key.id: self._used[key.id] if key.id in known else least for key in keys})
        ids = self._used.keys()
        self.ramping = {key: allowed for key, allowed in self.ramping.items() if key in ids}
        if known:
            self.ramping.update(dict.fromkeys(ids - set(known), 1))
        # What was spent counts against new limits, too. Until when that closes a key is only true for the limits it was found with.
        before = self._limits
        self._limits = {key.id: key.limits for key in keys if key.limits and key.limits != KeyLimits()}
        self._minutes = {key: self._books(key, limits) for key, limits in self._limits.items()}
        self._closed = {key: until for key, until in self._closed.items() if self._limits.get(key) == before[key]}
        self._crowded.clear()
        self._place = {key: place for place, key in enumerate(ids)}
        self._flags = bytearray(len(ids))
        for key in self._limits:
            self._count_heads(key)
        for key in self.ramping:
            self._count_ramp(key)
        self._eased = {key: eased for key, eased in self._eased.items() if key in ids}
        self._look_at_all(self._looked)

    def _books(self, key: str, limits: KeyLimits) -> tuple[Minute, Minute]:
        books = self._minutes.get(key) or (Minute(0), Minute(0))
        for book, limit in zip(books, (limits.requests_per_minute, limits.tokens_per_minute), strict=True):
            book.limit = limit or 0
        return books

    # --- what happens ---

    def started(self, key: str, now: float) -> None:
        """One more request under way."""
        self._used[key] += 1
        self._busy[key] += 1
        self._count_ramp(key)
        if key in self._limits:
            self._minutes[key][0].add(1, now)
            self._count_heads(key)
            self._count_minute(key, now)

    def finished(self, key: str) -> None:
        """One less. Keys that left the pool meanwhile are counted down too."""
        self._busy[key] -= 1
        if self._busy[key] <= 0:
            del self._busy[key]
        self._count_ramp(key)
        if key in self._limits:
            self._count_heads(key)

    def spent(self, key: str, tokens: int, now: float) -> None:
        """An answer used so many tokens."""
        if key in self._limits and tokens > 0:
            self._minutes[key][1].add(tokens, now)
            self._count_minute(key, now)

    def cooled_down(self, key: str) -> None:
        """The key has a cooldown; when it is back it begins with one request at a time."""
        if key in self._used:
            self.ramping[key] = 1
            self._count_ramp(key)

    def succeeded(self, key: str) -> None:
        """A key without a cooldown was accepted: one more at a time."""
        if key in self.ramping:
            self.ramping[key] += 1
            if self.ramping[key] >= RAMP_TOP:
                del self.ramping[key]
            self._count_ramp(key)
        self._eased.pop(key, None)
        self._flag(key, EASED, False)

    def overloaded(self, key: str, now: float) -> None:
        """The provider had no capacity for a request with this key. Several at once are one incident."""
        until, length = self._eased.get(key, (0.0, 0.0))
        if key in self._place and now >= until:
            length = min(EASE_LONGEST, 2 * length or EASE_FIRST)
            self._eased[key] = now + length, length
            self._look(key, now)

    # --- who may take more ---

    def takes(self, key: str, now: float) -> bool:
        """Whether the key's limits allow one more request."""
        return key not in self._crowded and not self._is_closed(key, now)

    def _is_closed(self, key: str, now: float) -> bool:
        return 0 < self._closed.get(key, 0.0) - now <= MINUTE + POLL  # later than that: the clock was set back

    def is_steep(self, key: str) -> bool:
        """Whether one more request is more than the key should get so soon."""
        return key in self.ramping and self.busy(key) >= self.ramping[key]

    @property
    def prefers(self) -> bool:
        """Whether some keys are to get less than others."""
        return bool(self.ramping or self._eased)

    def is_eased(self, key: str, now: float) -> bool:
        """Whether others are to be preferred, for the provider had no capacity for this one."""
        return now < self._eased.get(key, (0.0, 0.0))[0]

    def free(self, now: float, *, gently: bool) -> bytearray:
        """A byte for each key in the pool's order: 1 if its limits allow one more request. `gently`: and nothing speaks for others."""
        self._look_again(now)
        return self._flags.translate(_TAKES_GENTLY if gently else _TAKES)

    def opens(self, key: str, now: float) -> float:
        """When the limits allow one more request; while too many are under way that is when to look again."""
        later = self._closed[key] if self._is_closed(key, now) else now
        return max(later, now + POLL) if key in self._crowded else later

    def why_full(self, key: str, now: float) -> str:
        """What a person should know of a key that takes no more."""
        if key in self._crowded:
            return f"all {self._limits[key].concurrent} places taken"
        return "" if self.takes(key, now) else "its requests or tokens of this minute are used up"

    def busy(self, key: str) -> int:
        """Requests under way."""
        return self._busy.get(key, 0)

    def used(self, key: str) -> int:
        """Requests given to it so far."""
        return self._used[key]

    def _count_heads(self, key: str) -> None:
        limit = self._limits[key].concurrent
        if limit is not None and self.busy(key) + self._of_others(key).busy >= limit:
            self._crowded.add(key)
        else:
            self._crowded.discard(key)
        self._flag(key, CROWDED, key in self._crowded)

    def _count_minute(self, key: str, now: float) -> None:
        others = self._of_others(key)
        books = zip(self._minutes[key], (others.requests, others.tokens), strict=True)
        until = max((book.opens(now, spent) for book, spent in books if book.limit), default=now)
        if until > now:
            self._closed[key] = until
        else:
            self._closed.pop(key, None)
        self._look(key, now)

    def _count_ramp(self, key: str) -> None:
        self._flag(key, STEEP, self.is_steep(key))

    # --- the flags ---

    def _flag(self, key: str, flag: int, on: bool) -> None:
        place = self._place.get(key)
        if place is not None:
            self._flags[place] = self._flags[place] | flag if on else self._flags[place] & ~flag

    def _look(self, key: str, now: float) -> None:
        """Set the flags that end by themselves, and have a turn when they will."""
        self._looked = max(self._looked, now)
        closed, until = self._is_closed(key, now), self._closed.get(key, 0.0)
        self._flag(key, CLOSED, closed)
        if until > now:
            # One that is not closed all the same was noted before the clock was set back; it is again when the end is near enough.
            heappush(self._turns, (until if closed else until - MINUTE - POLL, key))
        self._flag(key, EASED, self.is_eased(key, now))
        if self.is_eased(key, now):
            heappush(self._turns, (self._eased[key][0], key))

    def _look_again(self, now: float) -> None:
        """At the keys whose turn has come; at all when the clock was set back."""
        due = []
        while self._turns and self._turns[0][0] <= now:
            due.append(heappop(self._turns)[1])
        for key in due:
            self._look(key, now)
        if now < self._looked:
            self._look_at_all(now)
        self._looked = now

    def _look_at_all(self, now: float) -> None:
        self._turns.clear()
        for key in self._closed.keys() | self._eased.keys():
            self._look(key, now)

    # --- with other processes ---

    def report(self, now: float) -> list[KeyLoad]:
        """What is carried here with keys that have limits."""
        loads = (
            KeyLoad(key, self.busy(key), requests.at(now), tokens.at(now))
            for key, (requests, tokens) in self._minutes.items()
        )
        return [load for load in loads if load.busy or load.requests or load.tokens]

    def hear(self, loads: Iterable[KeyLoad], now: float) -> None:
        """What all other processes carry now."""
        before, self._elsewhere = self._elsewhere, _sums(loads)
        for key in before.keys() | self._elsewhere.keys():
            if key in self._limits:
                self._count_heads(key)
                self._count_minute(key, now)

    def _of_others(self, key: str) -> KeyLoad:
        return self._elsewhere.get(key, NOTHING)


NOTHING = KeyLoad("")


def _sums(loads: Iterable[KeyLoad]) -> Mapping[str, KeyLoad]:
    sums: dict[str, KeyLoad] = {}
    for load in loads:
        old = sums.get(load.key_id, NOTHING)
        sums[load.key_id] = KeyLoad(
            load.key_id, old.busy + load.busy, old.requests + load.requests, old.tokens + load.tokens
        )
    return sums
