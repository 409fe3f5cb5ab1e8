"""Points in time as text, in one form everywhere: tables, logs, exports, notices (RFC 3339, UTC, milliseconds).

    >>> iso(1_700_000_000.5), seconds_of("2023-11-14T22:13:20.500Z")
    ('2023-11-14T22:13:20.500Z', 1700000000.5)
    >>> iso(utc("2023-11-14T23:13:20.5+01:00"))
    '2023-11-14T22:13:20.500Z'

Seconds are those since the epoch. It must not know what time it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

LAST = 253402300799.0
"""The last second that such a text can say."""


def iso(at: float | datetime) -> str:
    """A point in time as text. Raises ValueError or OverflowError for seconds outside of the calendar."""
    moment = at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def utc(text: str) -> datetime:
    """The point in time that a text says. Raises ValueError for what says none."""
    return datetime.fromisoformat(text).astimezone(UTC)


def seconds_of(text: str | None) -> float | None:
    """The same in seconds; None for none, and for what says none."""
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
