"""One budget with its present period, and what belongs to it.

    account = Account(rule)
    account.turn(now, zone)                                # its period, anew when it is over
    account.is_full(nano, reserved)                        # whether so much more has no room
    span("day", now)  -> Span(start, end)
    covers(rule, "anthropic", "claude-opus-4-5")  -> bool

It must not know requests, who reserves, nor what follows a budget's end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from math import inf
from typing import NamedTuple, Protocol

from claude_relay.core.notices import Kind
from claude_relay.core.routing.routes import fits

NANO = 1_000_000_000
"""Reservations are counted in whole billionths of a USD: what is added and taken away again leaves nothing."""


class RuleLike(Protocol):
    """A budget of relay.yaml."""

    @property
    def name(self) -> str:
        """Unique."""

    @property
    def provider(self) -> str | None:
        """None: all."""

    @property
    def model(self) -> str | None:
        """A glob of the name at the provider; None: any."""

    @property
    def per(self) -> str:
        """`day`, `week` or `month`."""

    @property
    def usd(self) -> float:
        """How much."""

    @property
    def warn(self) -> float:
        """The share at which to warn, 0: never."""

    @property
    def then(self) -> str:
        """`stop`, `warn` or the name of a provider."""


@dataclass(frozen=True, slots=True)
class Span:
    """A period: from `start` until just before `end`, seconds since the epoch."""

    start: float
    end: float


NEVER = Span(0.0, 0.0)
EVER = Span(0.0, inf)
_one = lru_cache(maxsize=64)(Span)
"""All that are in the same period have the same object: of a thousand clients it is the one that is at hand."""


class Sum(NamedTuple):
    """What was spent under a rule in the period that began then."""

    rule: str
    start: float
    usd: float


class Counted(NamedTuple):
    """What this relay itself has counted under a rule, in the period that began then."""

    start: float
    usd: float


def span(per: str, at: float, zone: tzinfo | None = None) -> Span:
    """The day, week (from Monday) or month around a moment, on the calendar of `zone`; None: this machine's. `total`: all there is."""
    if per == "total":
        return EVER
    today = datetime.fromtimestamp(at, zone).date()
    first = FIRST[per](today)
    return _one(_midnight(first, zone), _midnight(NEXT[per](first), zone))


FIRST: dict[str, Callable[[date], date]] = {
    "day": lambda today: today,
    "week": lambda today: today - timedelta(days=today.weekday()),
    "month": lambda today: today.replace(day=1),
}
NEXT: dict[str, Callable[[date], date]] = {
    "day": lambda first: first + timedelta(days=1),
    "week": lambda first: first + timedelta(days=7),
    "month": lambda first: (first + timedelta(days=31)).replace(day=1),
}


def _midnight(day: date, zone: tzinfo | None) -> float:
    return datetime.combine(day, time(), zone).timestamp()


def covers(rule: RuleLike, provider: str | None, model: str | None) -> bool:
    """Whether money spent there counts under a rule."""
    return rule.provider in (None, provider) and (rule.model is None or fits(rule.model, model or ""))


@dataclass(slots=True)
class Account:
    """One rule with its present period. `counted`: the part of `usd` that this relay has counted itself."""

    rule: RuleLike
    now: Span = NEVER
    usd: float = 0.0
    counted: float = 0.0
    said: set[Kind] = field(default_factory=set)

    def turn(self, at: float, zone: tzinfo | None) -> None:
        """Begin anew if the period is over."""
        if at >= self.now.end:
            self.now, self.usd, self.counted, self.said = span(self.rule.per, at, zone), 0.0, 0.0, set()

    @property
    def ended(self) -> bool:
        """Whether all of it is spent."""
        return self.usd >= self.rule.usd

    def is_full(self, nano: int, reserved: int) -> bool:
        """Whether a request that may cost `nano` has no room beside what is reserved; both in billionths of a USD.

        As long as something is left, one request has room alone: otherwise a cooldown smaller than any reserve would never be used.
        """
        if self.ended:
            return True
        return bool(nano and reserved) and round(self.usd * NANO) + reserved + nano > round(self.rule.usd * NANO)
