"""What a turn missed of the prompt cache: which requests are looked at, and that none of it can do harm."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from claude_relay.core.accounting.cache_misses import Conversations
from claude_relay.core.accounting.tokens import Usage
from claude_relay.core.bodies.facts import read_facts
from claude_relay.core.exchange import Accepted, Cause, Endpoint, Verdict
from claude_relay.proxy.request import caching
from claude_relay.proxy.request.caching import LONG, find_miss
from claude_relay.proxy.request.relayed import Relayed

from .made import KEY, MODEL, record, relayed, runtime

WROTE = Usage(input_tokens=5, output_tokens=9, cache_read_tokens=0, cache_write_5m_tokens=20_000)
PRICES = [{"model": "*", "input": 4, "output": 1, "cache_read": 1, "cache_write_5m": 5}]
LOST = 0.08
"""USD: 20,000 tokens at 5 USD a million, not at 1."""


@pytest.fixture(autouse=True)
def every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that follow each other faster than a model answers."""
    monkeypatch.setattr(caching, "PAUSE", 0.0)


def turn(messages: int, usage: Usage | None = WROTE, *, named: bool = True, **how: Any) -> Relayed:
    said: list[dict[str, Any]] = [{"role": "user", "content": f"m{n}"} for n in range(messages)]
    said[-1]["content"] = [{"type": "text", "text": f"m{messages - 1}", "cache_control": {"type": "ephemeral"}}]
    body = json.dumps({"model": MODEL, "system": how.pop("system", "x" * 4000), "messages": said}).encode()
    made = relayed(how.pop("endpoint", Endpoint.MESSAGES), runtime(prices=PRICES))
    made.facts = read_facts(made.facts.endpoint, {"x-relay-session": "s"} if named else {}, body)
    made.attempts = [record(usage=usage, **how)]
    made.step = Accepted(Verdict("ok", Cause.NOBODY))
    return made


def after(first: Relayed, second: Relayed) -> tuple[str | None, float | None]:
    known = Conversations()
    for one in (first, second):
        asyncio.run(find_miss(known, one))
    assert first.missed is None
    return second.missed.cause if second.missed else None, second.missed_usd


OTHER = replace(KEY, id="other")


@pytest.mark.parametrize("system", ["x" * 4000, "x" * (LONG + 1)], ids=["short", "long"])
def test_a_miss_has_a_cause_and_a_price(system: str) -> None:
    assert after(turn(1, system=system), turn(3, system=system, key=OTHER)) == ("key", LOST)


def test_without_a_price_there_is_a_cause() -> None:
    second = turn(3, key=OTHER)
    second.runtime = runtime()
    second.attempts[0].served_model = "nobody-knows"
    assert after(turn(1), second) == ("key", None)


def test_the_clients_own_key_is_one_too() -> None:
    assert after(turn(1), turn(3, key=None)) == ("key", LOST)


@pytest.mark.parametrize(
    "second",
    [
        turn(3, None, key=OTHER),
        turn(3, replace(WROTE, cache_read_tokens=None), key=OTHER),
        turn(3, endpoint=Endpoint.COUNT_TOKENS, key=OTHER),
        turn(3, replace(WROTE, cache_read_tokens=20_000), key=OTHER),
    ],
    ids=["no usage", "no word of the cache", "no message", "a hit"],
)
def test_what_is_no_miss(second: Relayed) -> None:
    assert after(turn(1), second) == (None, None)


def test_one_that_was_refused_is_none() -> None:
    second = turn(3, key=OTHER)
    second.step = None
    assert after(turn(1), second) == (None, None)


def test_who_names_no_session_is_known_from_the_second_turn_on() -> None:
    """Many may ask the same once, each for himself."""
    assert after(turn(1, named=False), turn(3, named=False, key=OTHER)) == (None, None)
    assert after(turn(3, named=False), turn(5, named=False, key=OTHER)) == ("key", LOST)


def test_turns_that_hit_are_remembered_by_what_is_new_in_them() -> None:
    known, usage = Conversations(), WROTE
    for messages in range(1, 12, 2):
        asyncio.run(find_miss(known, turn(messages, usage)))
        held = (usage.cache_read_tokens or 0) + (usage.cache_write_5m_tokens or 0)
        usage = replace(usage, cache_read_tokens=held, cache_write_5m_tokens=300)
    last = turn(13, replace(WROTE, cache_write_5m_tokens=30_000))
    last.facts = replace(last.facts, body=last.facts.body.replace(b'"m9"', b'"changed"'))
    asyncio.run(find_miss(known, last))
    assert last.missed is not None
    assert last.missed.cause == "messages[9].content[0]"


def test_a_fault_costs_no_request_its_row(caplog: pytest.LogCaptureFixture) -> None:
    broken = turn(1)
    broken.attempts = []
    with caplog.at_level(logging.ERROR):
        asyncio.run(find_miss(Conversations(), broken))
    assert broken.missed is None
    assert "could not be found out" in caplog.text
