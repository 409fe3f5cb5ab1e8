"""Results of batches, through the real relay: their cost is written down once, at the price of a batch."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta

import anthropic
import pytest

from claude_relay.core.accounting.pricing import Prices
from claude_relay.store.ledger.reprice import reprice

from . import steps
from .clients import RawClient, sdk
from .conftest import StartRelay
from .relay import Relay, rows
from .upstream import FakeUpstream

Base = Callable[[Relay], RawClient]
BATCH = "msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"
RESULTS = f"/v1/messages/batches/{BATCH}/results"
MILLION = 1_000_000


def result(number: int, model: str, tokens: int = 50_000) -> bytes:
    usage = {"input_tokens": tokens, "output_tokens": tokens}
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "Hi"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    return json.dumps({"custom_id": f"c{number}", "result": {"type": "succeeded", "message": message}}).encode() + b"\n"


PRICES = [
    {"model": "claude-sonnet-*", "input": 3, "output": 15},
    {"model": "claude-haiku-*", "input": 1, "output": 5},
]
LINES = [
    *(result(n, "claude-sonnet-4-5") for n in range(20)),
    *(result(n, "claude-haiku-4-5") for n in range(20, 40)),
    b'{"custom_id": "last", "result": {"type": "expired"}}\n',
]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_batch_is_paid_for_once_at_half_the_price(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, framing: str
) -> None:
    answer = steps.answer(LINES, content_type="application/binary", framing=framing)
    theirs = f"https://api.anthropic.com{RESULTS}"
    batch = {"id": BATCH, "type": "message_batch", "processing_status": "ended", "results_url": theirs}
    relay = start(prices=PRICES)
    whole = steps.answer([json.dumps(batch).encode()], framing=framing)
    upstream.script(whole, answer, whole, answer)
    client = stack.enter_context(sdk(base_port=relay.base_port))
    for _ in range(2):  # at the relay, although the provider names its own address
        found = list(client.messages.batches.results(BATCH))
        assert len(found) == len(LINES)
    first, second = (row for row in rows(relay.database) if row["path"].endswith("/results"))
    prices, now, url = Prices(()), datetime.now(UTC), "https://api.anthropic.com"
    assert (first["cost_usd"], first["input_tokens"], first["attempts"]) == (12.0, 2 * MILLION, 1)
    assert (second["cost_usd"], second["input_tokens"], second["finished"]) == (None, None, "complete")
    assert (first["served_model"], second["served_model"]) == ("claude-sonnet-4-5", None)
    tries = [one for one in rows(relay.database, "attempts") if one["request"] == first["id"]]
    parts = [(1, "claude-sonnet-4-5", 9.0), (2, "claude-haiku-4-5", 3.0)]  # half of $3 and $15, and of $1 and $5
    assert [(one["n"], one["model"], one["cost_usd"]) for one in tries] == parts
    with closing(sqlite3.connect(relay.database)) as ledger, ledger:
        ledger.execute("UPDATE requests SET cost_usd = NULL, priced_by = NULL")
    done = reprice(relay.database, prices, since=now - timedelta(days=1), provider_urls={"anthropic": url})
    assert (done.changed, done.unpriced_models) == (1, ())
    assert rows(relay.database)[1]["cost_usd"] == 12.0


def test_what_a_batch_may_cost_stays_reserved_until_its_results_are_counted(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack
) -> None:
    relay = start(prices=PRICES, budgets=[{"per": "day", "usd": 1}])
    batch = {"id": BATCH, "type": "message_batch", "results_url": f"https://api.anthropic.com{RESULTS}"}
    made = steps.answer([json.dumps(batch).encode()])
    results = steps.answer([result(1, "claude-sonnet-4-5", 1000)], content_type="application/binary")
    upstream.script(made, made, results, made)
    client = stack.enter_context(sdk(base_port=relay.base_port, max_retries=0))
    params = {"model": "claude-sonnet-4-5", "max_tokens": 3800, "messages": [{"role": "user", "content": "Hi"}]}
    asks = [
        {"custom_id": str(n), "params": params} for n in range(20)
    ]  # 20 times 3,800 tokens at $7.50 a million: $0.57
    client.messages.batches.create(requests=asks)
    with pytest.raises(anthropic.RateLimitError):
        client.messages.batches.create(requests=asks)
    list(client.messages.batches.results(BATCH))
    client.messages.batches.create(requests=asks)
