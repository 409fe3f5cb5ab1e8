"""The relay's own answers: Claude's shape, whatever an upstream has said."""

from __future__ import annotations

import json
import re

import pytest
from mitmproxy import http

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Outcome
from claude_relay.proxy.messages.replies import (
    claude_error,
    cors_headers,
    error_answer,
    estimate_answer,
    new_request_id,
    preflight,
    recast,
)


def error_in(answer: http.Response) -> tuple[int, str, str]:
    body = json.loads(answer.raw_content or b"")
    assert body["type"] == "error"
    assert body["request_id"]
    return answer.status_code, body["error"]["type"], body["error"]["message"]


def test_ids_are_in_the_order_of_their_times() -> None:
    ids = [new_request_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"req_relay_[0-9a-f]{24}", id) for id in ids)
    assert [id[:22] for id in ids] == sorted(id[:22] for id in ids)


def test_an_error_of_the_relays_own() -> None:
    answer = error_answer(RelayError(429, "wait", retry_after=1.2, headers={"x-more": "1"}), "req_1")
    assert error_in(answer) == (429, "rate_limit_error", "wait")
    assert (answer.headers["retry-after"], answer.headers["request-id"], answer.headers["x-more"]) == (
        "2",
        "req_1",
        "1",
    )
    assert "x-should-retry" not in answer.headers
    final = error_answer(RelayError(503, "no", retry_after=0.0, final=True), "req_2")
    assert (final.headers["x-should-retry"], final.headers["retry-after"]) == ("false", "1")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (502, b"<html><title>Bad Gateway</title>", (502, "api_error", "the upstream answered 502: Bad Gateway")),
        (
            400,
            b'{"error": {"message": "prompt is too long: 9 tokens > 8 maximum"}}',
            (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"),
        ),
        (404, b"", (404, "not_found_error", "the upstream answered 404: no explanation")),
        (
            200,
            b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}',
            (529, "overloaded_error", "busy"),
        ),
        (200, b"what?", (502, "api_error", "the upstream answered 200: what?")),
        (None, b"", (502, "api_error", "the upstream answered nothing: connection refused")),
    ],
)
def test_an_upstreams_failure_in_claudes_words(status: int | None, body: bytes, expected: tuple[int, str, str]) -> None:
    message = "connection refused" if status is None else ""
    answer = recast(Outcome(status, body=body, message=message), "req_1")
    found = json.loads(answer.raw_content or b"")
    assert (answer.status_code, found["error"]["type"], found["error"]["message"]) == expected


def test_what_of_an_upstreams_head_stays() -> None:
    headers = {"request-id": "theirs", "retry-after": "7", "anthropic-ratelimit-x": "1", "server": "nginx"}
    answer = recast(Outcome(429, headers=headers, body=b"slow"), "req_1")
    assert {name: answer.headers.get(name) for name in headers} == headers | {"server": None}


def test_whose_shape_a_body_has() -> None:
    found = claude_error(b'{"type": "error", "error": {"type": "api_error", "message": "m"}, "more": 1}')
    assert found is not None
    assert (found.type, found.message) == ("api_error", "m")
    for body in (b"", b"[]", b'{"type": "error"}', b'{"type": "message", "error": {"type": "t", "message": "m"}}'):
        assert claude_error(body) is None


def test_an_estimate_as_an_answer() -> None:
    answer = estimate_answer(12, "req_1")
    assert (answer.status_code, answer.raw_content) == (200, b'{"input_tokens":12}')


def test_pages_of_browsers() -> None:
    allowed = ("https://app.example",)
    answer = preflight("https://app.example", allowed, "x-one")
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-allow-headers"] == "x-one"
    assert "x-api-key" in preflight("https://app.example", allowed, "").headers["access-control-allow-headers"]
    assert cors_headers("https://other.example", allowed) == {}
    assert "access-control-allow-origin" not in preflight("https://other.example", allowed, "").headers
