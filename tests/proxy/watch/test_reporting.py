"""The onlookers of a relay: who hears of a settled request, and what a changed configuration changes."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.accounting.needs import Need, Part
from claude_relay.core.accounting.pricing import Prices
from claude_relay.core.config import Config, parse
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.watch import reporting as module
from claude_relay.proxy.watch.reporting import Reporting
from claude_relay.store.ledger.ledger import Ledger
from store.rows import attempt, request


class Stage:
    """A reporting with its ledger, on an event loop."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.config = self.parsed(**settings)
        self.runtime = Runtime.of(self.config, environ={})
        self.ledger = Ledger(folder / "relay.db", report=pytest.fail)
        self.reporting = Reporting(lambda: self.runtime, self.ledger, {})

    def parsed(self, **settings: Any) -> Config:
        text = {"listen": {"status": None}, **settings}
        return parse(json.dumps(text), environ={}, folder=self.folder)

    def on(self, do: Callable[[Reporting], Awaitable[None]]) -> None:
        async def main() -> None:
            await asyncio.to_thread(self.ledger.open)
            await self.reporting.start()
            try:
                await do(self.reporting)
            finally:
                self.reporting.close()
                self.reporting.fall_silent()
                self.ledger.close()

        asyncio.run(main())


def test_who_hears_of_a_settled_request(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path, log={"json": True}, budgets=[{"per": "day", "usd": 100}])
    row = request(output_tokens=5, started_at=time.time())
    attempts = [attempt(row, cost_usd=3.0, model="claude-sonnet-5")]

    async def do(reporting: Reporting) -> None:
        reporting.settled(row, attempts, "end_turn")
        samples = [line for line in reporting.render() if line.startswith("claude_relay_requests_total{")]
        assert [line.split()[-1] for line in samples] == ["1.0"]
        ((_, spent, *_),) = reporting.budgets.state(row.started_at)
        assert spent == 3.0

    stage.on(do)
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines() if '"request"' in line]
    assert line["request"]["id"] == row.id


def test_prices_hold_for_a_minute_or_until_the_configuration_changes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, prices=[{"model": "*", "input": 10, "output": 0}])
    reporting, need = stage.reporting, Need((Part("", 1000, 0),))

    def costs(at: float) -> int:
        (cost,) = reporting.reserve(stage.runtime, need, at).costs("anthropic", "claude-opus-5-5")
        return cost.nano

    assert costs(1000.0) == 10_000_000
    dearer = Prices(stage.parsed(prices=[{"model": "*", "input": 20, "output": 0}]).prices)
    vars(stage.runtime.prices).update(vars(dearer))  # as at a date from which other prices hold
    assert [costs(at) for at in (1059.0, 1060.0, 1061.0)] == [10_000_000, 20_000_000, 20_000_000]
    stage.config = stage.parsed(prices=[{"model": "*", "input": 30, "output": 0}])
    stage.runtime = Runtime.of(stage.config, stage.runtime, environ={})
    assert costs(1061.0) == 30_000_000


def test_a_changed_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage = Stage(tmp_path)

    async def do(reporting: Reporting) -> None:
        upkeep, budgets = reporting.upkeep, reporting.budgets
        reporting.change(stage.parsed(log={"json": True}))
        assert (reporting.upkeep, reporting.budgets) == (upkeep, budgets)
        logging.getLogger("claude_relay").warning("heard")
        reporting.change(stage.parsed(budgets=[{"per": "day", "usd": 1}], ledger={"keep": "1d"}))
        logging.getLogger("claude_relay").warning("not heard")
        assert reporting.budgets is not budgets
        assert reporting.upkeep is not upkeep
        reporting.change(stage.parsed(ledger={"bodies": {"limit": "1MiB"}}))
        assert reporting.bodies is not None

    stage.on(do)
    assert [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()] == ["heard"]


def test_a_ledger_that_cannot_be_read_is_told_of_and_nothing_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, budgets=[{"per": "day", "usd": 100}])

    async def do(reporting: Reporting) -> None:
        row = request(started_at=time.time())
        reporting.settled(row, [attempt(row, cost_usd=3.0, model="m")], None)

        def fail(*_: object) -> None:
            raise module.StoreError("no such file")

        monkeypatch.setattr(reporting.sums, "read", fail)
        await reporting.look()
        ((_, spent, *_),) = reporting.budgets.state(row.started_at)
        assert spent == 3.0

    stage.on(do)
    assert "what was spent under the budgets cannot be read: no such file" in caplog.text


def test_nothing_is_left_running(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}

    async def do(reporting: Reporting) -> None:
        return None

    Stage(tmp_path, notices={"command": ["true"]}, ledger={"bodies": {"limit": "1MiB"}}).on(do)
    left = {thread.name for thread in threading.enumerate() if not thread.daemon} - before
    assert [name for name in left if name.startswith("relay")] == []
