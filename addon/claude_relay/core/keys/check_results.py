"""What a check of a key may find: the provider was asked with it, and this is what the answer says of the key.

    CheckResult("limited", until=1795341600.0, reason="429: requests per minute")

It must not know who asks, nor where results are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

VALID, LIMITED, NO_CREDIT, REVOKED, UNREACHABLE, UNCLEAR = (
    "valid",
    "limited",
    "no-credit",
    "revoked",
    "unreachable",
    "unclear",
)
UNCHECKED = "unchecked"
CHECKS = (VALID, LIMITED, NO_CREDIT, REVOKED, UNREACHABLE, UNCLEAR)
"""Unclear: the answer says nothing about the key."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found: one of CHECKS. `until` in seconds since the epoch: the end of a limit, where it is known."""

    status: str
    until: float | None = None
    reason: str = ""
