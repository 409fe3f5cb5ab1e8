"""Errors that a provider tells in a shape or a format of its own, as the client gets them: true in status and in type."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from . import claude, foreign, steps
from .clients import RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Step

ONCE = {"attempts": 1, "max_wait": "1s", "first_byte": "3s", "idle": "5s"}
COUNT = "/v1/messages/count_tokens"
"""Its failures reach the client, whatever they are."""
TYPES = {
    404: "not_found_error",
    413: "request_too_large",
    500: "api_error",
    502: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def shaped(body: object) -> Callable[[int], Step]:
    return lambda status: foreign.json_answer(body, status)


SHAPES: dict[str, Callable[[int], Step]] = {
    "HTML": lambda status: steps.html(status, claude.HTML_502.replace(b"502 Bad Gateway", b"Sorry!")),
    "nothing": lambda status: steps.answer([], status=status),
    "a text": shaped({"error": "Sorry!"}),
    "a list": shaped([{"error": {"message": "Sorry!"}}]),
    "a detail": shaped({"detail": "Sorry!"}),
    "a message": shaped({"message": "Sorry!"}),
    "an abyss": lambda status: steps.answer([b'{"detail":"Sorry!","error":' + b"[" * 20_000], status=status),
    "another API's": shaped({"error": {"message": "Sorry!", "type": "invalid_request_error", "code": None}}),
}


@pytest.fixture
def client(stack: ExitStack) -> Callable[[Relay], RawClient]:
    return lambda relay: stack.enter_context(RawClient(relay.base_port))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", TYPES)
def test_another_shape_is_recast_with_its_status(
    start: StartRelay, upstream: FakeUpstream, client: Callable[[Relay], RawClient], shape: str, status: int
) -> None:
    upstream.default = SHAPES[shape](status)
    answer = client(start(config(upstream.url, ["good-1"], retry=ONCE))).ask("POST", COUNT, body=messages_body())
    assert (answer.status, answer.error_type) == (status, TYPES[status])
    error: Any = answer.json()["error"]
    assert str(status) in error["message"]
    assert shape == "nothing" or "Sorry!" in error["message"]
    assert answer.header("request-id")


def test_claudes_own_shape_passes_as_it_is(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.default = steps.status(503, "overloaded_error", "as it came")
    answer = dial(start(config(upstream.url, ["good-1"], retry=ONCE))).ask("POST", COUNT, body=messages_body())
    assert (answer.status, answer.body) == (503, claude.dump(claude.error("overloaded_error", "as it came")))


def test_a_prompt_that_is_too_long_is_told_so_that_clients_shorten_it(
    start: StartRelay, upstream: FakeUpstream, client: Callable[[Relay], RawClient]
) -> None:
    words = "This model's maximum context length is 32768 tokens. However, your messages resulted in 40000 tokens."
    upstream.default = shaped({"object": "error", "message": words, "code": 400})(400)
    answer = client(start(config(upstream.url, ["good-1"]))).ask("POST", "/v1/messages", body=messages_body())
    error: Any = answer.json()["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith("prompt is too long: 40000 tokens > 32768 maximum")


GOOGLE = {
    "INTERNAL": (500, "Internal error encountered.", 500, "api_error"),
    "UNAVAILABLE": (503, "The service is currently unavailable.", 503, "api_error"),
    "OVERLOADED": (503, "The model is overloaded. Please try again later.", 529, "overloaded_error"),
    "DEADLINE_EXCEEDED": (504, "Deadline exceeded.", 504, "timeout_error"),
    "NOT_FOUND": (404, "models/x is not found", 404, "not_found_error"),
}


@pytest.mark.parametrize("case", GOOGLE)
def test_a_translated_error_keeps_its_status(
    start: StartRelay, upstream: FakeUpstream, client: Callable[[Relay], RawClient], case: str
) -> None:
    status, words, expected, kind = GOOGLE[case]
    name = case.replace("OVERLOADED", "UNAVAILABLE")
    upstream.default = shaped({"error": {"code": status, "message": words, "status": name}})(status)
    gemini = provider(f"{upstream.url}/base", ["k-1"], models={"claude-*": "gemini-9"}, auth="x-goog-api-key")
    relay = start(config(providers={"gemini": gemini | {"format": "gemini"}}, retry=ONCE))
    answer = client(relay).ask("POST", COUNT, body=messages_body())
    error: Any = answer.json()["error"]
    assert (answer.status, error["type"], error["message"]) == (expected, kind, words)
    assert json.loads(upstream.requests[0].body)
