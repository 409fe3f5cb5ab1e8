"""Every request is written down once, with every try, and before the client has all of its answer."""

from __future__ import annotations

import os
import re
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.store.ledger.ledger import Ledger
from waiting import BRIEF, PATIENCE, eventually

from . import claude, steps
from .clients import H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, RelayProcess, config, provider, rows
from .upstream import FakeUpstream, Signal, Step

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 7)]
QUICK = {"attempts": 8, "max_wait": "2s", "first_byte": BRIEF, "idle": BRIEF}
AGENT = "claude-cli/2.1.330 (external, cli)"
SESSION = "6f2b2f0e-0000-4000-8000-000000000000"
ME = [("User-Agent", AGENT), ("X-Claude-Code-Session-Id", SESSION)]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NO_TOKENS = dict.fromkeys(
    [
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
        "reasoning_tokens",
        "server_tool_requests",
    ]
)
TOKENS = NO_TOKENS | {
    "input_tokens": 25,
    "output_tokens": 15,
    "cache_read_tokens": 12000,
    "cache_write_5m_tokens": 100,
    "cache_write_1h_tokens": 200,
}
TOOL_USAGE = claude.USAGE | {
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
    "output_tokens_details": {"thinking_tokens": 7},
}
FAILED_401 = steps.status(401, "authentication_error", "invalid x-api-key")
FAILED_500 = steps.status(500)
EARLY, LATE = claude.events()[:4], claude.events()[4:]

Base = Callable[[Relay], RawClient]


def request_of(relay: Relay) -> dict[str, Any]:
    """The only request; waits for it, for those whose client left."""
    relay.wait_until_clients_left()
    (row,) = rows(relay.database)
    return row


def attempts_of(relay: Relay) -> list[dict[str, Any]]:
    return rows(relay.database, "attempts")


def expected(**changed: Any) -> dict[str, Any]:
    """The row of a good request, but for ids, times and sizes."""
    return {
        "client": None,
        "session": SESSION,
        "user_agent": AGENT,
        "method": "POST",
        "path": "/v1/messages",
        "requested_model": claude.MODEL,
        "served_model": claude.MODEL,
        "provider": "anthropic",
        "key": "k1",
        "stream": 0,
        "status": 200,
        "error_type": None,
        "attempts": 1,
        **TOKENS,
        "cost_usd": None,
        "priced_by": None,
        "estimated": 0,
        "finished": "complete",
    } | changed


def check_times(row: dict[str, Any], attempts: list[dict[str, Any]], since: datetime) -> None:
    """Times are UTC and in their order, spans are milliseconds."""
    now = datetime.now(UTC) + timedelta(milliseconds=1)
    begun = [row["started_at"], *(a["started_at"] for a in attempts)]
    assert all(TIME.fullmatch(text) for text in begun), begun
    times = [datetime.fromisoformat(text) for text in begun]
    assert times == sorted(times)
    assert since - timedelta(milliseconds=1) <= times[0]
    assert times[-1] <= now
    longest = (now - since).total_seconds() * 1000
    assert 0 <= row["duration_ms"] <= longest
    for attempt in attempts:
        assert attempt["duration_ms"] is not None, attempt
        assert 0 <= attempt["duration_ms"] <= longest
        if attempt["first_byte_ms"] is not None:
            assert attempt["first_byte_ms"] <= attempt["duration_ms"] + 1
    if row["ttft_ms"] is not None:
        assert row["ttft_ms"] <= row["duration_ms"] + 1


# -- every situation, column by column

Asked = tuple[str, str, bytes]
MESSAGE: Asked = ("POST", "/v1/messages?beta=true", messages_body())
STREAM: Asked = ("POST", "/v1/messages?beta=true", messages_body(stream=True))
OK = {"key": "k1", "status": 200, "verdict": "ok", "error": None}

SITUATIONS: dict[str, tuple[Asked, list[Step], dict[str, Any], list[dict[str, Any]]]] = {
    "json": (MESSAGE, [], {}, [OK]),
    "sse": (STREAM, [], {"stream": 1}, [OK]),
    "json gzip": (MESSAGE, [steps.message(encoding="gzip")], {}, [OK]),
    "sse br": (STREAM, [steps.stream(encoding="br")], {"stream": 1}, [OK]),
    "sse bytewise": (STREAM, [steps.stream(chunking=steps.bytewise)], {"stream": 1}, [OK]),
    "sse until close": (STREAM, [steps.stream(framing="close")], {"stream": 1}, [OK]),
    "json chunked": (MESSAGE, [steps.message(framing="chunked")], {}, [OK]),
    "json for a stream": (STREAM, [steps.message()], {"stream": 1}, [OK]),
    "tools": (
        MESSAGE,
        [steps.message(usage=TOOL_USAGE)],
        {"server_tool_requests": 2, "reasoning_tokens": 7},
        [OK],
    ),
    "cache writes of one sort": (
        MESSAGE,
        [steps.message(usage={"input_tokens": 1, "cache_creation_input_tokens": 9, "output_tokens": 2})],
        {**NO_TOKENS, "input_tokens": 1, "output_tokens": 2, "cache_write_5m_tokens": 9, "cache_write_1h_tokens": 0},
        [OK],
    ),
    "count_tokens": (
        ("POST", "/v1/messages/count_tokens", messages_body()),
        [],
        {"path": "/v1/messages/count_tokens", **NO_TOKENS},
        [OK],
    ),
    "models": (
        ("GET", "/v1/models?limit=5", b""),
        [],
        {"method": "GET", "path": "/v1/models", **NO_TOKENS, "requested_model": None, "served_model": None},
        [OK],
    ),
    "files": (
        ("POST", "/v1/files", b"{}"),
        [],
        {"path": "/v1/files", **NO_TOKENS, "requested_model": None, "served_model": None},
        [OK],
    ),
    "served by another model": (
        MESSAGE,
        [steps.message(model="claude-sonnet-5-20260101")],
        {"served_model": "claude-sonnet-5-20260101"},
        [OK],
    ),
    "retried": (
        STREAM,
        [FAILED_401, FAILED_500, steps.raw(b"HTTP/1.1 200"), steps.fault("error_first"), steps.stream()],
        # keys that were not asked come first, an overloaded one gets a second try
        {"stream": 1, "attempts": 5, "key": "k4"},
        [
            {"key": "k1", "status": 401, "verdict": "unauthorized"},
            {"key": "k2", "status": 500, "verdict": "upstream_error"},
            {"status": None, "verdict": "broken"},
            {"status": 200, "verdict": "overloaded"},
            {"status": 200, "verdict": "ok", "error": None},
        ],
    ),
    "passed on": (
        STREAM,
        [steps.status(400, "invalid_request_error", "messages: at least one message is required")],
        {
            "stream": 1,
            "status": 400,
            "error_type": "invalid_request_error",
            "finished": "error",
            **NO_TOKENS,
            "served_model": claude.MODEL,
        },
        [{"key": "k1", "status": 400, "verdict": "bad_request"}],
    ),
    "an error event after content": (
        STREAM,
        [steps.stream([*EARLY, claude.error_event("overloaded_error", "Overloaded")])],
        {"stream": 1, "error_type": "overloaded_error", "finished": "error", "output_tokens": 2, "estimated": 1},
        [{"key": "k1", "status": 200, "verdict": "error_event"}],
    ),
    "cut after content": (
        STREAM,
        [steps.fault("cut_late")],
        {
            "stream": 1,
            "error_type": "upstream_closed",
            "finished": "upstream_closed",
            "output_tokens": 5,
            "estimated": 1,
        },
        [{"key": "k1", "status": 200, "verdict": "broken"}],
    ),
    "ended without a stop": (
        STREAM,
        [steps.stream([*claude.events()[:-1]])],
        {"stream": 1, "error_type": "upstream_closed", "finished": "upstream_closed"},
        [{"key": "k1", "status": 200, "verdict": "broken"}],
    ),
    "silent after content": (
        STREAM,
        [steps.fault("stall_late")],
        {
            "stream": 1,
            "error_type": "upstream_closed",
            "finished": "upstream_closed",
            "output_tokens": 5,
            "estimated": 1,
        },
        [{"key": "k1", "status": 200, "verdict": "broken"}],
    ),
}


@pytest.mark.parametrize(("asked", "script", "row", "tries"), SITUATIONS.values(), ids=SITUATIONS)
def test_rows(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    asked: Asked,
    script: list[Step],
    row: dict[str, Any],
    tries: list[dict[str, Any]],
) -> None:
    since = datetime.now(UTC)
    relay = start(keys=KEYS, retry=QUICK)
    upstream.script(*script)
    client = base_client(relay)
    method, path, body = asked
    answer = client.ask(method, path, body=body, headers=ME)
    (found,), attempts = rows(relay.database), attempts_of(relay)
    assert {name: found[name] for name in expected()} == expected(**row)
    assert found["request_bytes"] == len(body)
    assert found["id"].startswith("req_relay_")
    assert [a["n"] for a in attempts] == list(range(1, len(tries) + 1))
    assert {a["request"] for a in attempts} == {found["id"]}
    assert {a["provider"] for a in attempts} == {"anthropic"}
    assert [{name: a[name] for name in wanted} for a, wanted in zip(attempts, tries, strict=True)] == tries
    assert all(a["error"] for a in attempts if a["verdict"] != "ok")
    check_times(found, attempts, since)
    if answer.status == 200:
        assert found["ttft_ms"] is not None
        assert attempts[-1]["first_byte_ms"] is not None
        if found["finished"] != "upstream_closed":  # what a packer writes after its last event is not waited for
            late = 16 if answer.header("content-encoding") else 0
            assert len(answer.body) - late <= found["response_bytes"] <= len(answer.body)


def test_the_same_over_every_way(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    relay = start(keys=KEYS, retry=QUICK)
    upstream.script(FAILED_500, steps.stream(), steps.message())
    client = dial(relay)
    for stream in (True, False):
        assert client.ask("POST", "/v1/messages", body=messages_body(stream=stream), headers=ME).status == 200
    first, second = rows(relay.database)
    for row, changed in ((first, {"stream": 1, "attempts": 2, "key": "k2"}), (second, {"key": second["key"]})):
        assert {name: row[name] for name in expected()} == expected(**changed)


def test_a_request_that_waited(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """Waiting is no try, but it is time."""
    relay = start(keys=KEYS[:1], retry=QUICK)
    upstream.script(steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "1")]))
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200
    (row,), attempts = rows(relay.database), attempts_of(relay)
    assert (row["attempts"], row["finished"], row["key"]) == (2, "complete", "k1")
    assert [(a["status"], a["verdict"]) for a in attempts] == [(429, "rate_limited"), (200, "ok")]
    assert row["duration_ms"] >= 900
    assert max(a["duration_ms"] for a in attempts) < 900, "the wait belongs to no try"


def test_two_providers_and_another_name(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, authority: Any
) -> None:
    with FakeUpstream(default=steps.status(529, "overloaded_error", "Overloaded")) as busy:
        providers = {
            "busy": provider(busy.url, KEYS[:1]),
            "calm": provider(upstream.url, KEYS[1:2], models={"claude-*": "other-name"}),
        }
        relay = start(config(providers=providers, retry=QUICK))
        assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(), headers=ME).status == 200
        tried = len(busy.requests)
    (row,), attempts = rows(relay.database), attempts_of(relay)
    changed = {"provider": "calm", "attempts": tried + 1, "served_model": "other-name"}
    assert {name: row[name] for name in expected()} == expected(**changed)
    assert [(a["provider"], a["key"]) for a in attempts] == [("busy", "k1")] * tried + [("calm", "k1")]


def test_an_unreachable_provider(start: StartRelay, base_client: Base) -> None:
    relay = start(config("http://nowhere.invalid", KEYS[:2], retry=QUICK | {"attempts": 2, "max_wait": "500ms"}))
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True)).status == 502
    (row,), attempts = rows(relay.database), attempts_of(relay)
    assert (row["status"], row["finished"], row["attempts"], row["stream"]) == (502, "error", 2, 1)
    assert row["error_type"]
    assert [(a["status"], a["first_byte_ms"], a["n"]) for a in attempts] == [(None, None, 1), (None, None, 2)]
    assert all(a["verdict"] and a["error"] for a in attempts)


REFUSALS: dict[str, tuple[dict[str, Any], Asked, int]] = {
    "no route": ({"routes": [{"match": {"model": "gpt-*"}, "to": ["anthropic"]}]}, MESSAGE, 404),
    "empty pool": (
        {"providers": {"anthropic": provider("http://127.0.0.1:9", [], empty_pool="reject")}},
        MESSAGE,
        503,
    ),
    "placeholder without a key": (
        {"providers": {"anthropic": provider("http://127.0.0.1:9", [], empty_pool="passthrough")}},
        MESSAGE,
        401,
    ),
}


@pytest.mark.parametrize(("sections", "asked", "status"), REFUSALS.values(), ids=REFUSALS)
def test_refused_without_a_try(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, sections: dict[str, Any], asked: Asked, status: int
) -> None:
    relay = start(config(upstream.url, KEYS, **sections))
    method, path, body = asked
    answer = base_client(relay).ask(method, path, body=body, headers=ME)
    assert answer.status == status
    (row,) = rows(relay.database)
    wanted = {"status": status, "finished": "error", "attempts": 0, "provider": None, "key": None, "served_model": None}
    assert {name: row[name] for name in wanted} == wanted
    assert (row["requested_model"], row["session"], row["path"]) == (claude.MODEL, SESSION, "/v1/messages")
    assert row["id"] == answer.header("request-id")
    assert row["error_type"]
    assert {name: row[name] for name in NO_TOKENS} == NO_TOKENS
    assert attempts_of(relay) == []
    assert len(rows(relay.database)) == 1


def test_refused_while_all_keys_are_in_cooldown(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS[:1])
    upstream.default = steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "60")])
    client = base_client(relay)
    found = [client.ask("POST", "/v1/messages", body=messages_body()) for _ in range(2)]
    assert [a.status for a in found] == [429, 429]
    first, second = rows(relay.database)
    assert [(r["status"], r["attempts"], r["finished"]) for r in (first, second)] == [
        (429, 1, "error"),
        (429, 0, "error"),
    ]
    assert [r["id"] for r in (first, second)] == [a.header("request-id") for a in found]
    (attempt,) = attempts_of(relay)
    assert (attempt["request"], attempt["status"], attempt["verdict"]) == (first["id"], 429, "rate_limited")


def test_the_clients_own_key(start: StartRelay, claude_host: FakeUpstream, base_client: Base) -> None:
    own = {"anthropic": {"format": "anthropic", "base_url": "https://api.anthropic.com", "empty_pool": "passthrough"}}
    relay = start(config(providers=own), relay={"hosts": {"api.anthropic.com:443": claude_host.port}})
    client = base_client(relay)
    assert client.ask("POST", "/v1/messages", body=messages_body(), key="sk-ant-mine", headers=ME).status == 200
    (row,), attempts = rows(relay.database), attempts_of(relay)
    assert row["cost_usd"] > 0  # at Claude's own address its prices are known
    assert row["priced_by"].startswith("genai-prices ")
    unpriced = {"cost_usd": None, "priced_by": None}
    assert {name: row[name] for name in expected()} | unpriced == expected(key=None)
    assert [(a["key"], a["provider"], a["verdict"]) for a in attempts] == [(None, "anthropic", "ok")]


def test_side_calls_and_preflights_leave_no_row(
    start: StartRelay, upstream: FakeUpstream, claude_host: FakeUpstream, base_client: Base
) -> None:
    relay = start(
        config(upstream.url, KEYS, listen={"cors": ["https://page.example"]}),
        relay={"hosts": {"api.anthropic.com:443": claude_host.port}},
    )
    client = base_client(relay)
    assert client.ask("GET", "/api/hello", key="sk-ant-mine").status == 200
    assert client.ask("POST", "/v1/oauth/token", body=b"{}", key="sk-ant-mine").status == 200
    assert client.ask("GET", "/api/hello").status == 404
    preflight = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "POST")]
    assert client.ask("OPTIONS", "/v1/messages", headers=preflight).status == 204
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    (row,) = rows(relay.database)
    assert row["path"] == "/v1/messages"


def test_bytes_that_are_no_text(start: StartRelay, base_client: Base) -> None:
    """What a client sends may be anything; its request is written down all the same."""
    relay = start(keys=KEYS)
    odd = [("User-Agent", "caf\xe9\xff"), ("X-Claude-Code-Session-Id", "\xfe\xed")]
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(), headers=odd).status == 200
    (row,) = rows(relay.database)
    assert row["finished"] == "complete"
    assert row["user_agent"]


# -- a client that leaves


def wait_until_it_waits(relay: Relay) -> None:
    """Until the relay has nothing to do for a request but to wait for a key."""
    eventually(lambda: relay.on_loop(lambda: [r for r in RELAYED.values() if r.waker is not None]))


@pytest.mark.parametrize("kind", ["h1", "h2"])
@pytest.mark.parametrize("when", ["before the head", "while held", "while content", "while waiting for a key"])
def test_a_client_that_leaves(start: StartRelay, upstream: FakeUpstream, kind: str, when: str) -> None:
    relay = start(keys=KEYS[:1], retry=QUICK | {"first_byte": "3s"})
    upstream.script(
        {
            "before the head": steps.stall_before_head,
            "while held": steps.stream([claude.start(), steps.stall]),
            "while content": steps.fault("stall_late"),
            "while waiting for a key": steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "2")]),
        }[when]
    )
    body = messages_body(stream=True)
    if kind == "h1":
        with RawClient(relay.base_port) as client:
            client.request("POST", "/v1/messages", body=body, headers=ME)
            seen = upstream.wait_for_requests(1)[0]
            if when == "while content":
                client.head()
                client.until(b"word 0")
            elif when == "while waiting for a key":
                wait_until_it_waits(relay)
    else:
        with H2Client.through(relay.proxy_port, relay.ca_file) as h2:
            stream = h2.request(body=body, headers=ME)
            seen = upstream.wait_for_requests(1)[0]
            if when == "while content":
                h2.until(stream, b"word 0")
            elif when == "while waiting for a key":
                wait_until_it_waits(relay)
            h2.cancel(stream)
            if when != "while waiting for a key":
                seen.gone.wait()
    row = request_of(relay)
    (attempt,) = attempts_of(relay)
    wanted = {
        "attempts": 1,
        "finished": "client_closed",
        "stream": 1,
        "provider": "anthropic",
        "key": "k1",
        "session": SESSION,
        "requested_model": claude.MODEL,
    }
    assert {name: row[name] for name in wanted} == wanted
    assert attempt["n"] == 1
    if when == "while content":
        assert (row["status"], row["input_tokens"], row["output_tokens"], row["estimated"]) == (200, 25, 5, 1)
        assert row["response_bytes"] > 0
    else:
        assert (row["status"], row["response_bytes"]) == (None, 0)
        if when == "while waiting for a key":
            assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (None, None, 0)
        else:  # told, or as large as the request is
            guessed = len(body) // 4
            assert row["input_tokens"] in ((guessed, 25) if when == "while held" else (guessed,))
            assert row["estimated"] == 1
    if when == "while waiting for a key":
        assert (attempt["status"], attempt["verdict"]) == (429, "rate_limited")
    elif when == "while content":
        assert (attempt["status"], attempt["verdict"], attempt["error"]) == (200, "ok", "the client left")
    else:
        assert attempt["verdict"] == "client_closed"
    assert attempt["duration_ms"] is not None


def test_a_client_that_leaves_after_the_answer(start: StartRelay, base_client: Base) -> None:
    relay = start(keys=KEYS)
    client = base_client(relay)
    client.post(stream=True)
    client.head()
    client.until(b"message_stop")
    client.reset()
    assert request_of(relay)["finished"] == "complete"


def test_a_client_that_leaves_in_its_own_request(start: StartRelay, upstream: FakeUpstream) -> None:
    """Nothing was asked yet, so there is nothing to write down."""
    relay = start(keys=KEYS)
    with RawClient(relay.base_port) as client:
        client.send(client.request_bytes("POST", "/v1/messages", body=messages_body())[:-10])
    relay.wait_until_clients_left()
    assert rows(relay.database) == []
    assert upstream.requests == []


# -- what the client has, the ledger has

FRAMES = {
    "json of known length": (False, steps.message()),
    "json chunked": (False, steps.message(framing="chunked")),
    "json until close": (False, steps.message(framing="close")),
    "json gzip": (False, steps.message(encoding="gzip")),
    "json bytewise": (False, steps.message(chunking=steps.bytewise)),
    "large json": (False, steps.message("x" * 300_000)),
    "larger than is held": (False, steps.message("x" * 9_000_000)),
    "sse chunked": (True, steps.stream()),
    "sse of known length": (True, steps.stream(framing="length")),
    "sse until close": (True, steps.stream(framing="close")),
    "sse gzip": (True, steps.stream(encoding="gzip")),
    "sse bytewise": (True, steps.stream(chunking=steps.bytewise)),
    "sse at once": (True, steps.stream([b"".join(claude.events())])),
    "error passed on": (False, steps.status(400, "invalid_request_error", "no")),
    "cut": (True, steps.fault("cut_late")),
    "error event": (True, steps.stream([*EARLY, claude.error_event()])),
}


def test_the_row_is_there_before_the_last_byte(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    """Looked at by another connection the moment the client has everything; over and over, so that luck does not help."""
    relay = start(keys=KEYS, retry=QUICK)
    count = 0
    for name, (stream, step) in FRAMES.items():
        upstream.default = step
        client = dial(relay)
        for _ in range(3):
            answer = client.ask("POST", "/v1/messages", body=messages_body(stream=stream))
            count += 1
            assert answer.complete, name
            assert len(rows(relay.database)) == count, f"{name}: the client has its answer, the ledger has not"
            if isinstance(client, RawClient) and (client.eof or answer.header("connection") == "close"):
                client = dial(relay)


def test_the_final_event_waits_for_the_row(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    """Even when the upstream keeps its connection open after `message_stop`, and while the database takes its time."""
    relay = start(keys=KEYS, retry=QUICK)
    go = Signal("the test's word")
    upstream.default = steps.stream([*claude.events(), go])
    client = dial(relay)
    if isinstance(client, RawClient):
        client.post(stream=True)
        client.head()
        client.until(b'"type":"message_stop"')
    else:
        assert isinstance(client, H2Client)
        client.until(client.request(body=messages_body(stream=True)), b'"type":"message_stop"')
    assert [r["finished"] for r in rows(relay.database)] == ["complete"]
    go.set()


def test_a_row_that_cannot_be_made_holds_no_key(
    start: StartRelay, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in the books, the client has its answer and the pool its key back."""

    def fail(*_: object) -> None:
        raise RuntimeError("no row today")

    relay = start(keys=KEYS[:1], retry=QUICK)
    relay.expect_error("settling")
    monkeypatch.setattr("claude_relay.proxy.flow.settle.request_row", fail)
    pool = relay.master.addons.get("claude_relay").running_runtime().pools["anthropic"]
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        assert [state.in_flight for state in relay.on_loop(lambda: pool.state(time.time())).keys] == [0]
    assert rows(relay.database) == []


# -- a database that does not do its part


COUNT = 10


@pytest.fixture
def patient_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a row to be written waits for so long that the client gives up."""
    monkeypatch.setattr("claude_relay.store.ledger.ledger.Ledger", partial(Ledger, patience=10 * PATIENCE))


@pytest.fixture
def locked() -> Iterator[Callable[[Path], sqlite3.Connection]]:
    held: list[sqlite3.Connection] = []

    def lock(path: Path) -> sqlite3.Connection:
        held.append(sqlite3.connect(path, isolation_level=None))
        held[-1].execute("BEGIN IMMEDIATE")
        return held[-1]

    yield lock
    for connection in held:
        connection.close()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_a_locked_database_delays_and_loses_nothing(
    start: StartRelay,
    upstream: FakeUpstream,
    base_client: Base,
    locked: Callable[[Path], sqlite3.Connection],
    stream: bool,
) -> None:
    relay = start(keys=KEYS)
    relay.expect_error("ledger")
    lock = locked(relay.database)
    client = base_client(relay)
    began = time.monotonic()
    for n in range(COUNT):
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=stream), headers=[("User-Agent", str(n))])
        assert (answer.status, answer.complete) == (200, True)
    assert time.monotonic() - began < 2 * COUNT, "patience is 2 s, and once it is known to fail nobody waits"
    assert rows(relay.database) == []
    relay.wait_for_log("database is locked")
    lock.execute("ROLLBACK")
    relay.wait_for_log("writing works again")
    assert [r["user_agent"] for r in rows(relay.database)] == [str(n) for n in range(COUNT)]
    assert len(attempts_of(relay)) == COUNT
    said = [line for line in relay.log_text().splitlines() if "ledger: cannot write" in line]
    assert len(said) == 1
    client.ask("POST", "/v1/messages", body=messages_body())
    assert len(rows(relay.database)) == COUNT + 1


def test_a_short_lock_only_delays(
    start: StartRelay, base_client: Base, locked: Callable[[Path], sqlite3.Connection]
) -> None:
    """Until the row is in, all but the last byte is there and the last is not."""
    relay = start(keys=KEYS)
    lock = locked(relay.database)
    client = base_client(relay)
    client.post(stream=True)
    client.head()
    client.until(b"message_delta")
    time.sleep(0.2)  # nothing to wait for: it must not come
    assert b"message_stop" not in client.current.body
    assert client.quiet()
    lock.execute("ROLLBACK")
    client.until(b"message_stop")
    assert len(rows(relay.database)) == 1


@pytest.mark.usefixtures("patient_ledger")
def test_other_requests_do_not_wait_for_a_locked_database(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, locked: Callable[[Path], sqlite3.Connection]
) -> None:
    """The event loop waits for nobody: the content of a second stream comes while the first one's row cannot be written."""
    relay = start(keys=KEYS)
    lock = locked(relay.database)
    first, second = base_client(relay), base_client(relay)
    for client in (first, second):
        client.post(stream=True)
        client.head()
        client.until(b"lo!")
    lock.execute("ROLLBACK")
    for client in (first, second):
        client.until(b"message_stop")
    assert len(rows(relay.database)) == 2


@pytest.mark.usefixtures("patient_ledger")
def test_a_missing_folder(start: StartRelay, upstream: FakeUpstream, base_client: Base, tmp_path: Path) -> None:
    relay = start(config(upstream.url, KEYS, database="later/relay.db"))
    relay.expect_error("ledger")
    client = base_client(relay)
    for stream in (False, True):
        assert client.ask("POST", "/v1/messages", body=messages_body(stream=stream)).complete
    relay.wait_for_log("its folder does not exist")
    said = [line for line in relay.log_text().splitlines() if "ledger: cannot write" in line]
    assert len(said) == 1
    assert str(tmp_path / "later") in said[0]
    (tmp_path / "later").mkdir()
    relay.wait_for_log("writing works again")
    assert [r["stream"] for r in rows(tmp_path / "later" / "relay.db")] == [0, 1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, tmp_path: Path
) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o500)
    relay = start(config(upstream.url, KEYS, database="sealed/relay.db"))
    relay.expect_error("ledger")
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).complete
    relay.wait_for_log("cannot write")
    folder.chmod(0o700)
    relay.wait_for_log("writing works again")
    assert len(rows(folder / "relay.db")) == 1


@pytest.mark.parametrize("what", ["a folder", "no database"])
def test_a_database_that_is_none(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, tmp_path: Path, what: str
) -> None:
    if what == "a folder":
        (tmp_path / "relay.db").mkdir()
    else:
        (tmp_path / "relay.db").write_bytes(b"what somebody keeps here " * 100)
    relay = start(keys=KEYS)
    relay.expect_error("ledger")
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True)).complete
    relay.wait_for_log("ledger: cannot write")
    if what == "no database":
        assert (tmp_path / "relay.db").read_bytes() == b"what somebody keeps here " * 100
        (tmp_path / "relay.db").rename(tmp_path / "kept.txt")
    else:
        (tmp_path / "relay.db").rmdir()
    relay.wait_for_log("writing works again")
    assert len(rows(relay.database)) == 1


def test_a_database_that_is_taken_away(start: StartRelay, base_client: Base) -> None:
    relay = start(keys=KEYS)
    relay.expect_error("ledger")
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body())
    for file in relay.folder.glob("relay.db*"):
        file.rename(relay.folder / f"old-{file.name}")
    time.sleep(1.05)  # the ledger looks once a second whether its file is still there
    assert client.ask("POST", "/v1/messages", body=messages_body(stream=True)).complete
    relay.wait_for_log("removed or replaced")
    relay.wait_for_log("writing works again")
    assert [r["stream"] for r in rows(relay.database)] == [1]


def test_a_file_that_is_damaged_in_use(start: StartRelay, base_client: Base) -> None:
    """All is answered; the log says what to do, and once it is done, what could not be written is in the new file."""
    relay = start(keys=KEYS)
    relay.expect_error("ledger", "malformed")
    client = base_client(relay)
    client.ask("POST", "/v1/messages", body=messages_body(), headers=[("User-Agent", "before")])
    with closing(sqlite3.connect(relay.database, isolation_level=None)) as other:
        other.execute("PRAGMA user_version = 1")  # so that the relay looks into the file again
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with relay.database.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    for n in range(6):
        answer = client.ask(
            "POST", "/v1/messages", body=messages_body(stream=n % 2 == 0), headers=[("User-Agent", str(n))]
        )
        assert (answer.status, answer.complete) == (200, True)
    relay.wait_for_log("ledger: cannot write")
    (said,) = [line for line in relay.log_text().splitlines() if "ledger: cannot write" in line]
    assert all(word in said for word in ("malformed", str(relay.database), "move it", ".recover"))
    for file in relay.folder.glob("relay.db*"):
        file.rename(relay.folder / f"old-{file.name}")
    relay.wait_for_log("writing works again")
    assert [r["user_agent"] for r in rows(relay.database)] == [str(n) for n in range(6)]
    assert len(attempts_of(relay)) == 6


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no limits for other processes there")
def test_a_full_disk(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    """No file of the relay may grow: all is answered, and once there is room, every row is there, once."""
    with RelayProcess(tmp_path, confdir, config(upstream.url, KEYS)) as relay, RawClient(relay.base_port) as client:
        agents = [f"{n} {'x' * 4000}" for n in range(8)]
        for n, agent in enumerate(agents):
            answer = client.ask(
                "POST", "/v1/messages", body=messages_body(stream=n % 2 == 0), headers=[("User-Agent", agent)]
            )
            assert (answer.status, answer.complete) == (200, True)
            if n == 2:
                wal = relay.database.with_name("relay.db-wal").stat().st_size
                resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (wal, resource.RLIM_INFINITY))
        assert len(rows(relay.database)) < len(agents)
        resource.prlimit(relay.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        eventually(lambda: "writing works again" in relay.output(), relay.output)
        assert [r["user_agent"] for r in rows(relay.database)] == [agent[:255] for agent in agents]
        assert "make sure that the disk has room" in relay.output()
        assert "Traceback" not in relay.output()


def test_what_could_not_be_written_before_the_end_is_there_after_the_next_start(
    upstream: FakeUpstream, confdir: Path, tmp_path: Path
) -> None:
    (tmp_path / "relay.db").mkdir()
    with Relay(tmp_path, confdir, config(upstream.url, KEYS)) as relay, RawClient(relay.base_port) as client:
        relay.expect_error("ledger")
        for _ in range(3):
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert len(list(tmp_path.glob("relay.db.spill-*"))) == 1
    (tmp_path / "relay.db").rmdir()
    with Relay(tmp_path, confdir, config(upstream.url, KEYS)) as relay:
        relay.expect_error("ledger")
        relay.wait_for_log("are written")
        assert len(rows(relay.database)) == len(attempts_of(relay)) == 3
    assert list(tmp_path.glob("relay.db.spill-*")) == []


@pytest.mark.usefixtures("patient_ledger")
def test_relaxed_does_not_wait(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, locked: Callable[[Path], sqlite3.Connection]
) -> None:
    relay = start(config(upstream.url, KEYS, ledger={"durability": "relaxed"}))
    lock = locked(relay.database)
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).complete
    lock.execute("ROLLBACK")
    eventually(lambda: rows(relay.database))


def test_the_end_of_the_relay_writes_what_is_queued(upstream: FakeUpstream, confdir: Path, tmp_path: Path) -> None:
    text = config(upstream.url, KEYS, ledger={"durability": "relaxed"})
    with Relay(tmp_path, confdir, text) as relay, RawClient(relay.base_port) as client:
        for _ in range(20):
            client.ask("POST", "/v1/messages", body=messages_body())
    assert len(rows(tmp_path / "relay.db")) == 20


def test_it_is_a_plain_database(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, stack: ExitStack, base_client: Base
) -> None:
    """One that the relay makes by itself. Anybody may read it meanwhile; nobody else on the machine may."""
    relay = stack.enter_context(Relay(tmp_path, confdir, config(upstream.url, KEYS)))
    base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    assert relay.database.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(relay.database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM requests JOIN attempts ON request = id").fetchone() == (1,)


def test_many_at_once(start: StartRelay, upstream: FakeUpstream, authority: Any) -> None:
    """Fifty streams of one connection: a row each, none twice."""
    relay = start(keys=KEYS)
    with H2Client.through(relay.proxy_port, relay.ca_file) as client:
        streams = [
            client.request(body=messages_body(stream=True), headers=[("user-agent", f"agent {n}")]) for n in range(50)
        ]
        assert all(client.answer(stream).complete for stream in streams)
        found = rows(relay.database)
    assert sorted(r["user_agent"] for r in found) == sorted(f"agent {n}" for n in range(50))
    assert {r["finished"] for r in found} == {"complete"}
    assert len(attempts_of(relay)) == 50


def test_a_lock_held_for_long_makes_one_answer_wait(
    start: StartRelay, base_client: Callable[[Relay], RawClient]
) -> None:
    """The rows of all of them are on the disk before their answers are whole, and in the ledger when the lock is gone."""
    relay = start(keys=KEYS)
    relay.expect_error("ledger")
    client, waits = base_client(relay), list[float]()
    with closing(sqlite3.connect(relay.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for n in range(COUNT):
            began = time.monotonic()
            assert client.ask("POST", "/v1/messages", body=messages_body(stream=n % 2 == 0)).status == 200
            waits.append(time.monotonic() - began)
            kept = b"".join(file.read_bytes() for file in relay.folder.glob("relay.db.spill-*"))
            assert kept.count(b"\n") == n + 1
        other.execute("ROLLBACK")
    assert sum(waits) < 2 * COUNT, "one waits for as long as patience lasts, two seconds"
    relay.wait_for_log("writing works again")
    assert len(rows(relay.database)) == COUNT


def test_names_as_long_as_a_book(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    """Rows, cooldowns and what is remembered of models hold 255 characters of one; the upstream gets all of it."""
    huge = "m" * 1_000_000
    relay = start(keys=KEYS)
    client = base_client(relay)
    assert client.ask("POST", "/v1/messages", body=messages_body(model=huge)).status == 200
    upstream.default = steps.status(404, "not_found_error", "no such model")
    assert client.ask("POST", "/v1/messages", body=messages_body(model=huge)).status == 404
    assert huge.encode() in upstream.requests[0].body
    client.close()
    relay.wait_until_clients_left()
    found = rows(relay.database)
    assert [(len(row["requested_model"]), len(row["served_model"])) for row in found[:2]] == [(255, 255)] * 2
    pools = relay.master.addons.get("claude_relay").runtime.pools
    assert max(len(kind) for kind in pools["anthropic"]._ready._ready) == 255
    assert relay.database.stat().st_size + relay.database.with_name("relay.db-wal").stat().st_size < 1_000_000


def test_an_answer_leads_to_its_story(
    start: StartRelay, base_client: Callable[..., RawClient], upstream: FakeUpstream
) -> None:
    """The header of every answer names the row, in which the way and the upstream's own id stand."""
    overloaded = steps.status(529, "overloaded_error", "Overloaded", headers=[("request-id", "req_011failed")])
    upstream.script(overloaded, steps.message("Hello"), steps.status(400, "invalid_request_error", "no"))
    relay = start(config(upstream.url, ["sk-ant-1", "sk-ant-2"]))
    client = base_client(relay)
    good, bad = (client.ask("POST", "/v1/messages", body=messages_body()) for _ in range(2))
    gone = client.ask("POST", "/v1/messages", body=b"{")
    found = {row["id"]: row for row in rows(relay.database)}
    assert {answer.header("x-relay-request") for answer in (good, bad, gone)} <= found.keys()
    row = found[good.header("x-relay-request")]
    assert (row["route"], row["upstream_request_id"]) == ("route 1: anthropic", good.header("request-id"))
    failed, answered = [
        row for row in rows(relay.database, "attempts") if row["request"] == good.header("x-relay-request")
    ]
    assert (failed["upstream_request_id"], answered["upstream_request_id"]) == (
        "req_011failed",
        good.header("request-id"),
    )
    assert answered["waited_ms"] > 0
    (tried,) = (row for row in rows(relay.database, "attempts") if row["request"] == bad.header("x-relay-request"))
    assert tried["error"] == "400 invalid_request_error: no"
