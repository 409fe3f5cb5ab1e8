"""Answers of the relay's own, in Claude's shape."""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Container, Mapping

import msgspec
from mitmproxy import http

from claude_relay.core.catalogue import model_answer
from claude_relay.core.catalogue import models_answer as models_list
from claude_relay.core.config import Config
from claude_relay.core.errors import RelayError, error_object
from claude_relay.core.exchange import Outcome

JSON = "application/json"


class _Error(msgspec.Struct):
    type: str
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def error_answer(error: RelayError, request_id: str) -> http.Response:
    """The relay's own error as an HTTP answer."""
    headers = {"content-type": JSON, "request-id": request_id, **error.headers}
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    if error.final:
        headers["x-should-retry"] = "false"
    return http.Response.make(error.status, error.claude_body(request_id), headers)


def recast(outcome: Outcome, request_id: str) -> http.Response:
    """An upstream's failure that is the client's answer but not in Claude's shape: status kept, told in Claude's words."""
    status = outcome.status if outcome.status is not None and outcome.status >= 400 else 502
    found = claude_error(outcome.body)
    if found is not None:
        status = STATUS_OF_TYPE.get(found.type, status)
        body = outcome.body
    else:
        text = printable(outcome.body) or outcome.message or "no explanation"
        body = msgspec.json.encode(
            error_object(status, f"the upstream answered {outcome.status or 'nothing'}: {text}", request_id)
        )
    headers = {"content-type": JSON, "request-id": outcome.headers.get("request-id", request_id)}
    headers |= {k: v for k, v in outcome.headers.items() if k == "retry-after" or k.startswith("anthropic-ratelimit-")}
    return http.Response.make(status, body, headers)


def claude_error(body: bytes) -> _Error | None:
    """The error in a body of Claude's shape, None in any other."""
    try:
        return _decode_error(body).error
    except (msgspec.MsgspecError, ValueError):
        return None


def printable(body: bytes, limit: int = 300) -> str:
    """The start of a body as one readable line, without HTML tags."""
    text = body[: limit * 8].decode("utf-8", "replace")
    if "<" in text:
        out, depth = [], 0
        for char in text:
            depth += char == "<"
            if depth == 0:
                out.append(char)
            depth -= char == ">" and depth > 0
        text = "".join(out)
    return " ".join(text.split())[:limit]


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


def lists_itself(config: Config, formats: Container[str]) -> bool:
    """Whether the relay says which models there are: as soon as one of the providers has others than Claude's own list names.

    formats  providers of other formats than Claude's
    """
    first, _, model = (config.default or "").partition("/")
    routed = {name for rule in config.routes for name in rule.to} | {first} if config.routes else set(config.providers)
    return bool(model) or any(n in formats or config.providers[n].models for n in routed & set(config.providers))


def models_answer(config: Config, path: str, request_id: str) -> http.Response:
    """The models that the routes can serve, or one of them. Raises RelayError 404 for one that they cannot, 400 for a bad query."""
    place, _, query = path.partition("?")
    name = urllib.parse.unquote(place.rstrip("/").partition("/models/")[2])
    found = model_answer(config, name) if name else models_page(config, urllib.parse.parse_qs(query))
    return http.Response.make(200, msgspec.json.encode(found), {"content-type": JSON, "request-id": request_id})


def models_page(config: Config, query: Mapping[str, list[str]]) -> Mapping[str, object]:
    """One page of the list. Raises RelayError 400 for a limit that is none."""
    given = {name: values[-1] for name, values in query.items() if name in ("limit", "after_id", "before_id")}
    limit = given.pop("limit", "20")
    if not (limit.isdecimal() and 1 <= int(limit) <= 1000):
        raise RelayError(400, "limit: must be a whole number from 1 to 1000")
    return models_list(config, limit=int(limit), after_id=given.get("after_id"), before_id=given.get("before_id"))


def preflight(origin: str, allowed: tuple[str, ...], asked: str) -> http.Response:
    """The answer to a browser that asks whether a page may call the API through the base URL."""
    headers = {
        "access-control-allow-methods": "GET, POST, DELETE, OPTIONS",
        "access-control-allow-headers": asked
        or "content-type, x-api-key, authorization, anthropic-version, anthropic-beta",
        "access-control-max-age": "600",
    }
    return http.Response.make(204, b"", headers | cors_headers(origin, allowed))


def cors_headers(origin: str, allowed: tuple[str, ...]) -> dict[str, str]:
    """Headers that let a page of a listed origin read an answer; none for others."""
    if origin not in allowed:
        return {}
    exposed = "request-id, retry-after, x-relay-provider, x-relay-key, x-relay-attempts, x-relay-model"
    return {"access-control-allow-origin": origin, "vary": "Origin", "access-control-expose-headers": exposed}
