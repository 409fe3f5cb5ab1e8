"""What errors of providers mean, in Claude's words (`error_text` reads them, whatever their shape).

    >>> claude_problem(429, "tokens", "rate_limit_exceeded", "Slow down.", retry_after=1.2)
    Problem(status=429, type='rate_limit_error', message='Slow down.', code='rate_limit_exceeded', retry_after=1.2)

The status stays the provider's, but where its type, its code or its words say something else: an overload is one only if they say so.
Whose fault an error is, and what follows from it, is not decided here.

Claude's errors: https://docs.claude.com/en/api/errors · OpenAI's: https://platform.openai.com/docs/guides/error-codes ·
Google's: https://ai.google.dev/gemini-api/docs/troubleshooting · DeepSeek's: https://api-docs.deepseek.com/quick_start/error_codes ·
Moonshot's: https://platform.moonshot.ai/docs/api/chat#error-description · OpenRouter's: https://openrouter.ai/docs/api-reference/errors
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from claude_relay.core.errors import ERROR_TYPES, error_type
from claude_relay.core.times import STATED, stated

from .base import Problem

OVERFLOW = "prompt is too long"
"""How Claude's API begins the refusal of a prompt that does not fit; clients shorten the conversation when they see it."""

STATUS_OF = {
    # OpenAI and those who follow it
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "invalid_authentication_error": 401,
    "permission_error": 403,
    "permission_denied_error": 403,
    "not_found_error": 404,
    "resource_not_found_error": 404,
    "billing_error": 402,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_reached_error": 429,
    "too_many_requests": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "api_error": 500,
    "internal_error": 500,
    "internal_server_error": 500,
    "bad_gateway": 502,
    "service_unavailable": 503,
    "service_unavailable_error": 503,
    "gateway_timeout": 504,
    "vector_store_timeout": 504,
    "timeout": 504,
    "timeout_error": 504,
    # Google
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "already_exists": 409,
    "aborted": 409,
    "internal": 500,
    "unknown": 500,
    "data_loss": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}
"""HTTP status of an error's type or code, in small letters, for errors that come without one: in a stream, or under a 200."""

SAYS_STATUS = {
    # credit or balance used up: 429 at OpenAI, Moonshot and Zhipu (1113), 400 at Alibaba
    "insufficient_quota": 402,
    "exceeded_current_quota_error": 402,
    "insufficient_balance": 402,
    "billing_hard_limit_reached": 402,
    "billing_not_active": 402,
    "arrearage": 402,
    "1113": 402,
    # a key that is none: 400 at Google and xAI
    "invalid_api_key": 401,
    "api_key_invalid": 401,
    "invalid_authentication_error": 401,
    # overload is the provider's, whatever the status: 429 at Moonshot, 503 elsewhere
    "engine_overloaded_error": 529,
    "engine_overloaded": 529,
    "overloaded_error": 529,
    "overloaded": 529,
    "model_overloaded": 529,
    "server_is_overloaded": 529,
    "server_overloaded": 529,
    "slow_down": 529,
}
"""Types and codes, in small letters, that count for more than the status they come with."""

_SAYS_OVERLOADED = re.compile(
    r"\boverload(ed)?\b|\b(at|over|out of|no|insufficient) capacity\b|experiencing (\w+ )?high (demand|load|traffic)"
    r"|(servers?|service|system|model|engine) (is|are) (too |currently |temporarily )*busy",
    re.I,
)
_MAY_BE_OVERLOADED = (429, 500, 502, 503)
_SAYS_KEY = re.compile(r"(incorrect|invalid) api[ -]?key|api[ -]?key (is )?(not valid|invalid|incorrect)", re.I)
_ABOUT_KEYS = (401, 402, 403, 404, 429)
_OVERFLOW_CODES = {"context_length_exceeded", "context_window_exceeded", "exceed_context_size_error"}
_SAYS_OVERFLOW = re.compile(
    r"context[_ ]length[_ ]exceeded|maximum context length|exceeds? the (model'?s? )?(maximum )?context|prompt is too long"
    r"|(exceeds?|larger than|longer than) (the |this |its )*(available |maximum |configured )*(model'?s? )*context"
    r"|input token count.{0,40}exceeds? the maximum|input tokens exceed the configured limit|exceeded model token limit"
    r"|maximum prompt length is|input is too long|range of input length should be|too large for model with \d+ maximum context",
    re.I,
)
_LIMIT = re.compile(
    r"(?:context length|token limit:?|prompt length|configured limit|context size|context window|tokens allowed)"
    r"(?: is| of|:)?\s*\(?([\d,]{3,})",
    re.I,
)
_NEEDED = re.compile(
    r"(?:resulted in|requested|request has|input tokens \(|prompt contains|requested:|token count|request contains|request \()"
    r"(?: about| of)?\s*\(?([\d,]{3,})",
    re.I,
)

_SAYS_WAIT = re.compile(
    rf"(?:try again|retry|wait)(?:ing)?(?: in| after| for)?:? (?:about |at least )?({STATED})", re.I
)
_RETRY_INFO = re.compile(r'"retryDelay"\s*:\s*"([\d.]+s)"')
_LIMITED = ("requests", "tokens")


def claude_problem(status: int, kind: str, code: str, message: str, retry_after: float | None = None) -> Problem:
    """The problem as Claude's API would tell it.

    status       HTTP status of the answer; below 400 for an error in a stream or under a 200: then type and code tell it
    kind, code   the provider's type and code; "" when it has none
    retry_after  seconds, if the provider says so
    """
    said = [name.lower() for name in (code, kind) if name]
    own_code = next((name for name in (code, kind) if name and not _http_status(name) and name not in _CLAUDES), "")
    if _overflows(status, said, message):
        return Problem(400, error_type(400), _overflow(message), "context_length_exceeded", retry_after)
    status = _status(status, said, message)
    message = message or f"the provider gave no reason with its status {status}"
    return Problem(status, claude_type(status), message, own_code, retry_after)


def stated_wait(headers: Mapping[str, str], body: bytes, message: str) -> float | None:
    """Seconds that an answer asks to wait: by its headers (names in small letters), else by what its body says; None: it does not.

    A `retry-after` with a date needs a clock and is left to others.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (wait := _number(headers.get(name))) is not None:
            return wait * unit
    waits = [
        stated(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in _LIMITED
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    if known := [wait for wait in waits if wait is not None]:
        return max(known)
    found = _RETRY_INFO.search(body.decode("utf-8", "replace")) or _SAYS_WAIT.search(message)
    return stated(found[1]) if found else None


_CLAUDES = frozenset(ERROR_TYPES.values()) | {"server_error"}
"""Types that say no more than a status."""
_TYPE_OF = {408: "timeout_error", 503: "api_error"}
"""Claude's types where the status alone would say something else: a 503 that speaks of no overload is a failure like any other."""


def claude_type(status: int) -> str:
    """Claude's error type for the status of an answer that says no more."""
    return _TYPE_OF.get(status) or error_type(status)


def _status(status: int, said: list[str], message: str) -> int:
    if (stronger := next((SAYS_STATUS[name] for name in said if name in SAYS_STATUS), None)) is not None:
        return stronger
    if status < 400:
        statuses = (_http_status(name) or STATUS_OF.get(name) for name in said)
        status = next((number for number in statuses if number), 500)
    is_rate = status == 429 and any(STATUS_OF.get(name) == 429 for name in said)
    if status in _MAY_BE_OVERLOADED and not is_rate and _SAYS_OVERLOADED.search(message):
        return 529
    if status == 400 and "model_not_found" in said:
        return 404
    if status == 400 and _SAYS_KEY.search(message):
        return 401
    return 400 if status == 422 else status


def _http_status(code: str) -> int:
    return int(code) if len(code) == 3 and code.isascii() and code.isdigit() and 400 <= int(code) < 600 else 0


def _overflows(status: int, said: list[str], message: str) -> bool:
    if any(name in _OVERFLOW_CODES for name in said):
        return True
    return status not in _ABOUT_KEYS and _SAYS_OVERFLOW.search(message) is not None


def _overflow(message: str) -> str:
    if message.lower().startswith(OVERFLOW):
        return message
    limit, needed = _LIMIT.search(message), _NEEDED.search(message)
    if limit and needed:
        numbers = f"{needed[1].replace(',', '')} tokens > {limit[1].replace(',', '')} maximum"
        return f"{OVERFLOW}: {numbers} ({message})"
    return f"{OVERFLOW}: {message or 'it does not fit the context of the model'}"


def _number(given: str | None) -> float | None:
    try:
        number = float(given or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
