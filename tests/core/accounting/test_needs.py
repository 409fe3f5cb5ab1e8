from __future__ import annotations

import json
import time
from collections.abc import Callable
from timeit import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.accounting.needs import (
    ENOUGH,
    KEPT,
    MODELS,
    UNKNOWN,
    Need,
    Outputs,
    Part,
    need_of,
    need_of_batch,
)
from claude_relay.core.bodies.facts import read_facts
from claude_relay.core.exchange import Endpoint


def test_a_message_needs_its_size_and_its_limit() -> None:
    body = json.dumps({"max_tokens": 9, "messages": [{"role": "user", "content": "x" * 4000}]}).encode()
    assert need_of(read_facts(Endpoint.MESSAGES, {}, body)) == Need((Part("", len(body) // 4, 9),))


def test_a_batch_needs_what_its_requests_do() -> None:
    params = [{"model": "a", "max_tokens": 10}, {"model": "b"}, {"model": "a", "max_tokens": 30}]
    body = json.dumps({"requests": [{"custom_id": str(n), "params": one} for n, one in enumerate(params)]}).encode()
    size = len(json.dumps(params[0])) // 4
    assert need_of_batch(body) == Need((Part("a", size, 20, 2), Part("b", len('{"model": "b"}') // 4, UNKNOWN)), True)


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-32-be"])
def test_a_batch_that_is_not_quite_json(charset: str) -> None:
    """As all readers of requests have it."""
    body = '{"requests":[{"params":{"model":"a","max_tokens":10,"temperature":NaN,"x":"\\ud800\t"}}]}'.encode(charset)
    assert need_of_batch(body) == Need((Part("a", 62 // 4, 10),), True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x" * 400,
        b"[]",
        b'{"requests": 5}',
        b'{"requests": []}',
        b'{"requests": [{"params": 5}]}',
        b'{"requests": [7]}',
        b"[" * 100_000,
    ],
)
def test_a_batch_that_cannot_be_read_is_as_large_as_it_is(body: bytes) -> None:
    assert need_of_batch(body) == Need((Part("", len(body) // 4, None),), True)


def test_output_without_history_and_with_one() -> None:
    outputs = Outputs()
    for n in range(ENOUGH - 1):
        outputs.learn("p", "m", n)
        assert outputs.expected("p", "m") == UNKNOWN
    outputs.learn("p", "m", 1000)
    assert outputs.expected("p", "m") == ENOUGH - 2  # the 19th of 20
    assert outputs.expected("q", "m") == UNKNOWN


@given(st.lists(st.integers(0, 100_000), min_size=ENOUGH, max_size=3 * KEPT))
def test_what_is_expected_is_exceeded_by_one_in_twenty_at_most(tokens: list[int]) -> None:
    outputs = Outputs()
    for number in tokens:
        outputs.learn("p", "m", number)
    latest = tokens[-KEPT:]
    expected = outputs.expected("p", "m")
    assert expected in latest
    assert sum(number > expected for number in latest) <= len(latest) / 20


def test_the_history_is_bounded() -> None:
    outputs = Outputs()
    for n in range(2 * MODELS):
        outputs.learn("p", str(n), 1)
    assert len(outputs._of) == MODELS


def test_a_large_batch_is_read_in_passing() -> None:
    """Compared with the standard library's decoder, so that a slow machine does not fail the test."""
    one = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "word " * 200}]}
    body = json.dumps({"requests": [{"custom_id": str(n), "params": one} for n in range(2000)]}).encode()
    assert need_of_batch(body).parts[0].requests == 2000

    def fastest(call: Callable[[], object]) -> float:
        return min(repeat(call, timer=time.thread_time, number=1, repeat=5))

    assert fastest(lambda: need_of_batch(body)) < 10 * fastest(lambda: json.loads(body))
