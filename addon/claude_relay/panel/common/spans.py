"""A span of time, as a page or the API names it: `span=24h`, or `since` and `until`.

    span = spans.of("7d", None, None, now, zone)      Span(name="7d", since=…, until=…, …)
    span.before                                       as long a span before it
    span.times                                        the steps of a chart: about thirty, beginning at round times of the zone

Times: a length before now (`24h`, `7d`), a date, or a date with a time, in the visitor's zone unless it says one. It must not know what is
summed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated, Final

from fastapi import Depends, Query, Request

from claude_relay.core.times import duration

from . import texts
from .parts import parts_of
from .problems import FieldError, Problem

USUAL: Final = "24h"
NAMED: Final[Mapping[str, timedelta]] = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
CUSTOM: Final = "custom"
STEPS: Final = (
    (timedelta(hours=3), timedelta(minutes=5)),
    (timedelta(hours=50), timedelta(hours=1)),
    (timedelta(days=9), timedelta(hours=6)),
    (timedelta(days=92), timedelta(days=1)),
    (timedelta(days=500), timedelta(days=7)),
)
"""Up to so long a span → how long a step is; beyond them months."""
MOST: Final = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Span:
    """`since` until `until`, both aware. `name`: one of NAMED, or CUSTOM."""

    name: str
    since: datetime
    until: datetime
    zone: tzinfo

    @property
    def before(self) -> Span:
        """As long a one that ends where this begins."""
        return Span(self.name, self.since - (self.until - self.since), self.since, self.zone)

    @property
    def step(self) -> timedelta | None:
        """How long a step is; None: a month."""
        length = self.until - self.since
        return next((step for longest, step in STEPS if length <= longest), None)

    @property
    def times(self) -> list[datetime]:
        """When each step begins; the first one before `since`, or at it."""
        at, found = self._floor(self.since), list[datetime]()
        while at < self.until and len(found) < 400:
            found.append(at)
            at = self._next(at)
        return found

    @property
    def query(self) -> dict[str, str]:
        """As parameters of an address."""
        if self.name != CUSTOM:
            return {"span": self.name}
        form = "%Y-%m-%dT%H:%M"
        return {name: f"{getattr(self, name).astimezone(self.zone):{form}}" for name in ("since", "until")}

    def _floor(self, at: datetime) -> datetime:
        local, step = at.astimezone(self.zone), self.step
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        if step is None:
            return midnight.replace(day=1)
        if step >= timedelta(days=7):
            return midnight - timedelta(days=midnight.weekday())
        if step >= timedelta(days=1):
            return midnight
        passed = timedelta(hours=local.hour, minutes=local.minute)
        return midnight + step * (passed // step)

    def _next(self, at: datetime) -> datetime:
        step = self.step
        if step is None:
            return (at + timedelta(days=32)).replace(day=1)
        if step >= timedelta(days=1):
            return at + step  # of the zone's calendar: a day may have 23 hours
        return (at.astimezone(UTC) + step).astimezone(self.zone)


def of(name: str | None, since: str | None, until: str | None, now: float, zone: tzinfo, usual: str = USUAL) -> Span:
    """Raises Problem."""
    here = datetime.fromtimestamp(now, UTC)
    if not since and not until:
        name = name or usual
        if name not in NAMED:
            text = f"span is one of {', '.join(NAMED)}; for another one give since and until."
            raise Problem(422, "invalid", text, errors=[FieldError(field="span", detail=text)])
        return Span(name, here - NAMED[name], here, zone)
    end = moment(until, "until", here, zone) or here
    begin = moment(since, "since", here, zone) or end - NAMED[usual]
    if not begin < end or end - begin > MOST:
        text = "since has to be before until, by ten years at most."
        raise Problem(422, "invalid", text, errors=[FieldError(field="since", detail=text)])
    return Span(CUSTOM, begin, end, zone)


def moment(text: str | None, field: str, now: datetime, zone: tzinfo) -> datetime | None:
    """`7d`, `2026-11-01`, `2026-11-01T08:00`; None for nothing. Raises Problem."""
    if not text:
        return None
    try:
        if re.match(r"\d{4}-", text):
            found = datetime.fromisoformat(text)
            found = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
        else:
            found = now - timedelta(seconds=duration(text))
        if found.year < 1971 or found.year > 9000:
            raise ValueError
    except (ValueError, OverflowError):
        detail = "It is neither a length of time (24h, 7d) nor a date (2026-11-01, 2026-11-01T08:00)."
        raise Problem(422, "invalid", f"{field}: {detail}", errors=[FieldError(field=field, detail=detail)]) from None
    return found


def wanted(
    request: Request,
    span: Annotated[str | None, Query(description=f"One of {', '.join(NAMED)}; the usual one is {USUAL}.")] = None,
    since: Annotated[str | None, Query(max_length=40, description="7d, 2026-11-01, 2026-11-01T08:00.")] = None,
    until: Annotated[str | None, Query(max_length=40, description="As since; now, if it is not given.")] = None,
) -> Span:
    """From the query."""
    return of(span, since, until, parts_of(request).clock(), texts.zone(request))


Spanning = Annotated[Span, Depends(wanted)]
"""A parameter of a handler."""
