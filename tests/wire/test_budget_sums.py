"""Budgets and what is no message; and sums that change in the ledger."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable

import pytest

from claude_relay.proxy.watch import reporting

from . import steps
from .budgets import (
    BATCHES,
    HAIKU,
    OPUS,
    PRICES,
    ask,
    batch,
    body,
    is_soon,
    look,
    nothing_is_reserved,
    reserved,
    spend,
    spent,
    usage,
)
from .clients import RawClient
from .conftest import StartRelay
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Signal

Base = Callable[[Relay], RawClient]
NAMED = "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"


def old(model: str) -> bytes:
    return json.dumps({"model": model, "prompt": "Hi", "max_tokens_to_sample": 9}).encode()


PAID: list[tuple[str, bytes, bytes]] = [
    ("/v1/messages", body(model=OPUS), body(model=HAIKU)),
    ("/v1/complete", old(OPUS), old(HAIKU)),
    (BATCHES, batch(HAIKU, OPUS), batch(HAIKU)),
    (f"{BATCHES}?beta=true", batch(OPUS), batch(HAIKU, HAIKU)),
    ("/v1//messages/batches/", batch(OPUS), batch(HAIKU)),
]
"""Path, a body that the budget covers, and one that it does not."""
FREE = [
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("POST", "/v1/files"),
    ("GET", BATCHES),
    ("POST", f"{BATCHES}/{NAMED}/cancel"),
]


def test_batches_and_completions_obey_and_the_rest_is_free(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 90, "model": "claude-opus-*"}])
    client = base_client(relay)
    for path, covered, _ in PAID:
        assert ask(client, covered, path).status == 200, path
    spend(relay, 90)
    asked = len(upstream.requests)
    for path, covered, _ in PAID:
        assert not is_soon(ask(client, covered, path)), path
    assert len(upstream.requests) == asked
    for path, _, other in PAID:
        assert ask(client, other, path).status == 200, path
    for method, path in FREE:
        data = body(model=OPUS) if method == "POST" else b""
        assert client.ask(method, path, body=data).status == 200, path
    client.close()
    nothing_is_reserved(relay)


@pytest.mark.parametrize("size", [1, 3_000])
def test_a_batch_reserves_its_size_at_the_price_of_batches(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, size: int
) -> None:
    """Also one that is read in a thread. It stays reserved until its results are fetched."""
    go = Signal("go")
    upstream.script(steps.after(go, steps.answer([json.dumps({"id": NAMED}).encode()])))
    budgets = [{"per": "day", "usd": 1000}, {"per": "day", "usd": 1000, "model": "a*"}]
    relay = start(prices=PRICES, budgets=budgets)
    client = base_client(relay)
    client.request("POST", BATCHES, body=batch(*["a-model", "b-model"] * size))
    upstream.wait_for_requests(1)
    tokens = len(json.dumps({"model": "a-model", "max_tokens": 100, "messages": []})) // 4
    one = (tokens * 10 + 100 * 50) / 2 / 1e6
    assert reserved(relay) == pytest.approx(2 * size * one)
    assert reserved(relay, 1) == pytest.approx(size * one)
    go.set()
    assert client.answer().status == 200
    client.close()
    assert reserved(relay) == pytest.approx(2 * size * one)


def test_a_text_completion_reserves_too(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    go = Signal("go")
    upstream.script(steps.after(go, steps.answer([b'{"type": "completion", "completion": "Hi"}'])))
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 1}])
    client = base_client(relay)
    client.request("POST", "/v1/complete", body=old(OPUS))
    upstream.wait_for_requests(1)
    assert reserved(relay) == pytest.approx((len(old(OPUS)) // 4 * 10 + 9 * 50) / 1e6)
    go.set()
    client.answer()
    client.close()
    nothing_is_reserved(relay)


def test_a_budget_leads_no_batch_to_a_provider_that_has_none(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    two = {"anthropic": provider(upstream.url, ["k"]), "other": provider(upstream.url, ["k"], format="gemini")}
    budgets = [{"provider": "anthropic", "per": "day", "usd": 1, "then": "other"}]
    relay = start(config(providers=two, routes=[{"to": ["anthropic"]}], prices=PRICES, budgets=budgets))
    spend(relay, 2)
    client = base_client(relay)
    assert not is_soon(ask(client, batch(OPUS), BATCHES))
    assert not is_soon(ask(client, old(OPUS), "/v1/complete"))
    assert upstream.requests == []


def test_what_is_priced_anew_counts_and_what_is_not_written_yet_does_too(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "COMMITTING", 0.2)
    upstream.default = steps.message(usage=usage(20_000))  # 1.20
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 2}])
    client = base_client(relay)
    assert [ask(client).status for _ in range(3)] == [200, 200, 429]
    with contextlib.closing(sqlite3.connect(relay.database)) as database, database:
        for table in ("attempts", "requests"):
            database.execute(f"UPDATE {table} SET cost_usd = 0.1 WHERE cost_usd > 0")
    look(relay)
    assert spent(relay) == pytest.approx(0.2)
    with contextlib.closing(sqlite3.connect(relay.database, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # the row of the next cannot be written
        assert ask(client).status == 200
        assert spent(relay) == pytest.approx(1.4)
        look(relay)
        assert spent(relay) == pytest.approx(1.4)
        database.execute("ROLLBACK")
    look(relay)
    assert spent(relay) == pytest.approx(1.4)
