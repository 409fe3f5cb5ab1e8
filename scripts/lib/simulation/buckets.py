"""Limits as the provider keeps them: token buckets that refill all the time, up to what a minute allows.

    bucket = Bucket(per_minute=60.0, at=0.0)
    bucket.spend(60.0, 0.0)
    bucket.lacks(10.0, 5.0)        -> 5.0 seconds until there are ten

Claude's limits are such buckets (https://docs.claude.com/en/api/rate-limits): requests and input tokens are taken when a request is
admitted; output tokens as they are produced, whatever `max_tokens` says, so that an answer can overdraw its bucket. Times are seconds
on one clock that never goes back. This module must not know keys, answers or headers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

MINUTE = 60.0
ROUNDING = 1e-3
"""Of a token: levels and times are floats, and a moment that was told must be late enough."""


class Bucket:
    """One limit. It starts full."""

    __slots__ = ("_at", "_level", "limit")

    def __init__(self, per_minute: float, at: float) -> None:
        self.limit = per_minute
        self._level = per_minute
        self._at = at

    def level(self, now: float) -> float:
        """What is there now; negative when it is overdrawn."""
        if now != self._at:
            self._level = min(self.limit, self._level + (now - self._at) * self.limit / MINUTE)
            self._at = now
        return self._level

    def lacks(self, amount: float, now: float) -> float:
        """Seconds until so much is there: 0.0 when it is, math.inf when it never will be."""
        missing = amount - self.level(now)
        if missing <= ROUNDING:
            return 0.0
        return missing * MINUTE / self.limit if amount <= self.limit else math.inf

    def spend(self, amount: float, now: float) -> None:
        """Take so much out, more than there is if need be."""
        self._level = self.level(now) - amount

    def full_in(self, now: float) -> float:
        """Seconds until it is full."""
        return (self.limit - self.level(now)) * MINUTE / self.limit


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key or an organisation may use in a minute. The names are those of the headers, but for the hyphen."""

    requests: float
    input_tokens: float
    output_tokens: float

    def __mul__(self, factor: float) -> Limits:
        """All of them, so many times."""
        return Limits(*(getattr(self, field.name) * factor for field in fields(self)))

    def __add__(self, other: Limits) -> Limits:
        """Of both together."""
        return Limits(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request takes when it is admitted. One output token: an answer needs some room, and is paid when it is done."""

    input_tokens: float
    requests: float = 1.0
    output_tokens: float = 1.0


class Lack(NamedTuple):
    """What keeps a request from being admitted: for how many seconds, which bucket, what that allows in a minute."""

    seconds: float
    bucket: str
    limit: float


NAMES = tuple(field.name for field in fields(Limits))


class Allowance:
    """The three buckets of a key or of an organisation."""

    __slots__ = ("buckets",)

    def __init__(self, limits: Limits, at: float) -> None:
        self.buckets = {name: Bucket(getattr(limits, name), at) for name in NAMES}

    def lacks(self, cost: Cost, now: float) -> Lack | None:
        """What has to be waited for longest before the request could be admitted; None when it can be."""
        lacks = (
            Lack(seconds, name, bucket.limit)
            for name, bucket in self.buckets.items()
            if (seconds := bucket.lacks(getattr(cost, name), now))
        )
        return max(lacks, default=None)

    def admit(self, cost: Cost, now: float) -> None:
        """Take what is known when the request arrives."""
        self.buckets["requests"].spend(cost.requests, now)
        self.buckets["input_tokens"].spend(cost.input_tokens, now)

    def produce(self, tokens: float, now: float) -> None:
        """Take what was written."""
        self.buckets["output_tokens"].spend(tokens, now)
