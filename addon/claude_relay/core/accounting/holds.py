"""What requests that run have reserved, under whatever budgets there are.

    holds = Holds()
    hold = Hold("anthropic", "claude-opus-4-5", at=started_at, nano=120_000_000)
    holds.add(hold, now)
    holds.under(rule, start)      -> billionths of a USD: all that counts under the rule in the period that began at `start`
    holds.change(hold, nano)
    holds.drop(hold, now)         a second time does nothing

The holds are the truth; a sum is kept for each rule that was asked for, and found anew when its period is another one. So budgets
may be exchanged while requests run, and none has to be told of the end of a request that began before it. It must not know prices
or requests.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from claude_relay.core.routing.routes import fits

from .accounts import RuleLike, covers

SOON = 2.0
"""Seconds until a reservation ends, while none has."""
LEAST, MOST = 1.0, 30.0
"""What a client is told at least and at most, in seconds."""
WEIGHT = 0.1
"""Of the latest in the mean of how long reservations last."""

type Scope = tuple[str | None, str | None, str]
"""Provider, model and period of a rule."""


class Reserved(msgspec.Struct, eq=False, gc=False):
    """What is reserved of one limit in one period, in billionths of a USD, and by how many holds. What they let go of later than in that
    period is missed nowhere: the next one has another.
    """

    nano: int = 0
    holds: int = 0


class Hold(msgspec.Struct, eq=False):
    """Money of one request at one provider, for one model.

    at       when the request began, seconds since the epoch
    counted  where it counts beside the budgets
    """

    provider: str
    model: str
    at: float
    nano: int
    counted: Sequence[Reserved] = ()


class Holds:
    """All that is reserved now. From any one thread at a time."""

    def __init__(self) -> None:
        self._live: dict[Hold, float] = {}
        self._sums: dict[Scope, tuple[float, int]] = {}
        self._lasts: float | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._live)

    def add(self, hold: Hold, now: float) -> None:
        """Reserve. Once for each hold."""
        self._live[hold] = now
        if self._sums:
            self._shift(hold, hold.nano)

    def change(self, hold: Hold, nano: int) -> None:
        """Reserve another amount in its place; nothing once it was dropped."""
        if hold in self._live:
            self._shift(hold, nano - hold.nano)
            hold.nano = nano

    def drop(self, hold: Hold, now: float) -> None:
        """Let go of it; a second time does nothing."""
        since = self._live.pop(hold, None)
        if since is not None:
            if self._sums:
                self._shift(hold, -hold.nano)
            lasted = now - since if now > since else 0.0
            self._lasts = lasted if self._lasts is None else self._lasts + WEIGHT * (lasted - self._lasts)

    def under(self, rule: RuleLike, start: float) -> int:
        """Billionths of a USD that are reserved under a rule by requests that began at `start` or later."""
        scope = rule.provider, rule.model, rule.per
        found = self._sums.get(scope)
        if found is None or found[0] != start:
            found = (
                start,
                sum(hold.nano for hold in self._live if hold.at >= start and covers(rule, hold.provider, hold.model)),
            )
            self._sums[scope] = found
        return found[1]

    def forget_rules(self) -> None:
        """Other rules are in force: the sums of those that are gone need not be kept."""
        self._sums.clear()

    def wait(self, count: int | None = None) -> float:
        """Seconds until one of so many of them ends (None: of all), as far as the earlier ones tell."""
        count = len(self._live) if count is None else count
        return SOON if self._lasts is None or not count else min(MOST, max(LEAST, self._lasts / count))

    def _shift(self, hold: Hold, nano: int) -> None:
        for scope, (start, reserved) in self._sums.items():
            provider, model, _ = scope
            if hold.at >= start and provider in (None, hold.provider) and (model is None or fits(model, hold.model)):
                self._sums[scope] = start, reserved + nano
