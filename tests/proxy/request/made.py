"""Relayed requests by themselves."""

from __future__ import annotations

import json
from typing import Any

from claude_relay.core.config import parse
from claude_relay.core.exchange import Attempt, Endpoint, Facts, Key
from claude_relay.proxy.request.records import AttemptRecord
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime

MODEL = "claude-sonnet-4-5"
KEY = Key("anthropic", "k2", "sk-ant-api03-secret-0123456789", "id")


def runtime(**settings: Any) -> Runtime:
    given = {"providers": {"anthropic": {"preset": "anthropic"}}} | settings
    return Runtime.of(parse(json.dumps(given), environ={}), environ={})


def relayed(endpoint: Endpoint = Endpoint.MESSAGES, on: Runtime | None = None, **facts: Any) -> Relayed:
    on = on or runtime()
    given = {"model": MODEL} | facts
    return Relayed("req_relay_1", Facts(endpoint, **given), on, on.limits, started_at=1_795_000_000.0, began_at=100.0)


def record(n: int = 1, *, key: Key | None = KEY, model: str = MODEL, **more: Any) -> AttemptRecord:
    return AttemptRecord(Attempt(n, "anthropic", key, model), 1_795_000_000.0, 100.0, **more)
