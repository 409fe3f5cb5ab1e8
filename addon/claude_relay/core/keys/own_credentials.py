"""The credentials that clients have of their own, where `own_credential` lets them take part: which are of use now.

    known = OwnCredentials("anthropic")                 lives as long as the relay; remembers the latest MOST of them
    own = known.of(mark, first=True)                    one request's; `mark` stands for the credential, and is all that is known of it
    own.is_ready("claude-opus-4-5", now)                not refused, window not used up
    probe = own.started("claude-opus-4-5", now)
    own.learned(verdict, …)

A credential has cooldowns as keys have, by the same rules. Nothing of them is stored, nor told to other relays. It must not know what the
credential is, nor routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from claude_relay.core.exchange import Key, Verdict

from .pool import Pool
from .selection import Random

MOST: Final = 256
"""Credentials that are remembered; a login has another one each hour."""


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
        """It was accepted."""
        self.pool.succeeded(self.key, kind, headers, now, probe=probe, today=today)

    def failed(self, verdict: Verdict, kind: str, now: float, random: Random, *, probe: bool) -> None:
        """It has the verdict's cooldown, if it is the cause."""
        self.pool.apply(verdict, self.key, kind, now, random, probe=probe)


class OwnCredentials:
    """All that have come for one provider lately."""

    def __init__(self, provider: str) -> None:
        self._pool = Pool(provider, ())
        self._keys: dict[str, Key] = {}

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
        return OwnCredential(first, self._pool, key)
