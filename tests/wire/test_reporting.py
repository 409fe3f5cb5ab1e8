"""Those who hear of settled requests besides the ledger, in the real relay: budgets, notices, metrics, stored bodies."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, RelayProcess, config, free_ports, provider, rows
from .upstream import FakeUpstream

PRICE = {
    "model": "*",
    "input": 1000,
    "output": 1000,
    "cache_read": 1000,
    "cache_write_5m": 1000,
    "cache_write_1h": 1000,
}
"""USD per million tokens: an answer of `claude.USAGE` has 12,340 tokens and costs 12.34 USD."""
COST = 12.34
SECRET = "sk-ant-api03-pool-secret"
Base = Callable[[Relay], RawClient]


@pytest.fixture
def hook() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A webhook: its URL, and what was posted to it."""
    posted: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
        server.shutdown()
        thread.join()


def ask(client: RawClient, *, stream: bool = False) -> Any:
    return client.ask("POST", "/v1/messages", body=messages_body(stream=stream))


def test_a_budget_warns_then_leads_elsewhere_then_refuses(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, hook: tuple[str, queue.Queue[dict[str, Any]]]
) -> None:
    url, posted = hook
    two = {"dear": provider(upstream.url, ["sk-dear"]), "cheap": provider(upstream.url, ["sk-cheap"])}
    budgets = [
        {"provider": "dear", "per": "day", "usd": 2 * COST, "warn": 0.5, "then": "cheap"},
        {"per": "month", "usd": 3 * COST, "warn": 0},
    ]
    relay = start(
        config(
            providers=two,
            routes=[{"to": ["dear"]}],
            prices=[PRICE],
            budgets=budgets,
            notices={"webhook": url, "at_most": 9},
        )
    )
    client = base_client(relay)
    assert ask(client).header("x-relay-provider") == "dear"
    assert posted.get(timeout=PATIENCE)["kind"] == "budget_warn"
    assert ask(client, stream=True).header("x-relay-provider") == "dear"
    assert posted.get(timeout=PATIENCE)["kind"] == "budget_end"
    assert ask(client).header("x-relay-provider") == "cheap"
    refused = ask(client)
    assert (refused.status, refused.header("x-should-retry")) == (429, "false")
    assert int(refused.header("retry-after") or 0) > 0
    assert "budget" in json.loads(refused.body)["error"]["message"]
    assert [row["cost_usd"] for row in rows(relay.database)] == [COST, COST, COST, None]
    assert rows(relay.database)[0]["priced_by"] == "relay.yaml"
    assert len(upstream.requests) == 3


def test_what_was_spent_before_a_restart_counts(upstream: FakeUpstream, tmp_path: Path, confdir: Path) -> None:
    text = config(upstream.url, [SECRET], prices=[PRICE], budgets=[{"per": "week", "usd": 1}])
    with Relay(tmp_path, confdir, text) as relay, RawClient(relay.base_port) as client:
        assert ask(client).status == 200
    with Relay(tmp_path, confdir, text) as relay, RawClient(relay.base_port) as client:
        assert ask(client).status == 429
    assert len(upstream.requests) == 1


def test_a_lost_key_is_told(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, hook: tuple[str, queue.Queue[dict[str, Any]]]
) -> None:
    url, posted = hook
    upstream.script(steps.status(401, "authentication_error", "invalid x-api-key"))
    relay = start(keys=[SECRET, "sk-ant-good"], notices={"webhook": url})
    assert ask(base_client(relay)).status == 200
    told = posted.get(timeout=PATIENCE)
    assert (told["kind"], told["key"]) == ("key_out", "anthropic/k1")
    assert SECRET not in json.dumps(told)


def test_metrics_are_served(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    (port,) = free_ports(1)
    upstream.script(steps.status(529, "overloaded_error", "Overloaded"))
    relay = start(keys=[SECRET], prices=[PRICE], listen={"status": f"127.0.0.1:{port}"})
    assert ask(base_client(relay)).status == 200
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    lines = set(text.splitlines())
    assert f'claude_relay_cost_usd_total{{provider="anthropic",model="{claude.MODEL}"}} {COST}' in lines
    assert 'claude_relay_attempts_total{provider="anthropic",verdict="overloaded"} 1.0' in lines
    assert 'claude_relay_keys{provider="anthropic",state="ready"} 1' in lines
    assert SECRET not in text


@pytest.mark.parametrize("stream", [False, True])
def test_bodies_are_kept_where_somebody_asked_for_them(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, stream: bool
) -> None:
    upstream.script(steps.status(400 + 129, "overloaded_error", f"not with {SECRET}"))
    relay = start(keys=[SECRET], ledger={"bodies": {"keep": "1d", "limit": "64KiB"}})
    body = messages_body(stream=stream, text="remember me")
    assert base_client(relay).ask("POST", "/v1/messages", body=body).status == 200
    relay.on_loop(lambda: relay.master.addons.get("claude_relay").parts.reporting.bodies.close())
    with contextlib.closing(sqlite3.connect(relay.database)) as connection:
        kept = connection.execute("SELECT n, kind, bytes FROM bodies ORDER BY n, kind").fetchall()
    assert [row[:2] for row in kept] == [(0, "answer"), (0, "request"), (1, "answer")]
    assert kept[1][2] == len(body)
    assert SECRET.encode() not in relay.database.read_bytes()


def test_no_body_is_kept_otherwise(start: StartRelay, base_client: Base) -> None:
    relay = start(keys=[SECRET])
    assert ask(base_client(relay)).status == 200
    with contextlib.closing(sqlite3.connect(relay.database)) as connection:
        assert connection.execute("SELECT count(*) FROM bodies").fetchone() == (0,)


def test_the_terminal_tells_what_became_of_each_request(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    """As a process, for the time, the order and what mitmproxy itself would print are those that a person sees."""
    slow = steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "30")])
    upstream.script(
        steps.message("Hello"),
        slow,
        steps.message("again"),
        steps.status(400, "invalid_request_error", "no such field"),
    )
    text = config(upstream.url, ["sk-ant-of-one", "sk-ant-of-two"])
    with RelayProcess(tmp_path, confdir, text) as relay, RawClient(relay.base_port) as client:
        statuses = [client.ask("POST", "/v1/messages", body=messages_body()).status for _ in range(3)]
        eventually(lambda: "no such field" in relay.output(), relay.output)
        lines = [line.partition("] ")[2] for line in relay.output().splitlines()]
    assert statuses == [200, 200, 400]
    requests = [" ".join(line.split()) for line in lines if "claude-sonnet-5" in line]
    assert [line.rpartition(" ")[2] for line in requests] == ["200", "200", "400"]
    assert "×2" in requests[1]
    assert any("has a cooldown of 30" in line for line in lines)
    assert (
        "invalid_request_error: 400 invalid_request_error: no such field → the request itself has to change"
        in relay.output()
    )
    assert "sk-ant" not in relay.output()
