"""A client that is told to stop: what runs for it ends within a second, and nothing begins."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from claude_relay.proxy.request.relayed import RELAYED
from claude_relay.store.audit import Actor
from claude_relay.store.clients.book import ClientBook

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .limiting import until
from .relay import rows
from .upstream import FakeUpstream

ME = Actor("me", "cli", "here")


@pytest.fixture
def book(tmp_path: Path) -> ClientBook:
    return ClientBook(tmp_path / "relay.db")


def said_by(key: str, session: str = "s1") -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {key}"), ("x-claude-code-session-id", session)]


def stopped(answer: Any) -> None:
    assert (answer.status, answer.error_type, answer.header("x-should-retry")) == (403, "permission_error", "false")
    assert "was stopped" in answer.json()["error"]["message"]
    assert answer.json()["error"]["message"].endswith("Ask ops.")


def test_what_runs_for_a_client_ends(start: StartRelay, upstream: FakeUpstream, book: ClientBook) -> None:
    """A stream by an event, an answer that has not begun and a request that waits by an error; others go on."""
    alice, bob = (book.add(ME, name, {}).key for name in ("alice", "bob"))
    relay = start(keys=["good-1", "good-2"], clients={"contact": "ops"}, retry={"max_wait": "60s", "first_byte": "60s"})
    early = claude.events()[:4]
    upstream.script(steps.stream([*early, steps.stall]), steps.stall_before_head, steps.stream([*early, steps.stall]))
    with contextlib.ExitStack() as stack:
        streaming, silent, others, waiting, again = [stack.enter_context(RawClient(relay.base_port)) for _ in range(5)]
        for n, (client, key) in enumerate(((streaming, alice), (silent, alice), (others, bob)), 1):
            client.post(stream=client is not silent, headers=said_by(key))
            upstream.wait_for_requests(n)
        for client in (streaming, others):
            client.head()
            client.until(b"Hel")
        limited = steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "30")])
        for key in ("good-1", "good-2"):
            upstream.for_key(key, limited)
        waiting.post(headers=said_by(alice))
        upstream.wait_for_requests(5)
        book.stop(ME, "alice")
        while streaming.piece() is not None:
            pass
        assert streaming.current.complete
        event, _, data = streaming.current.body.rpartition(b"event: error")[2].strip().partition(b"data: ")
        error = json.loads(data)["error"]
        assert (event, error["type"]) == (b"", "permission_error")
        assert "The client 'alice' was stopped" in error["message"]
        for client in (silent, waiting):
            stopped(client.answer())
        stopped(again.ask("POST", "/v1/messages", body=messages_body(), headers=said_by(alice, "s2")))
        assert others.quiet()
        found = [(row["finished"], row["error_type"]) for row in rows(relay.database)]
        assert sorted(found) == [
            ("error", "client_stopped"),
            ("error", "permission_error"),
            ("error", "permission_error"),
            ("error", "permission_error"),
        ]
        assert {row["verdict"] for row in rows(relay.database, "attempts")} >= {"client_stopped"}


def test_one_session_is_stopped(start: StartRelay, upstream: FakeUpstream, book: ClientBook) -> None:
    key = book.add(ME, "alice", {}).key
    relay = start(keys=["good-1"], clients={"contact": "ops"}, retry={"first_byte": "60s"})
    upstream.script(steps.stall_before_head)
    with RawClient(relay.base_port) as running, RawClient(relay.base_port) as other:
        running.post(headers=said_by(key, "runaway"))
        upstream.wait_for_requests(1)
        book.stop(ME, "alice", session="runaway")
        stopped(running.answer())
        stopped(running.ask("POST", "/v1/messages", body=messages_body(), headers=said_by(key, "runaway")))
        assert other.ask("POST", "/v1/messages", body=messages_body(), headers=said_by(key)).status == 200


def test_what_is_not_decided_yet_has_a_row_too(start: StartRelay, upstream: FakeUpstream, book: ClientBook) -> None:
    """Half of its body has come: no hook will answer it."""
    key = book.add(ME, "alice", {}).key
    relay = start(keys=["good-1"], clients={"contact": "ops"})
    with RawClient(relay.base_port) as client:
        request = client.request_bytes("POST", "/v1/messages", body=messages_body(), headers=said_by(key))
        client.method = "POST"
        client.send(request[:-1])
        until(relay, lambda: any(found.client for found in RELAYED.values()))
        book.stop(ME, "alice")
        stopped(client.answer())
    relay.wait_until_clients_left()
    [row] = rows(relay.database)
    assert (row["client"], row["finished"], row["error_type"]) == ("alice", "error", "permission_error")
    assert not upstream.requests


def test_after_its_end_a_stop_is_over(start: StartRelay, upstream: FakeUpstream, book: ClientBook) -> None:
    key = book.add(ME, "alice", {}).key
    book.stop(ME, "alice", lasts=0.0)
    relay = start(keys=["good-1"])
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body(), headers=said_by(key)).status == 200
