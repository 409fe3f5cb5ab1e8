"""Limits of clients under a hundred requests at once, over restarts, and when clients leave."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claude_relay.proxy.log.terminal import CONSOLE
from claude_relay.store.db.database import connect

from . import steps
from .budgets import PRICES, usage
from .clients import RawClient
from .conftest import StartRelay
from .limiting import Crowd, add, add_group, ask, at_once, limiter, nothing_is_taken, until
from .relay import Relay, config, rows
from .upstream import FakeUpstream, Signal

Base = Callable[..., RawClient]
HUNDRED: list[Any] = [({}, {})] * 100


def test_requests_a_minute(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    relay = start(clients={"contact": "ops@example.com"})
    key = add(tmp_path / "relay.db", "alice", "10 requests/minute")
    began = time.monotonic()
    found = asyncio.run(at_once(relay.base_port, key, HUNDRED))
    answered = sum(status == 200 for status, _, _ in found)
    assert 10 <= answered <= 10 + (time.monotonic() - began) / 6
    assert {status for status, _, _ in found} == {200, 429}
    assert len(upstream.requests) == answered
    _, headers, body = next(one for one in found if one[0] == 429)
    assert body["error"]["type"] == "rate_limit_error"
    assert 1 <= int(headers["retry-after"]) <= 7
    assert "x-should-retry" not in headers
    message = body["error"]["message"]
    assert "'10 requests/minute' of the client 'alice'" in message
    assert " UTC. " in message
    assert message.endswith("or ask ops@example.com.")
    refused = [row for row in rows(relay.database) if row["status"] == 429]
    assert {(row["client"], row["attempts"], row["error_type"]) for row in refused} == {
        ("alice", 0, "rate_limit_error")
    }


def test_concurrent_ones_wait_for_each_other(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    relay, crowd = start(retry={"max_wait": "60s"}), Crowd(upstream, 4)
    key = add(tmp_path / "relay.db", "alice", "4 concurrent")
    found = asyncio.run(at_once(relay.base_port, key, HUNDRED))
    assert Counter(status for status, _, _ in found) == {200: 100}
    assert crowd.peak == 4
    assert "waits: position " in relay.log_text()
    nothing_is_taken(relay)
    waited = [row["waited_ms"] for row in rows(relay.database, "attempts")]
    assert sum(ms is not None for ms in waited) >= 96


def test_a_group_limits_all_its_clients(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    relay, crowd = start(retry={"max_wait": "60s"}), Crowd(upstream, 3)
    add_group(tmp_path / "relay.db", "team", "3 concurrent", "20 requests/minute")
    keys = [add(tmp_path / "relay.db", name, "2 concurrent", group="team") for name in ("alice", "bob")]

    async def both() -> list[Any]:
        return list(await asyncio.gather(*(at_once(relay.base_port, key, HUNDRED[:15]) for key in keys)))

    began = time.monotonic()
    found = [one for part in asyncio.run(both()) for one in part]
    answered = sum(status == 200 for status, _, _ in found)
    assert 20 <= answered <= 20 + (time.monotonic() - began) / 3
    assert crowd.peak == 3
    assert all("of the group 'team'" in body["error"]["message"] for status, _, body in found if status == 429)
    nothing_is_taken(relay)
    assert {row["client_group"] for row in rows(relay.database)} == {"team"}


def test_who_waits_in_vain(start: StartRelay, upstream: FakeUpstream, tmp_path: Path, base_client: Base) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.message()))
    relay = start(retry={"max_wait": "50ms"})
    key = add(tmp_path / "relay.db", "alice", "1 concurrent", "9 requests/minute")
    first, second = base_client(relay), base_client(relay)
    first.request("POST", "/v1/messages", headers=[("x-api-key", key)], body=b'{"model": "m", "messages": []}')
    upstream.wait_for_requests(1)
    refused = ask(second, key)
    assert (refused.status, refused.error_type) == (429, "rate_limit_error")
    assert int(refused.header("retry-after") or 0) >= 1
    assert b"0.05 s in the queue were not enough" in refused.body
    used = relay.on_loop(lambda: next(iter(limiter(relay).rates.values())).moved)
    assert used <= 60 / 9 + 0.1
    go.set()
    assert first.answer().status == 200
    assert ask(second, key).status == 200
    first.close()
    second.close()
    nothing_is_taken(relay)


def test_who_leaves_the_queue_is_out(
    start: StartRelay, upstream: FakeUpstream, tmp_path: Path, base_client: Base
) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.message()))
    relay = start(retry={"max_wait": "20s"})
    key = add(tmp_path / "relay.db", "alice", "1 concurrent")
    first, second = base_client(relay), base_client(relay)
    for n, client in enumerate((first, second), 1):
        client.request("POST", "/v1/messages", headers=[("x-api-key", key)], body=b'{"model": "m", "messages": []}')
        if n == 1:
            upstream.wait_for_requests(1)
    relay.wait_for_log("waits: position 1 of 1")
    assert CONSOLE in {record.name for record in relay.logs.records if "waits: position" in record.getMessage()}
    second.close()
    until(relay, lambda: not limiter(relay).queues)
    go.set()
    assert first.answer().status == 200
    assert ask(first, key).status == 200
    assert len(upstream.requests) == 2
    first.close()
    nothing_is_taken(relay)


def test_half_a_dollar_under_a_hundred_at_once(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    """The formula of budgets: what is reserved has room, and a request that comes to more passes by that."""
    upstream.default = steps.message(usage={"input_tokens": 10, "output_tokens": 1_000})
    relay = start(prices=PRICES)
    key = add(tmp_path / "relay.db", "alice", "$0.5/day")
    found = asyncio.run(at_once(relay.base_port, key, [({}, {"max_tokens": 1_000})] * 100))
    counts = Counter((status, body["error"]["type"] if status == 429 else "") for status, _, body in found)
    spent = sum(row["cost_usd"] or 0 for row in rows(relay.database))
    assert 0.4 < spent <= 0.5 + 0.0501
    assert spent == pytest.approx(counts[200, ""] * 0.0501)
    assert sum(counts.values()) == 100
    with closing(RawClient(relay.base_port)) as client:
        for _ in range(20):
            last = ask(client, key)
            if last.status == 429:
                break
    assert (last.status, last.error_type, last.header("x-should-retry")) == (429, "billing_error", "false")
    assert 0 < int(last.header("retry-after") or 0) <= 25 * 3600
    assert b"'$0.5/day' of the client 'alice' is used up" in last.body
    total = sum(row["cost_usd"] or 0 for row in rows(relay.database))
    assert 0.5 <= total <= 0.5 + 0.0501
    assert rows(relay.database)[-1]["error_type"] == "billing_error"
    nothing_is_taken(relay)
    assert "is near: $" in relay.log_text()


def test_sessions_and_agents_are_held_apart(start: StartRelay, upstream: FakeUpstream, tmp_path: Path) -> None:
    relay = start()
    key = add(tmp_path / "relay.db", "alice", "6 requests/minute per session", "2 requests/minute per agent")
    asked: list[Any] = []
    for session in ("one", "two"):
        base = {"x-claude-code-session-id": session}
        mad, child = base | {"x-claude-code-agent-id": "mad"}, base | {"x-claude-code-agent-id": "child"}
        asked += [(mad, {})] * 10 + [(child | {"x-claude-code-parent-agent-id": "mad"}, {})] * 10 + [(base, {})]
    found = asyncio.run(at_once(relay.base_port, key, asked))
    assert Counter(status for status, _, _ in found) == {200: 6, 429: 36}
    assert [status for status, _, _ in found][20::21] == [200, 200]  # the main agents go on
    said = Counter(row["agent_tree"] for row in rows(relay.database))
    assert said == {"mad": 40, None: 2}


def test_tokens_a_minute_are_corrected_by_what_was_used(
    start: StartRelay, upstream: FakeUpstream, tmp_path: Path, base_client: Base
) -> None:
    upstream.script(steps.message(usage={"input_tokens": 100, "output_tokens": 850, "cache_read_input_tokens": 100}))
    relay = start()
    key, client = add(tmp_path / "relay.db", "alice", "1k tokens/minute"), base_client(relay)
    assert ask(client, key).status == 200
    refused = ask(client, key)
    assert refused.status == 429
    assert 3 <= int(refused.header("retry-after") or 0) <= 20
    counted = ask(client, key, "/v1/messages/count_tokens")
    assert counted.status == 200


def test_all_survive_a_restart(upstream: FakeUpstream, tmp_path: Path, confdir: Path) -> None:
    upstream.default = steps.message(usage=usage(5_000))
    text = config(upstream.url, ["good-1"], prices=PRICES)
    rate = add(tmp_path / "relay.db", "rate", "2 requests/minute", "$9/month")
    money = add(tmp_path / "relay.db", "money", "$0.3/total", "$9/5h per session")

    def ask_all(relay: Relay, *keys: str) -> tuple[list[int], dict[str, float]]:
        with RawClient(relay.base_port) as client:
            statuses = [ask(client, key).status for key in keys]
        nothing_is_taken(relay)
        return statuses, {key: one.spent(time.time()) for key, one in limiter(relay).spendings.items()}

    with Relay(tmp_path, confdir, text) as relay:
        statuses, spent = ask_all(relay, rate, rate, rate, money, money)
        assert statuses == [200, 200, 429, 200, 429]
    with Relay(tmp_path, confdir, text) as relay:
        statuses, restored = ask_all(relay, rate, money)
        assert statuses == [429, 429]
        assert restored == pytest.approx(spent, abs=1e-12)
        assert sorted(spent.values()) == pytest.approx([0.3, 0.3, 0.6])


def test_a_database_that_is_held(start: StartRelay, upstream: FakeUpstream, tmp_path: Path, base_client: Base) -> None:
    """What has no lease does not run, and says so; other limits go on."""
    relay = start(retry={"max_wait": "100ms"})
    places, rate = (
        add(tmp_path / "relay.db", "places", "4 concurrent"),
        add(tmp_path / "relay.db", "rate", "60 requests/minute"),
    )
    client = base_client(relay)
    assert [ask(client, key).status for key in (rate,)] == [200]
    with closing(connect(tmp_path / "relay.db", patience=1)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert ask(client, places).status == 429
        other.execute("ROLLBACK")
    assert ask(client, places).status == 200
