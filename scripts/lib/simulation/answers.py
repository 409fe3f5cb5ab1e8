"""Claude's answers, as far as the core reads them: statuses, `anthropic-ratelimit-*` and `retry-after` headers, error bodies.

    refusal(401, REVOKED)      -> Outcome(status=401, body=b'{"type":"error","error":{"type":"authentication_error",…}}')

Headers: https://docs.claude.com/en/api/rate-limits#response-headers; errors: https://docs.claude.com/en/api/errors. This module must
not know keys or who is asking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from claude_relay.core.errors import error_type
from claude_relay.core.exchange import Outcome

from .buckets import Allowance, Lack


@dataclass(frozen=True, slots=True)
class Kind:
    """What is said of one kind of bucket: its headers, what a 429 calls it, the unit in which the remaining is told."""

    limit: str
    remaining: str
    reset: str
    says: str
    unit: int


def _kind(name: str, unit: int) -> Kind:
    prefix = f"anthropic-ratelimit-{name.replace('_', '-')}-"
    says = f"{name.replace('_', ' ')} per minute"
    return Kind(prefix + "limit", prefix + "remaining", prefix + "reset", says, unit)


KINDS = {
    "requests": _kind("requests", 1),
    "input_tokens": _kind("input_tokens", 1000),
    "output_tokens": _kind("output_tokens", 1000),
}
"""Tokens are told in thousands. The reset is when the bucket is full again."""
NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
REVOKED = "invalid x-api-key"
OVERLOADED = "Overloaded"


def success(headers: Mapping[str, str]) -> Outcome:
    """The head of a stream with content."""
    return Outcome(200, headers)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Outcome:
    """An error in Claude's shape."""
    return Outcome(status, headers or {}, error_body(status, message))


def rate_limited(lack: Lack, headers: Mapping[str, str]) -> Outcome:
    """A 429. When it makes sense to come again is told in whole seconds, rounded up."""
    message = (
        f"This request would exceed your organization's rate limit of {lack.limit:,.0f} {KINDS[lack.bucket].says}."
    )
    again = {"retry-after": str(math.ceil(lack.seconds))} if math.isfinite(lack.seconds) else {}
    return refusal(429, message, {**headers, **again})


@lru_cache(maxsize=256)
def error_body(status: int, message: str) -> bytes:
    """The JSON of an error. 402 and most 400s differ from 429 in their `type`."""
    return msgspec.json.encode({"type": "error", "error": {"type": error_type(status), "message": message}})


def limit_headers(allowances: Iterable[Allowance], now: float) -> dict[str, str]:
    """What is left, of the most restrictive limit in effect: of each kind of bucket the one with the least left."""
    headers: dict[str, str] = {}
    for name, kind in KINDS.items():
        bucket = min((allowance.buckets[name] for allowance in allowances), key=lambda bucket: bucket.level(now))
        headers[kind.limit] = str(int(bucket.limit))
        headers[kind.remaining] = str(max(0, int(bucket.level(now))) // kind.unit * kind.unit)
        headers[kind.reset] = moment(math.ceil(now + bucket.full_in(now)))
    return headers


@lru_cache(maxsize=4096)
def moment(when: int) -> str:
    """RFC 3339, whole seconds."""
    return datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
