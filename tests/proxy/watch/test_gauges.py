"""How the relay is at this moment, as numbers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from mitmproxy.test import tflow

from claude_relay.core.config import parse
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.gauges import gauges
from claude_relay.store.ledger.ledger import Ledger

TEXT = "providers: {anthropic: {preset: anthropic, keys: [key-one-of-mine, key-two-of-mine, key-three-of-mine]}}"


def test_keys_requests_and_refusals_are_counted(tmp_path: Path) -> None:
    runtime = Runtime.of(parse(TEXT, environ={}), environ={})
    pool = runtime.pools["anthropic"]
    for key, until in zip(pool.keys, (math.inf, 500.0), strict=False):
        pool.cooldowns.extend(key.id, "", until=until, now=1.0, reason="r", stated=True, recheck=math.inf)
    before = gauges(runtime, None, 2.0)
    assert before.keys == {
        ("anthropic", "ready"): 1,
        ("anthropic", "cooldown"): 1,
        ("anthropic", "out"): 1,
        ("anthropic", "full"): 0,
    }
    assert (before.sessions, before.ledger_queue, before.ledger_failing) == (0, 0, False)
    flow = tflow.tflow()
    RELAYED[flow] = Relayed("r", Facts(Endpoint.MESSAGES), runtime, runtime.limits, started_at=0.0)
    rejected(Reason.LOOP, "a circle")
    after = gauges(runtime, Ledger(tmp_path / "relay.db", report=pytest.fail), 2.0)
    assert after.in_flight == before.in_flight + 1
    assert after.rejected["loop"] == before.rejected["loop"] + 1
    del RELAYED[flow]
