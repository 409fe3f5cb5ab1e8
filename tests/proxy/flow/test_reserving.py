"""What a request reserves when nobody says how it ended; and batches that come compressed."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from mitmproxy import http

from claude_relay.core.bodies.unpack import unpack
from claude_relay.core.config import Config
from claude_relay.core.endpoints import classify
from claude_relay.core.exchange import Attempt, Facts, Target
from claude_relay.proxy.flow import reserving
from claude_relay.proxy.flow.parts import Parts
from claude_relay.proxy.flow.settle import Bookkeeper
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch.inspection import View
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import AttemptRow, Ledger, RequestRow

MODEL = "claude-opus-4-5"
TARGETS = (Target("anthropic", MODEL),)
CONFIG = {
    "providers": {"anthropic": {"format": "anthropic", "base_url": "https://api.anthropic.com"}},
    "budgets": [{"per": "day", "usd": 100}],
}


@pytest.fixture
def reporting(tmp_path: Path) -> Reporting:
    runtime = Runtime.of(Config.model_validate(CONFIG))
    return Reporting(lambda: runtime, Ledger(tmp_path / "relay.db", report=pytest.fail), {})


def relayed(reporting: Reporting, path: str, body: bytes, **headers: str) -> Relayed:
    request = http.Request.make("POST", f"https://api.anthropic.com{path}", body)
    runtime = reporting.runtime()
    facts = Facts(classify(path), MODEL, headers=headers, body=body)
    made = Relayed("req_relay_1", facts, runtime, runtime.limits, started_at=1_795_000_000.0)
    made.keep_request(request, body)
    made.body = unpack(body, headers.get("content-encoding", ""))
    return made


def admit(reporting: Reporting, request: Relayed) -> None:
    async def main() -> None:
        assert await reserving.admitted(request, reporting, TARGETS) == TARGETS
        reserving.follow(request, Attempt(1, "anthropic", None, request.facts.model))

    asyncio.run(main())


def test_a_request_that_is_lost_lets_go_of_what_it_reserved(reporting: Reporting) -> None:
    request = relayed(reporting, "/v1/messages", b'{"max_tokens": 64}')
    admit(reporting, request)
    assert len(reporting.holds) == 1
    del request
    gc.collect()
    assert len(reporting.holds) == 0


def test_it_is_let_go_of_once(reporting: Reporting) -> None:
    request = relayed(reporting, "/v1/messages", b"{}")
    admit(reporting, request)
    admit(reporting, other := relayed(reporting, "/v1/messages", b"{}"))
    request.release_reserve()
    request.release_reserve()
    assert len(reporting.holds) == 1
    other.release_reserve()
    assert len(reporting.holds) == 0


@pytest.mark.parametrize("slip", ["", "notify_pool", "notify_observers"])
def test_what_is_counted_is_reserved_no_longer(
    reporting: Reporting, monkeypatch: pytest.MonkeyPatch, slip: str
) -> None:
    """In the same step, whatever becomes of it."""
    parts = Parts(View(1, 1), reporting=reporting)
    books = Bookkeeper(parts)
    request = relayed(reporting, "/v1/messages", b"{}")
    admit(reporting, request)
    row = RequestRow(id="r", started_at=time.time(), method="POST", path="/", finished="complete", attempts=1)
    attempts = [AttemptRow(request="r", n=1, provider="anthropic", started_at=time.time(), model=MODEL, cost_usd=3.0)]
    if slip:
        monkeypatch.setattr(Bookkeeper, slip, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError) if slip else nullcontext():
        books.notify_others(request, (row, attempts), written=True)
    assert len(reporting.holds) == 0
    assert reporting.budgets.state(time.time())[0][1] == (0 if slip else 3)


def test_a_slip_while_the_answer_runs_does_not_reach_it(
    reporting: Reporting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    request = relayed(reporting, "/v1/messages", b"{}")
    admit(reporting, request)
    assert request.reserve is not None
    monkeypatch.setattr(type(request.reserve), "passed", lambda *_: 1 / 0)
    request.open_meter(http.Response.make(200, b"", {"content-type": "text/event-stream"}))
    assert request.meter_chunk(b"event: ping\ndata: {}\n\n") is None
    assert request.reserve.look_at == sys.maxsize
    assert "could not be changed" in caplog.text


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("size", [1, 4_000])
def test_batches_compressed_and_large(reporting: Reporting, encoding: str, size: int) -> None:
    one = {"custom_id": "x", "params": {"model": MODEL, "max_tokens": 1000, "messages": []}}
    body = json.dumps({"requests": [one] * size}).encode()
    sent = gzip.compress(body) if encoding else body
    request = relayed(reporting, "/v1/messages/batches", sent, **({"content-encoding": encoding} if encoding else {}))
    assert reserving.makes_batch(request)
    admit(reporting, request)
    [hold] = reporting.holds._live
    assert hold.model == MODEL
    assert hold.nano == pytest.approx(size * 0.5 * (14 * 5 + 1000 * 25) * 1000, rel=0.01)


def test_a_batch_that_unfolds_to_more_than_is_read(reporting: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserving, "UNFOLDED", 1000)
    body = gzip.compress(b"x" * 10_000_000)
    request = relayed(reporting, "/v1/messages/batches", body, **{"content-encoding": "gzip"})
    request.body = None
    admit(reporting, request)


@pytest.mark.parametrize("coding", ["aes128gcm", "gzip"])
def test_a_batch_that_cannot_be_unfolded_is_as_large_as_it_came(reporting: Reporting, coding: str) -> None:
    request = relayed(reporting, "/v1/messages/batches", b"x" * 40_000_000, **{"content-encoding": coding})
    assert request.body is None
    admit(reporting, request)
    [hold] = reporting.holds._live
    assert hold.nano >= 0.5 * 10_000_000 * 5 * 1000


@pytest.mark.parametrize(
    ("path", "paid"),
    [
        ("/v1/messages", True),
        ("/v1/complete", True),
        ("/v1/messages/batches", True),
        ("/v1//messages/./batches/?beta=true", True),
        ("/v1/messages/batches/msgbatch_01/cancel", False),
        ("/v1/messages/count_tokens", False),
        ("/v1/models", False),
        ("/v1/files", False),
        ("/v1/organizations/usage_report/messages", False),
        ("/api/event_logging/batch", False),
    ],
)
def test_what_is_paid_for(reporting: Reporting, path: str, paid: bool) -> None:
    assert reserving.is_paid(relayed(reporting, path, b"{}")) is paid
