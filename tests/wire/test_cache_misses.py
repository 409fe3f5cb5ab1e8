"""A conversation over the wire whose provider says what it read from its prompt cache: every miss has its cause in the ledger."""

from __future__ import annotations

import json
import queue
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.request import caching
from waiting import PATIENCE

from . import claude, steps
from .clients import RawClient
from .conftest import StartRelay
from .relay import Relay, rows
from .test_reporting import hook
from .upstream import FakeUpstream

__all__ = ["hook"]
Base = Callable[[Relay], RawClient]
PRICE = {"model": "*", "input": 3, "output": 15, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6}
FIRST = {"input_tokens": 10, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 40_000, "output_tokens": 5}
HIT = FIRST | {"cache_read_input_tokens": 40_000, "cache_creation_input_tokens": 1_000}
HALF = FIRST | {"cache_read_input_tokens": 10_000, "cache_creation_input_tokens": 31_000}
MISSED = FIRST | {"cache_creation_input_tokens": 41_000}
SESSION = ("x-relay-session", "a-conversation")


@pytest.fixture(autouse=True)
def every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that follow each other faster than a model answers."""
    monkeypatch.setattr(caching, "PAUSE", 0.0)


def body(messages: int, **more: Any) -> dict[str, Any]:
    """A turn with so many messages, its end marked."""
    said = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"message {n}"} for n in range(messages)]
    said[-1]["content"] = [{"type": "text", "text": said[-1]["content"], "cache_control": {"type": "ephemeral"}}]
    tools = [{"name": f"t{n}", "description": "a tool", "input_schema": {"type": "object"}} for n in range(4)]
    return {
        "model": "claude-sonnet-5",
        "max_tokens": 64,
        "tools": tools,
        "system": "Be brief.",
        "messages": said,
    } | more


def say(client: RawClient, value: dict[str, Any], *headers: tuple[str, str]) -> None:
    text = json.dumps(value, separators=(",", ":")).encode()
    answer = client.ask("POST", "/v1/messages", body=text, headers=[SESSION, *headers])
    assert answer.status == 200, answer.body


def answered(usage: dict[str, int], *, stream: bool = False) -> Any:
    if not stream:
        return steps.message(usage=usage)
    return steps.stream([claude.start(usage=usage), *claude.events()[1:]])


def missed(relay: Relay) -> list[tuple[str | None, int | None, float | None]]:
    return [(row["cache_miss"], row["cache_miss_tokens"], row["cache_miss_usd"]) for row in rows(relay.database)]


NOTHING = (None, None, None)
LOST = 0.138
"""USD: 40,000 tokens written at 3.75 USD a million, and not read at 0.3."""


def other_tool() -> dict[str, Any]:
    found = body(3)
    found["tools"][3]["description"] = "another"
    return found


def other_message() -> dict[str, Any]:
    found = body(3)
    found["messages"][0]["content"] = "changed"
    return found


def unmarked() -> dict[str, Any]:
    found = body(3)
    found["messages"][-1]["content"] = "message 2"
    return found


@pytest.mark.parametrize(
    ("cause", "now", "headers"),
    [
        ("tools[3]", other_tool(), ()),
        ("system[0]", body(3, system="Be long."), ()),
        ("messages[0].content[0]", other_message(), ()),
        ("model", body(3, model="claude-opus-5"), ()),
        ("beta header", body(3), (("anthropic-beta", "new-2026-01-01"),)),
        ("tool_choice", body(3, tool_choice={"type": "any"}), ()),
        ("cache_control", unmarked(), ()),
        ("lookback", body(41), ()),
        ("unknown", body(3), ()),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_changed(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    cause: str,
    now: dict[str, Any],
    headers: tuple[tuple[str, str], ...],
    stream: bool,
) -> None:
    upstream.script(answered(FIRST, stream=stream), answered(MISSED, stream=stream))
    relay = start(keys=["sk-1"], prices=[PRICE])
    client = base_client(relay)
    say(client, body(1, stream=stream))
    say(client, now | {"stream": stream}, *headers)
    assert missed(relay) == [NOTHING, (cause, 40_000, LOST)]


def test_a_conversation_that_reads_its_cache(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(answered(FIRST), answered(HIT), answered(HIT | {"cache_read_input_tokens": 41_000}))
    relay = start(keys=["sk-1"], prices=[PRICE])
    client = base_client(relay)
    for messages in (1, 3, 5):
        say(client, body(messages))
    assert missed(relay) == [NOTHING] * 3


def test_another_key(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """Of a large body, which is read in a thread; the first key has a cooldown when the second turn comes."""
    upstream.script(
        answered(FIRST), steps.status(429, "rate_limit_error", "no", headers=[("retry-after", "60")]), answered(MISSED)
    )
    relay = start(keys=["sk-1", "sk-2"], prices=[PRICE])
    client = base_client(relay)
    for messages in (1, 3):
        say(client, body(messages, system="x" * 300_000))
    assert missed(relay) == [NOTHING, ("key", 40_000, LOST)]
    assert [request.key for request in upstream.requests] == ["sk-1", "sk-1", "sk-2"]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let so many seconds pass on the system's clock, for everybody in this process."""
    true = time.time
    for kept in ("_offset", "_jump"):  # the relay's clock does not go back by itself
        monkeypatch.setattr(NOW, kept, getattr(NOW, kept))
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: true() + seconds)


@pytest.mark.parametrize(("seconds", "cause"), [(250.0, "unknown"), (400.0, "ttl 5m")])
def test_its_time_was_over(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    later: Callable[[float], None],
    seconds: float,
    cause: str,
) -> None:
    upstream.script(answered(FIRST), answered(HALF))
    relay = start(keys=["sk-1"], prices=[PRICE])
    client = base_client(relay)
    say(client, body(1))
    later(seconds)
    say(client, body(3))
    assert missed(relay) == [NOTHING, (cause, 30_000, pytest.approx(LOST * 3 / 4))]


def test_one_that_names_no_session_is_known_by_how_it_begins(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    upstream.script(answered(FIRST), answered(MISSED))
    relay = start(keys=["sk-1"])
    client = base_client(relay)
    then, now = body(3, system="x" * 5_000), body(5, system="x" * 5_000)
    now["messages"][2]["content"] = "changed"
    for value in (then, now):
        text = json.dumps(value, separators=(",", ":")).encode()
        assert client.ask("POST", "/v1/messages", body=text).status == 200
    assert [row["cache_miss"] for row in rows(relay.database)] == [None, "messages[2].content[0]"]


def test_sub_agents_have_conversations_of_their_own(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    upstream.script(answered(FIRST), answered(MISSED), answered(HIT))
    relay = start(keys=["sk-1"])
    client = base_client(relay)
    say(client, body(1))
    say(client, body(3, model="claude-haiku-4-5"), ("x-claude-code-agent-id", "agent-1"))
    say(client, body(3))
    assert missed(relay) == [NOTHING] * 3


def test_nothing_of_what_was_said_is_stored(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(answered(FIRST), answered(MISSED))
    relay = start(keys=["sk-1"])
    client = base_client(relay)
    say(client, body(1, system="a secret of the user"))
    say(client, body(3, system="another secret of the user"))
    with closing(sqlite3.connect(relay.database)) as connection:
        assert "secret of the user" not in "\n".join(connection.iterdump())


@pytest.mark.parametrize(("least", "told"), [(None, 0), (1.0, 0), (0.1, 1)])
def test_who_wants_to_hear_of_it_does(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    hook: tuple[str, queue.Queue[dict[str, Any]]],
    least: float | None,
    told: int,
) -> None:
    """The end of a budget is told after it: then all has been told that is."""
    url, posted = hook
    upstream.script(answered(FIRST), answered(MISSED), answered(MISSED))
    budgets = [{"per": "day", "usd": 0.4, "warn": 0}]
    relay = start(keys=["sk-1"], prices=[PRICE], budgets=budgets, notices={"webhook": url, "cache_miss": least})
    client = base_client(relay)
    say(client, body(1))
    say(client, body(3, system="another"))
    say(client, body(1, system="a new one"))
    kinds = list(iter(lambda: posted.get(timeout=PATIENCE)["kind"], "budget_end"))
    assert kinds == ["cache_miss"] * told


def flows(relay: Relay) -> Iterator[dict[str, Any]]:
    return (flow for flow in relay.web_ui.flows() if flow["comment"])


def test_mitmweb_shows_it(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(answered(FIRST), answered(MISSED))
    relay = start(keys=["sk-1"], relay={"web": True})
    client = base_client(relay)
    say(client, body(1))
    say(client, body(3, system="another"))
    first, second = (flow["comment"] for flow in flows(relay))
    assert "cache miss" not in first
    assert "cache miss: system[0]" in second
    assert relay.on_loop(lambda: [flow.metadata.get("relay_cache_miss") for flow in relay.master.view]) == [
        None,
        "system[0]",
    ]
