"""When tokens are renewed, and how an account is by now.

    due = Due(ticks=time.monotonic, wall=time.time, random=random.random)
    due.at("4f1c…", generation=7, expires_at=…, life=28800.0, renewed_at=…)    -> a point of `ticks`
    state_of(…)                                                                -> "active" | "expiring" | "expired" | "revoked"

Tokens are renewed at least a tenth of their life before they end, and up to ten minutes earlier by chance, so that those of many accounts
and relays do not come together; those of unknown life at least every six hours. The system's clock is looked at once for each pair of
tokens; from then on the monotonic one counts, so that setting the clock back makes nobody renew too late. It must not know how.
"""

from __future__ import annotations

from collections.abc import Callable

from claude_relay.core.times import HOUR, MINUTE

AHEAD = 0.1
"""Share of their life before whose end tokens are renewed."""
JITTER = 10 * MINUTE
UNKNOWN = 6 * HOUR
"""After which tokens of unknown life are renewed."""
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 30 * MINUTE
ACTIVE, EXPIRING, EXPIRED, REVOKED = "active", "expiring", "expired", "revoked"
STATES = (ACTIVE, EXPIRING, EXPIRED, REVOKED)


class Due:
    """When each pair of tokens is due, by a clock that never jumps."""

    def __init__(
        self, ticks: Callable[[], float], wall: Callable[[], float], random: Callable[[], float] = lambda: 0.0
    ) -> None:
        """`random`: numbers from 0.0 to 1.0."""
        self._ticks, self._wall, self._random = ticks, wall, random
        self._known: dict[str, tuple[int, float]] = {}

    def at(
        self, account: str, generation: int, expires_at: float | None, life: float | None, renewed_at: float
    ) -> float:
        """A point of `ticks`. `expires_at`, `renewed_at`: seconds since the epoch; `life`: seconds; None: not known."""
        known = self._known.get(account)
        if known is None or known[0] != generation:
            left = time_to_renew(expires_at, life, renewed_at, self._wall(), self._random())
            known = self._known[account] = generation, self._ticks() + left
        return known[1]

    def forget_all_but(self, accounts: set[str]) -> None:
        """The others are gone."""
        self._known = {account: known for account, known in self._known.items() if account in accounts}


def time_to_renew(expires_at: float | None, life: float | None, renewed_at: float, now: float, chance: float) -> float:
    """Seconds until tokens are due; 0.0: they are. Never longer than a clock which is set wrong could make it: at most their life."""
    if expires_at is None:
        age = min(max(0.0, now - renewed_at), UNKNOWN)
        return max(0.0, UNKNOWN - age - JITTER * chance)
    whole = life if life is not None else max(0.0, expires_at - renewed_at)
    left = min(expires_at - now, whole)
    ahead = AHEAD * whole
    return max(0.0, left - ahead - min(JITTER, ahead) * chance)


def pause_after(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds after so many failures in a row: doubling, spread by chance, and no shorter than the server wants it."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(max(0, failures - 1), 20))
    return max(pause * (0.8 + 0.4 * chance), min(retry_after or 0.0, HOUR))


def state_of(*, revoked: bool, expires_at: float | None, life: float | None, failures: int, now: float) -> str:
    """One of STATES. An account whose refresh token is no good is `revoked` also while its access token still works."""
    if revoked:
        return REVOKED
    if expires_at is None:
        return EXPIRING if failures else ACTIVE
    if expires_at <= now:
        return EXPIRED
    return EXPIRING if expires_at - now <= AHEAD * (life or 0.0) else ACTIVE
