"""Values as other gateways' files have them: numbers and flags as text, lists as text within text, times in several forms.

    >>> number("20.5"), number("0"), flag("false"), texts('["a", "b"]'), moment("2026-11-27T10:00:00")
    (20.5, None, False, ('a', 'b'), '2026-11-27T10:00:00.000Z')

Whatever cannot be read is as if it were not there. It must not know whose file it is.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from claude_relay.core.clients.limits import Limit, Measure, Period
from claude_relay.core.times import DAY, HOUR, WEEK, duration, iso

MILLISECONDS = 100_000_000_000
"""A number of seconds from here on is one of milliseconds."""
PERIODS: tuple[tuple[Period, float], ...] = (("5h", 5 * HOUR), ("day", DAY), ("week", WEEK), ("month", 31 * DAY))


def number(value: object) -> float | None:
    """One above 0; None for none: in these files 0 is no limit."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except ValueError:
        return None
    return found if math.isfinite(found) and found > 0 else None


def flag(value: object, otherwise: bool = False) -> bool:
    """Yes or no."""
    if isinstance(value, bool | int | float):
        return bool(value)
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return known.get(str(value).strip().lower(), otherwise)


def text(value: object, longest: int = 500) -> str:
    """One line of printable text."""
    return "".join(c if c.isprintable() else " " for c in str(value)).strip()[:longest] if value is not None else ""


def texts(value: object) -> tuple[str, ...]:
    """A list: as one, as JSON in a text, or with commas, semicolons or lines between."""
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                return texts(json.loads(value))
            except ValueError:
                return ()
        value = re.split(r"[,;\n]", value)
    return tuple(dict.fromkeys(text(item) for item in value if text(item))) if isinstance(value, list | tuple) else ()


def mapping(value: object) -> Mapping[str, Any]:
    """An object: as one, or as JSON in a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects of a list."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def moment(value: object) -> str | None:
    """A point in time as UTC ISO 8601: from such a text (without a zone: UTC), or from seconds or milliseconds since the epoch."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return iso(value / 1000 if value > MILLISECONDS else value) if value > 0 else None
        found = datetime.fromisoformat(str(value).strip())
        return iso(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None


def networks(value: object) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Networks, and what is none."""
    good: list[str] = []
    bad: list[str] = []
    for one in texts(value):
        try:
            good.append(str(ip_network(one, strict=False)))
        except ValueError:
            bad.append(one)
    return tuple(good), tuple(bad)


def limit(measure: Measure, amount: object, per: Period = "", model: str | None = None) -> Iterator[Limit]:
    """The limit, where there is one."""
    found = number(amount)
    if found is not None:
        whole = found if measure == "usd" else float(max(1, math.floor(found)))
        yield Limit(measure, whole, per, model)


def period(value: object) -> tuple[Period, str]:
    """The period of a budget that is given as a length of time, and a note where it is not the same one.

    The next longer one then: that allows less in any time, not more. Longer than a month, or none at all: ever.
    """
    said = text(value).lower().replace("mo", "month") if value is not None else ""
    if not said:
        return "total", ""
    months = re.fullmatch(r"(\d{1,4})month", said)
    try:
        seconds = int(months[1]) * PERIODS[-1][1] if months else duration(said)
    except ValueError:
        return "total", f"a budget per '{said}' became one in total"
    for name, longest in PERIODS:
        if seconds <= longest:
            usual = {longest, 30 * DAY} if name == "month" else {longest}
            return name, "" if seconds in usual else f"a budget per {said} became one per {name}"
    return "total", f"a budget per {said} became one in total"
