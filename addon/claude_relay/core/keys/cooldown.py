"""One cooldown: how long, why, how two of them make one, and how it is written as a row.

It must not know whose cooldown it is. Times are seconds since the epoch, `math.inf` is "out".

    longer(begin(50.0, 0.0, "429"), begin(90.0, 0.0, "402"))    -> the second, whatever their order
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

LONG = 60.0

type Row = Mapping[str, object]
"""A cooldown as plain values, by the names of its columns."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """One cooldown.

    until    its end; math.inf: out
    opens    when a request may use the key again: `until`, or the next look before that (math.inf: never by itself)
    careful  half-open after `opens`: one request at a time until one succeeds
    stated   the provider said how long, so that waiting for it makes sense
    streak   how many cooldowns of unknown length came one after another
    since    when it was set, or set again
    """

    until: float
    opens: float
    careful: bool
    stated: bool
    streak: int
    reason: str
    since: float = 0.0

    @property
    def of_limits(self) -> bool:
        """Whether it waits for a limit to be whole again: those are the cooldowns whose end a provider states."""
        return self.stated and self.reason != BY_HAND


BY_HAND = "by hand"
"""The reason of a cooldown that a person asked for."""
VOID = Cooldown(0.0, 0.0, careful=False, stated=False, streak=0, reason="")
"""What a row holds whose cooldown was lifted."""


def begin(
    until: float, now: float, reason: str, *, stated: bool = False, recheck: float = math.inf, streak: int = 0
) -> Cooldown:
    """A new cooldown. `recheck`: seconds after which the key is looked at, if it is not over by then."""
    return Cooldown(until, min(until, now + recheck), until - now >= LONG, stated, streak, reason, now)


def longer(old: Cooldown, new: Cooldown) -> Cooldown:
    """The later of both ends and of both openings; all else is the later one's. In whatever order cooldowns come, the same."""
    later = max(old, new, key=lambda cooldown: (cooldown.until, cooldown.stated, cooldown.reason))
    return replace(
        later,
        opens=max(old.opens, new.opens),
        careful=old.careful or new.careful,
        streak=max(old.streak, new.streak),
        since=max(old.since, new.since),
    )


def looked_in_vain(old: Cooldown, new: Cooldown, now: float) -> Cooldown:
    """A look before the end brought another failure: the cooldown goes on, and the next look is not before the new one's end."""
    both = longer(old, new)
    return replace(both, opens=min(both.until, max(new.opens, now + LONG)), reason=new.reason)


def to_row(cooldown: Cooldown) -> dict[str, object]:
    """Plain values; times that never come are None."""
    return {name: None if value == math.inf else value for name, value in asdict(cooldown).items()}


def from_row(row: Row) -> Cooldown:
    """The rest of a row, which may have other columns too."""
    until, opens = (math.inf if row[name] is None else float(str(row[name])) for name in ("until", "opens"))
    streak, reason, since = int(str(row["streak"])), str(row["reason"]), float(str(row["since"]))
    return Cooldown(until, opens, bool(row["careful"]), bool(row["stated"]), streak, reason, since)
