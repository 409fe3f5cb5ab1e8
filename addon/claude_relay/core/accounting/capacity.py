"""How long the windows of accounts last at the pace of the last hour, and how many more agents of that pace fit.

    spent = pace_of(window, samples, now)            the share of the window that is used in an hour; None: nobody knows
    forecast(rows, agents=3, now=now)                -> Forecast(left=1.2, pace=0.3, sustainable=0.5, more_agents=2, …)

A window is one account's; `sustainable` is the pace at which every one of them would be used up just when it begins anew, so a pool's
windows last if its pace is no greater. All shares are of one account's window: 1.0 is one whole window. Pure: the clock is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from claude_relay.core.bodies.ratelimits import Window, window_length
from claude_relay.core.times import HOUR, MINUTE

LOOKED_AT = HOUR
LEAST = 10 * MINUTE
"""Seconds for which something must have been seen, or are taken for it: a pace of seconds says nothing of hours."""
SAME = 2 * MINUTE
"""Seconds by which two resets of one window may differ."""

type Sample = tuple[float, float, float | None]
"""When, the used share, and the reset that was said then."""


@dataclass(frozen=True, slots=True)
class Row:
    """One window of one account, by now. Shares of the window, seconds since the epoch; None: not known.

    resets_at  when it begins anew; None: with the next request, or nobody has said it
    span       seconds from now to then, or of a whole window
    pace       share that is used in an hour
    ends_at    when it is used up at that pace; None: not before it begins anew
    """

    provider: str
    key: str
    window: str
    left: float
    resets_at: float | None
    span: float | None
    pace: float | None
    ends_at: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The windows of one name over all accounts of a provider.

    pace         of those accounts of which it is known; None: of none
    more_agents  how many more fit, each of the pace that one had in the last hour; None: there was no pace
    """

    provider: str
    window: str
    accounts: int
    left: float
    pace: float | None
    sustainable: float
    agents: int
    ends_at: float | None
    more_agents: int | None


def row(provider: str, key: str, window: Window, samples: Sequence[Sample], now: float) -> Row | None:
    """A window as its latest answer has it, brought up to now; None: nobody has said how far it is used."""
    if window.utilization is None:
        return None
    began_anew = window.reset is not None and window.reset <= now
    left = 1.0 if began_anew else min(1.0, max(0.0, 1.0 - window.utilization))
    resets_at = None if began_anew else window.reset
    span = window_length(window.name) if resets_at is None else resets_at - now
    pace = pace_of(window, samples, now)
    ends_at = now + HOUR * left / pace if pace else None
    if ends_at is not None and span is not None and ends_at >= now + span:
        ends_at = None
    return Row(provider, key, window.name, left, resets_at, span, pace, ends_at)


def pace_of(window: Window, samples: Sequence[Sample], now: float) -> float | None:
    """The share that was used in an hour, by what was seen in the last one. `samples`: oldest first."""
    if window.utilization is None:
        return None
    if window.reset is not None and window.reset <= now:
        return 0.0
    of_it = [sample for sample in samples if sample[0] <= now and _same(sample[2], window.reset)]
    recent = [sample for sample in of_it if sample[0] >= now - LOOKED_AT]
    if of_it and not recent:
        return 0.0
    before = [sample for sample in of_it if sample[0] < now - LOOKED_AT]
    length, began = window_length(window.name), None
    if window.reset is not None and length is not None:
        began = window.reset - length
    if before:
        since, used = now - LOOKED_AT, before[-1][1]
    elif began is not None and began >= now - LOOKED_AT:
        since, used = began, 0.0
    elif len(recent) > 1:
        since, used = recent[0][:2]
    else:
        return None
    return HOUR * max(0.0, window.utilization - used) / max(LEAST, now - since)


def forecast(rows: Iterable[Row], agents: int, now: float) -> Forecast | None:
    """Of rows of one provider and one window; None when there are none. `agents`: that were at work in the last hour."""
    known = list(rows)
    if not known:
        return None
    left, paces = sum(row.left for row in known), [row.pace for row in known if row.pace is not None]
    pace = sum(paces) if paces else None
    sustainable = sum(HOUR * row.left / row.span for row in known if row.span)
    ends_at = now + HOUR * left / pace if pace is not None and pace > sustainable else None
    return Forecast(
        known[0].provider,
        known[0].window,
        len(known),
        left,
        pace,
        sustainable,
        agents,
        ends_at,
        _more(pace, sustainable, agents),
    )


def _more(pace: float | None, sustainable: float, agents: int) -> int | None:
    if pace is None or pace <= 0.0 or agents <= 0:
        return None
    fit = agents * (sustainable / pace)
    # So slow a pace says nothing of how many fit.
    return max(0, math.floor(fit + 1e-9) - agents) if math.isfinite(fit) else None


def _same(one: float | None, other: float | None) -> bool:
    return one is None or other is None or abs(one - other) <= SAME
