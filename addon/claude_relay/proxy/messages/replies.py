"""Answers of the relay's own, in Claude's shape."""

from __future__ import annotations

import math
import secrets
import time
from typing import Literal

import msgspec
from mitmproxy import http

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Outcome
from claude_relay.core.formats.error_text import read_problem
from claude_relay.core.formats.errors import OVERFLOW, claude_problem, claude_type

JSON = "application/json"


class _Error(msgspec.Struct):
    type: str
    message: str


class _ErrorBody(msgspec.Struct):
    type: Literal["error"]
    error: _Error


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def new_request_id() -> str:
    """An id in the form of Claude's own; it begins with the time, so that the ledger's index grows at its end."""
    return f"req_relay_{int(time.time() * 1000):012x}{secrets.token_hex(6)}"


def error_answer(error: RelayError, request_id: str) -> http.Response:
    """The relay's own error as an HTTP answer."""
    headers = {"content-type": JSON, "request-id": request_id, **error.headers}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.final:
        headers["x-should-retry"] = "false"
    return http.Response.make(error.status, error.claude_body(request_id), headers)


def recast(outcome: Outcome, request_id: str) -> http.Response:
    """An upstream's failure that is the client's answer but not in Claude's shape: status kept, told in Claude's words.

    An error that came without a status of its own, within a 200, has that of its type; 502 for what is no error but no answer either.
    """
    kind, code, message = read_problem(outcome.body)
    status = outcome.status if outcome.status is not None and outcome.status >= 400 else STATUS_OF_TYPE.get(kind, 502)
    body = outcome.body
    if claude_error(body) is None:
        body = msgspec.json.encode(in_claudes_shape(outcome, status, (kind, code, message), request_id))
    headers = {"content-type": JSON, "request-id": outcome.headers.get("request-id", request_id)}
    headers |= {k: v for k, v in outcome.headers.items() if k == "retry-after" or k.startswith("anthropic-ratelimit-")}
    return http.Response.make(status, body, headers)


def in_claudes_shape(outcome: Outcome, status: int, said: tuple[str, str, str], request_id: str) -> dict[str, object]:
    """The error object. `said`: type, code and message. A prompt that is too long is told so that clients shorten it."""
    problem = claude_problem(status, *said)
    words = f"the upstream answered {outcome.status or 'nothing'}: {said[2] or outcome.message or 'no explanation'}"
    if problem.status == status and problem.message.startswith(OVERFLOW):
        words = problem.message
    error = {"type": claude_type(status), "message": words}
    return {"type": "error", "error": error, "request_id": request_id}


def claude_error(body: bytes) -> _Error | None:
    """The error in a body of Claude's shape, None in any other."""
    try:
        return _decode_error(body).error
    except BAD_JSON:
        return None


STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP status for an error that came inside a 200: https://docs.claude.com/en/api/errors"""


def estimate_answer(tokens: int, request_id: str) -> http.Response:
    """The relay's own answer to a count that no provider of the route can make."""
    body = msgspec.json.encode({"input_tokens": tokens})
    return http.Response.make(200, body, {"content-type": JSON, "request-id": request_id})


def preflight(origin: str, allowed: tuple[str, ...], requested: str) -> http.Response:
    """The answer to a browser that asks whether a page may call the API through the base URL."""
    headers = {
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": requested
        or "content-type, x-api-key, authorization, anthropic-version, anthropic-beta",
        "access-control-max-age": "600",
    }
    return http.Response.make(204, b"", headers | cors_headers(origin, allowed))


def cors_headers(origin: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Headers that let a page of a listed origin read an answer; none for others."""
    if origin not in allowed:
        return {}
    exposed = "request-id, retry-after, x-relay-request, x-relay-provider, x-relay-key, x-relay-attempts, x-relay-model"
    return {"access-control-allow-origin": origin, "vary": "Origin", "access-control-expose-headers": exposed}
