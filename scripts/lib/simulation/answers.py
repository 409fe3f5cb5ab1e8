"""The made-up Claude's answers (cli/fake) as the core reads them: `Outcome`s, with what is left of which limit.

    refusal(FAULTS["unauthorized"])      -> Outcome(status=401, body=b'{"type":"error","error":{"type":"authentication_error",…}}')

This module must not know keys or who is asking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from claude_relay.cli.fake.answers import Answer, failure
from claude_relay.cli.fake.messages import moment, ratelimit
from claude_relay.core.exchange import Outcome

from .buckets import Allowance, Lack

UNITS = {"requests": 1, "input_tokens": 1000, "output_tokens": 1000}
"""Kinds of buckets, and the unit in which the remaining is told."""


def success(headers: Mapping[str, str]) -> Outcome:
    """The head of a stream with content."""
    return Outcome(200, headers)


def refusal(answer: Answer, headers: Mapping[str, str] | None = None) -> Outcome:
    """A failure, with these headers."""
    return Outcome(answer.status, headers or {}, answer.pieces[0])


def rate_limited(lack: Lack, headers: Mapping[str, str]) -> Outcome:
    """A 429. When it makes sense to come again is told in whole seconds, rounded up."""
    again = {"retry-after": str(math.ceil(lack.seconds))} if math.isfinite(lack.seconds) else {}
    return refusal(_limited(lack.bucket, lack.limit), {**headers, **again})


@lru_cache(maxsize=256)
def _limited(bucket: str, limit: float) -> Answer:
    rule = f"{limit:,.0f} {bucket.replace('_', ' ')} per minute"
    return failure(429, "rate_limit_error", f"This request would exceed your organization's rate limit of {rule}.")


def limit_headers(allowances: Iterable[Allowance], now: float) -> dict[str, str]:
    """What is left, of the most restrictive limit in effect: of each kind of bucket the one with the least left.

    The reset is when it is full again.
    """
    headers: dict[str, str] = {}
    for name, unit in UNITS.items():
        bucket = min((allowance.buckets[name] for allowance in allowances), key=lambda bucket: bucket.level(now))
        left = max(0, int(bucket.level(now))) // unit * unit
        full = moment(math.ceil(now + bucket.full_in(now)))
        headers |= ratelimit(name.replace("_", "-"), int(bucket.limit), left, full)
    return headers
