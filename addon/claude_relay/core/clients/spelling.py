"""Single values of clients and groups, as people write them. Each raises ValueError, saying what would do.

    line("moved to research")                 one line that everybody may read: nothing that looks like a key
    network("10.0.0.5"), tier("usual", …)     '10.0.0.5/32', ''
    moment("30d", now), moment("2026-12-31T18:00", now)      UTC ISO 8601

It must not know where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from ipaddress import ip_network

from claude_relay.core.errors import SECRET
from claude_relay.core.times import duration, iso

USUAL = "usual"
"""The tier of keys that have none."""
LONGEST = 500


def line(text: str) -> str:
    """Without blanks around it."""
    text = text.strip()
    if not text.isprintable() or len(text) > LONGEST:
        raise ValueError(f"is one line of at most {LONGEST} printable characters")
    if re.search(r"\brk-[0-9a-f]{8}", text) or (re.search(r"\b(sk-|AIza|gsk_|xai-|eyJ)", text) and SECRET.search(text)):
        raise ValueError("looks like a key, and everybody may read it")
    return text


def word(text: str) -> str:
    """A line that is not empty."""
    found = line(text)
    if not found:
        raise ValueError("must not be empty")
    return found


def network(text: str) -> str:
    """An address or a network, as CIDR."""
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is no address or network such as 10.0.0.5 or 10.0.0.0/24") from None


def tier(text: str, known: Collection[str]) -> str:
    """As keys have it: empty for the usual one."""
    word = text.strip().lower()
    if word not in (*known, USUAL, ""):
        raise ValueError(f"{text[:60]!r} is none of {', '.join((*known, USUAL))}")
    return "" if word == USUAL else word


def moment(text: str, now: float) -> str:
    """A date or time of this machine's time zone (unless it names one) that is to come, or a length of time from now."""
    try:
        at = datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        try:
            at = now + duration(text)
        except ValueError:
            raise ValueError(
                f"{text[:60]!r} is neither a date (2026-12-31, 2026-12-31T18:00) nor a length of time (30d)"
            ) from None
    if at <= now:
        raise ValueError(f"{text[:60]!r} is over already; to let a client do nothing, disable it")
    try:
        return iso(at)
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:60]!r} is too far away") from None
