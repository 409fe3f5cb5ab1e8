"""What Claude Code is told of a cap on spending: header fields of answers, and the document behind its `/usage`.

    cap = tightest(caps)
    allowed(cap)                fields of a good answer; None of them where there is no cap
    in_head(hundredths, resets_at)    the same as they stand in its head
    rejected(cap, now)          fields of the 429 once the cap is reached
    usage(caps, spent)          what `GET /api/oauth/usage` answers

The names are Anthropic's; their meaning is that of the gateway which Claude Code brings itself (`claude gateway`, `GET /protocol`,
2.1.332). Money is USD here, cents in the document; times are seconds since the epoch. It must not know how a cap is counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from claude_relay.core.times import iso

from .limits import Period

PREFIX: Final = "anthropic-ratelimit-unified-"
LIMITS: Final = "anthropic-ratelimit-"
"""What the header fields begin with in which an upstream speaks of a pool's key."""
THRESHOLDS: Final = (0.95, 0.75)
"""Parts of a cap from which on Claude Code warns; the highest first."""
CALLED: Final[Mapping[Period, str]] = {"day": "daily", "week": "weekly", "month": "monthly"}
"""What the protocol calls a cap's period; it has no word for the others."""
BELOW_ALL: Final = 99
"""Hundredths: what is said of a cap that is used up but for the last cent, or has been passed by requests that ran already."""
ROUNDED: Final = 1e-9
"""Hundredths that are lost where parts of a cap are added up."""


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on money, and what is used of it.

    amount, used  USD
    resets_at     None: never
    shared        whether it is the budget of a group
    """

    amount: float
    used: float
    per: Period
    resets_at: float | None = None
    shared: bool = False

    @property
    def part(self) -> float:
        """How much of it is used: 1 is all."""
        return self.used / self.amount


@dataclass(frozen=True, slots=True)
class Spent:
    """What a client has spent in all since midnight, Monday and the first of the month (UTC), in USD."""

    day: float = 0.0
    week: float = 0.0
    month: float = 0.0


def tightest(caps: Iterable[Cap]) -> Cap | None:
    """The one that is used up first, by the part of it that is used; of several, the smallest."""
    return max(caps, key=lambda cap: (cap.part, -cap.amount), default=None)


def allowed(cap: Cap) -> Mapping[str, str]:
    """Fields of an answer that is let through."""
    return {name.decode(): value.decode() for name, value in in_head(int(100 * cap.part + ROUNDED), cap.resets_at)}


@lru_cache(maxsize=4096)
def in_head(hundredths: int, resets_at: float | None) -> tuple[tuple[bytes, bytes], ...]:
    """The same as the head of the answer has them, for all whose caps are used as far and begin anew at the same time."""
    used = min(hundredths, BELOW_ALL)
    passed = _passed(used / 100)
    status = "allowed" if passed is None else "allowed_warning"
    fields = {
        "status": status,
        "representative-claim": "overage",
        "overage-status": status,
        "overage-utilization": f"{used / 100:.2f}",
    }
    if passed is not None:
        fields["overage-surpassed-threshold"] = f"{passed}"
    return tuple((name.encode(), value.encode()) for name, value in _named(fields | _resets(resets_at)).items())


def rejected(cap: Cap) -> dict[str, str]:
    """Fields of the refusal. Without `representative-claim` and `overage-status`: with them Claude Code shows words of its own."""
    fields = {
        "status": "rejected",
        "overage-utilization": "1",
        "overage-surpassed-threshold": "1",
        "overage-disabled-reason": "org_spend_cap_reached",
    }
    if (period := CALLED.get(cap.per)) is not None:
        fields["overage-period"] = period
    if cap.shared:
        fields["overage-scope"] = "group_pool"
    return _named(fields | _resets(cap.resets_at))


def unreadable() -> dict[str, str]:
    """Fields of a refusal because it cannot be told what is used."""
    return _named({"status": "rejected", "overage-disabled-reason": "fetch_error"})


def usage(caps: Sequence[Cap], spent: Spent) -> dict[str, Any]:
    """The document: all caps, and what the header fields say of the tightest. Without any, what was spent."""
    cap = tightest(caps)
    if cap is None:
        beside = {
            name: {"limit": None, "used_credits": cents(used), "utilization": None}
            for name, used in (("daily", spent.day), ("weekly", spent.week))
        }
        return {"extra_usage": _extra(None, spent.month, None) | beside, "limits": []}
    return {
        "extra_usage": _extra(cap.amount, cap.used, _percent(cap)),
        "limits": [
            {
                "kind": "spend",
                "group": CALLED.get(one.per, one.per),
                "percent": _percent(one),
                "resets_at": None if one.resets_at is None else iso(math.ceil(one.resets_at)),
                "severity": {0.95: "critical", 0.75: "warning"}.get(_passed(one.part) or 0.0, "normal"),
                "is_active": one is cap,
            }
            for one in caps
        ],
    }


def cents(usd: float) -> int:
    """Whole cents."""
    return round(100 * usd)


def _extra(limit: float | None, used: float, percent: int | None) -> dict[str, Any]:
    return {
        "is_enabled": True,
        "monthly_limit": None if limit is None else cents(limit),
        "used_credits": cents(used),
        "utilization": percent,
        "currency": "USD",
    }


def _percent(cap: Cap) -> int:
    return math.floor(100 * min(cap.part, 1.0) + ROUNDED)


def _passed(part: float) -> float | None:
    for threshold in THRESHOLDS:
        if part >= threshold:
            return threshold
    return None


def _resets(resets_at: float | None) -> dict[str, str]:
    if resets_at is None or resets_at == math.inf:
        return {}
    at = str(math.ceil(resets_at))
    return {"reset": at, "overage-reset": at}


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    return {PREFIX + name: value for name, value in fields.items()}
