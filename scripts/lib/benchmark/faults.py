"""How often the upstream fails when it is asked to: what a day with several keys brings, in a minute."""

from __future__ import annotations

from typing import Final

from .traffic import KEY_REFUSED

SHARES: Final = {
    "overloaded": 0.010,
    "api_error": 0.010,
    "rate_limited": 0.002,
    "unexplained_429": 0.005,
    "empty": 0.005,
    "page": 0.003,
    "error_first": 0.005,
    "cut_early": 0.010,
    "cut_late": 0.010,
    "reset": 0.005,
    "close": 0.005,
    "silence": 0.001,
}
"""Names of faults, and how likely each is."""
REFUSED: Final = KEY_REFUSED.encode()


def choose(head: bytes, luck: float) -> str | None:
    """The fault of a request with this head, if it has one; `luck` is from 0 to 1."""
    if REFUSED in head:
        return "unauthorized"
    for name, share in SHARES.items():
        if (luck := luck - share) < 0:
            return name
    return None
