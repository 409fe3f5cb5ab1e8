"""Lengths of time as people write them: `500ms`, `30s`, `5m`, `1h`, `15d`, `1h30m`; a plain number is seconds.

>>> seconds("15d")
1296000.0
"""

from __future__ import annotations

import math
import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_FORMS = "a length of time such as 500ms, 30s, 5m, 1h or 15d"


def seconds(value: object) -> float:
    """Seconds. Raises ValueError, saying which forms there are, for anything else than a length of time from 0 up."""
    if isinstance(value, str):
        return _from_text(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be {_FORMS}")
    if value < 0 or not math.isfinite(value):
        raise ValueError(f"must be {_FORMS}, not negative and not endless")
    return float(value)


def _from_text(text: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"must be {_FORMS}")
    return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))
