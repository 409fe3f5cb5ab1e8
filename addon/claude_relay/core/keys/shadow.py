"""A pool as a request sees it that has met a fault: what a fault says of keys holds for this request alone.

    pool = Shadow(pool)
    pool.fault = fault                      the attempt that begins now meets it; None: it is a real one
    pool.started(…), pool.apply(…), …       as of any pool

What is real reaches the pool behind it as well: that a request is under way, if one is, and what a real answer says. So the request goes
on as if the fault had happened, waits and cooldowns included, and nobody else learns of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import override

from claude_relay.core.exchange import Fault, Key, Verdict

from .pool import Pool
from .selection import Random


class Shadow(Pool):
    """A copy of a pool, as it is now, in front of it."""

    def __init__(self, behind: Pool) -> None:
        """Keys are the same; all that is known of them is copied."""
        super().__init__(behind.provider, (), strategy=behind.strategy, passthrough=behind.passthrough)
        vars(self).update(copy.deepcopy(vars(behind), {id(key): key for key in behind.keys}))
        self.fault: Fault | None = None
        """What the running attempt meets."""
        self._behind = behind
        self._probe = False

    @property
    def _leaves(self) -> bool:
        """Whether the provider gets the running attempt."""
        return self.fault is None or self.fault.dispatched

    @override
    def started(self, key: Key, model: str, now: float) -> bool:
        self._probe = self._leaves and self._behind.started(key, model, now)
        return super().started(key, model, now)

    @override
    def answered(self, key: Key) -> None:
        super().answered(key)
        if self._leaves:
            self._behind.answered(key)

    @override
    def finished(self, key: Key) -> None:
        super().finished(key)
        if self._leaves:
            self._behind.finished(key)

    @override
    def abandoned(self, key: Key, model: str, *, probe: bool) -> None:
        super().abandoned(key, model, probe=probe)
        self._behind.abandoned(key, model, probe=self._probe)

    @override
    def succeeded(
        self,
        key: Key,
        model: str,
        headers: Mapping[str, str],
        now: float,
        *,
        probe: bool = False,
        today: float | None = None,
    ) -> None:
        super().succeeded(key, model, headers, now, probe=probe, today=today)
        if self.fault is None:
            self._behind.succeeded(key, model, headers, now, probe=self._probe, today=today)
        else:
            self._behind.abandoned(key, model, probe=self._probe)

    @override
    def apply(
        self, verdict: Verdict, key: Key, model: str, now: float, random: Random = lambda: 0.0, *, probe: bool = False
    ) -> None:
        super().apply(verdict, key, model, now, random, probe=probe)
        if self.fault is None:
            self._behind.apply(verdict, key, model, now, random, probe=self._probe)
        else:
            self._behind.abandoned(key, model, probe=self._probe)

    @override
    def failed_alone(self, verdict: Verdict, key: Key, now: float, random: Random = lambda: 0.0) -> None:
        """Of a real failure: `policy` leaves the others out."""
        super().failed_alone(verdict, key, now, random)
        self._behind.failed_alone(verdict, key, now, random)

    @override
    def overloaded(self, key: Key, now: float) -> None:
        super().overloaded(key, now)
        if self.fault is None:
            self._behind.overloaded(key, now)
