"""What tests of budgets have in common: prices, requests of a known cost, and a look at what is reserved and spent."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from claude_relay.core.accounting.accounts import NANO
from waiting import PATIENCE, eventually

from .clients import Answer, RawClient, messages_body
from .relay import Relay

PRICES = [{"model": "*", "input": 10, "output": 50, "cache_read": 1, "cache_write_5m": 12, "cache_write_1h": 20}]
"""USD per million tokens."""
BATCHES = "/v1/messages/batches"
OPUS, HAIKU = "claude-opus-4-5", "claude-haiku-4-5"


def usage(tokens: int, read: int = 0) -> dict[str, object]:
    """As much input as output: a thousand of each are 6 cents."""
    return {"input_tokens": tokens, "cache_read_input_tokens": read, "output_tokens": tokens}


def body(most: int = 1000, **more: Any) -> bytes:
    return messages_body(**{"max_tokens": most, **more})


def batch(*models: str, most: int = 100) -> bytes:
    params = [{"model": model, "max_tokens": most, "messages": []} for model in models]
    return json.dumps({"requests": [{"custom_id": str(n), "params": one} for n, one in enumerate(params)]}).encode()


def ask(client: RawClient, data: bytes | None = None, path: str = "/v1/messages") -> Answer:
    return client.ask("POST", path, body=body() if data is None else data)


def is_soon(refused: Answer) -> bool:
    """Whether a refusal says that the budget may have room in a moment, and not that it is spent."""
    assert refused.status == 429, refused.body
    assert refused.error_type == "rate_limit_error"
    final = refused.header("x-should-retry") == "false"
    assert (b"is used up until" in refused.body) == final
    assert (b"has no room" in refused.body) == (not final)
    seconds = int(refused.header("retry-after") or 0)
    assert seconds > 0
    return not final and seconds <= 30


def reporting(relay: Relay) -> Any:
    return relay.master.addons.get("claude_relay").parts.reporting


def reserved(relay: Relay, which: int = 0) -> float:
    """USD under a budget."""

    def find() -> float:
        rule, _, span = reporting(relay).budgets.state(time.time())[which]
        return float(reporting(relay).holds.under(rule, span.start)) / NANO

    return float(relay.on_loop(find))


def spent(relay: Relay, which: int = 0) -> float:
    """USD under a budget, as the relay counts."""
    return float(relay.on_loop(lambda: reporting(relay).budgets.state(time.time())[which][1]))


def spend(relay: Relay, usd: float) -> None:
    """As if Opus had cost so much."""
    relay.on_loop(lambda: reporting(relay).budgets.spent(time.time(), "anthropic", OPUS, usd))


def nothing_is_reserved(relay: Relay) -> None:
    """When all clients have left."""
    relay.wait_until_clients_left()
    eventually(lambda: not relay.on_loop(lambda: len(reporting(relay).holds)), lambda: "reservations are left")


def look(relay: Relay) -> None:
    """The relay reads what was spent, as it does every minute."""
    asyncio.run_coroutine_threadsafe(reporting(relay).look(), relay.loop).result(PATIENCE)
