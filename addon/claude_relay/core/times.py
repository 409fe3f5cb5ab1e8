"""Points in time and lengths of time as text: what is written has one form everywhere, what is read may have many.

    >>> iso(1_700_000_000.5), seconds_of("2023-11-14T22:13:20.500Z")
    ('2023-11-14T22:13:20.500Z', 1700000000.5)
    >>> iso(utc("2023-11-14T23:13:20.5+01:00"))
    '2023-11-14T22:13:20.500Z'
    >>> duration("1h30m"), stated("1 minute 5 seconds"), stated("soon")
    (5400.0, 65.0, None)
    >>> shown(0.85), shown(12.34), ago(7300.0)
    ('850ms', '12.3s', '2h ago')

Points in time are RFC 3339, UTC, with milliseconds, in tables, logs, exports and notices; in seconds they are those since the epoch.
It must not know what time it is.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from itertools import pairwise

MINUTE, HOUR, DAY, WEEK = 60.0, 3600.0, 86400.0, 604800.0
UNITS = {"ms": 0.001, "s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
LAST = 253402300799.0
"""The last second that such a text can say."""

_AMOUNT = r"(?<![\d.])(\d{1,15}+(?:\.\d{1,15}+)?+)\s*+"
_PART = re.compile(rf"{_AMOUNT}(ms|[smhdw])", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*+)++", re.ASCII)
_NUMBER = re.compile(r"\d{1,15}+(?:\.\d{1,15}+)?+", re.ASCII)
_FORMS = "a length of time such as 500ms, 30s, 5m, 1h or 15d"
_WORDS = r"milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h|days?|d"
_WORDED = re.compile(rf"{_AMOUNT}({_WORDS})(?![a-z])", re.ASCII | re.IGNORECASE)
STATED = rf"(?:{_WORDED.pattern}[\s,]*+)++"
"""A pattern of what `stated` reads, for patterns that look for it in a sentence; in any case of letters."""
_STATED = re.compile(STATED, _WORDED.flags)


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


def duration(value: object) -> float:
    """Seconds of a length of time in a setting: `500ms`, `30s`, `5m`, `1h30m`, `15d`, `2w`; a plain number is seconds.

    Raises ValueError, saying which forms there are, for anything else than a length of time from 0 up.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if _NUMBER.fullmatch(text):
            return float(text)
        if not _WHOLE.fullmatch(text):
            raise ValueError(f"must be {_FORMS}")
        return _sum(_PART, text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be {_FORMS}")
    if value < 0 or not math.isfinite(value):
        raise ValueError(f"must be {_FORMS}, not negative and not endless")
    return float(value)


def stated(text: str) -> float | None:
    """Seconds of a length of time as providers say it: `6m0s`, `20 ms`, `1h2.5s`, `1 minute 5 seconds`.

    None when it says none, or two: in one the units get smaller.
    """
    if not _STATED.fullmatch(text.strip()):
        return None
    units = [_unit(unit) for _, unit in _WORDED.findall(text)]
    return _sum(_WORDED, text) if all(larger > smaller for larger, smaller in pairwise(units)) else None


def _sum(part: re.Pattern[str], text: str) -> float:
    return sum(float(amount) * _unit(unit) for amount, unit in part.findall(text))


def _unit(name: str) -> float:
    name = name.lower()
    return UNITS["ms"] if name.startswith(("ms", "milli")) else UNITS[name[0]]


def shown(seconds: float) -> str:
    """A length of time for a cell of a table, in at most five characters up to a day: `850ms`, `12.3s`, `100s`."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f}ms"
    return f"{seconds:.{int(seconds < 99.95)}f}s"


def ago(seconds: float) -> str:
    """How long ago something was, in the largest unit of which there is one: `3d ago`, `2h ago`, `5m ago`, `just now`."""
    for unit in ("d", "h", "m"):
        if seconds >= UNITS[unit]:
            return f"{seconds // UNITS[unit]:.0f}{unit} ago"
    return "just now"


def length(seconds: float) -> str:
    """A length of time as people type it, to the second: `3d`, `1h 30m`, `0s`."""
    left, parts = round(seconds), []
    for unit in ("d", "h", "m", "s"):
        if left >= (size := round(UNITS[unit])):
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts) or "0s"
