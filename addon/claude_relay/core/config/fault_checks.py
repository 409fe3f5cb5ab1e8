"""The checks of `faults`: which faults there are, and what may be said of each.

>>> fault(529)
'529'

Every check raises ValueError with a sentence that ends in the remedy. What the kinds mean: `core.faults`.
"""

from __future__ import annotations

from claude_relay.core.faults import KINDS

from .problems import suggest


def fault(value: object) -> str:
    """A kind by its name; a status also as a number."""
    name = "" if isinstance(value, bool) else str(value).strip().lower()
    if name not in KINDS:
        raise ValueError(f"no fault has this name; {suggest(name, KINDS)}")
    return name


def fits(kind: str, *, after: bool, lasts: bool) -> None:
    """Whether a kind of fault has a place in the answer, and a length, where these are given."""
    if after and not KINDS[kind].after:
        able = ", ".join(name for name, other in KINDS.items() if other.after)
        raise ValueError(f"'{kind}' has no place in an answer; leave 'after' out, or take one of: {able}")
    if lasts and not KINDS[kind].lasts:
        able = ", ".join(name for name, other in KINDS.items() if other.lasts)
        raise ValueError(f"'{kind}' has no length; leave 'lasts' out, or take one of: {able}")
