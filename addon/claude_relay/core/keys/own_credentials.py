"""The credentials that clients have of their own, where `own_credential` lets them take part: which are of use now.

    known = OwnCredentials("anthropic")                 lives as long as the relay; remembers the latest MOST of them
    own = known.of(mark, first=True)                    one request's; `mark` stands for the credential, and is all that is known of it
    known.drain(), known.hear(rows, probes)             what changed here, and what other relays have found
    own.is_ready("claude-opus-4-5", now)                not refused, window not used up
    probe = own.started("claude-opus-4-5", now)
    own.learned(verdict, …)

A credential has cooldowns as keys have, by the same rules. Relays over one database tell each other of those whose mark is the same in
all of them (SHARED). It must not know what the credential is, nor routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from claude_relay.core.bodies.ratelimits import share_left, windows_in
from claude_relay.core.exchange import Key, Verdict

from .cooldown import Row
from .pool import Pool
from .selection import Random

MOST: Final = 256
"""Credentials that are remembered; a login has another one each hour."""
MOST_HEARD: Final = 1024
"""Credentials of which others said something."""
SHARED: Final = "own:"
"""What a mark begins with that means the same in every relay over one database."""
USED_UP: Final = "{} window used up"


@dataclass(frozen=True, slots=True)
class OwnCredential:
    """That of one request's client, at one provider.

    first  it comes before the pool's keys; else after them
    """

    first: bool
    pool: Pool = field(repr=False)
    key: Key = field(repr=False)

    def is_ready(self, kind: str, now: float) -> bool:
        """Whether it may be used: neither refused nor used up, as far as is known."""
        return self.pool.is_ready(self.key, kind, now) and not self.pool.is_used_up(self.key, now)

    def started(self, kind: str, now: float) -> bool:
        """A request with it starts. True when it looks whether it is of use again."""
        probe = self.pool.started(self.key, kind, now)
        self.pool.answered(self.key)
        self.pool.finished(self.key)
        return probe

    def abandoned(self, kind: str, *, probe: bool) -> None:
        """The request ended without an outcome that says something about it."""
        self.pool.abandoned(self.key, kind, probe=probe)

    def succeeded(self, kind: str, headers: Mapping[str, str], now: float, *, probe: bool, today: float) -> None:
        """It was accepted. What uses a window up has a cooldown until its reset, so that other relays hear of it."""
        self.pool.succeeded(self.key, kind, headers, now, probe=probe, today=today)
        left = share_left(windows_in(headers, today))
        if left is not None and left.share <= 0.0 and left.reset > today:
            until = left.reset + (now - today)
            self.pool.cooldowns.extend(
                self.key.id, "", until=until, now=now, reason=USED_UP.format(left.name), stated=True
            )

    def failed(self, verdict: Verdict, kind: str, now: float, random: Random, *, probe: bool) -> None:
        """It has the verdict's cooldown, if it is the cause."""
        self.pool.apply(verdict, self.key, kind, now, random, probe=probe)


class OwnCredentials:
    """All that have come for one provider lately."""

    def __init__(self, provider: str) -> None:
        self._pool = Pool(provider, ())
        self._keys: dict[str, Key] = {}
        self._heard: dict[str, dict[str, Row]] = {}
        """By mark and scope; of credentials, too, that have not come here yet."""

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._keys)

    def of(self, mark: str, *, first: bool) -> OwnCredential:
        """The credential with this mark."""
        key = self._keys.pop(mark, None)
        if key is not None:
            self._keys[mark] = key
        else:
            self._keys[mark] = key = Key(self._pool.provider, "client", "", mark)
            for oldest in [*self._keys][:-MOST]:
                del self._keys[oldest]
            self._pool.replace([*self._keys.values()])
            self._pool.restore(self._heard.get(mark, {}).values())
        return OwnCredential(first, self._pool, key)

    # --- with other relays ---

    @property
    def provider(self) -> str:
        """Whose clients they are."""
        return self._pool.provider

    def drain(self) -> Iterator[Row]:
        """What changed here since the last call, of those that can be told of."""
        return _shared(self._pool.cooldowns.drain())

    def probes(self) -> Iterator[Row]:
        """What is probed here now."""
        return _shared(self._pool.cooldowns.probes())

    def hear(self, cooldowns: Iterable[Row], probes: Iterable[Row]) -> None:
        """What others, or this relay before, have found, and what they probe now."""
        for row in _shared(cooldowns):
            mark = str(row["key_id"])
            self._heard.setdefault(mark, {})[str(row["scope"])] = row
            self._heard[mark] = self._heard.pop(mark)
            self._pool.restore((row,))
        for oldest in [*self._heard][:-MOST_HEARD]:
            del self._heard[oldest]
        self._pool.cooldowns.hear(_shared(probes))


def _shared(rows: Iterable[Row]) -> Iterator[Row]:
    return (row for row in rows if str(row["key_id"]).startswith(SHARED))
