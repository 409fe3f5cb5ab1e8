"""Requests that come before everything is loaded wait for it, for as long as a start may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Endpoint, Facts
from claude_relay.proxy.lifecycle import opening as module
from claude_relay.proxy.lifecycle.opening import Opening, load
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.proxy.running.runtime import Runtime
from waiting import PATIENCE


def relayed() -> Relayed:
    runtime = Runtime.of(parse("", environ={}), environ={})
    return Relayed("req_relay_1", Facts(Endpoint.MESSAGES), runtime, runtime.limits, started_at=0.0)


async def began(opening: Opening, request: Relayed) -> asyncio.Task[None]:
    task = asyncio.ensure_future(opening.wait(request))
    await asyncio.sleep(0)
    return task


def test_all_go_on_when_everything_is_loaded(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        opening = Opening()
        tasks = [await began(opening, relayed()) for _ in range(3)]
        assert not any(task.done() for task in tasks)
        opening.finish()
        opening.finish("too late to be said")
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
        await asyncio.wait_for(opening.wait(relayed()), PATIENCE)

    asyncio.run(main())
    assert caplog.text == ""


def test_the_time_counts_from_the_start_and_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def main() -> None:
        opening = Opening()
        begin = time.monotonic()
        await asyncio.gather(*[opening.wait(relayed()) for _ in range(3)])
        assert 0.04 < time.monotonic() - begin < PATIENCE
        await opening.wait(relayed())

    asyncio.run(main())
    assert caplog.text.count("are not loaded after") == 1


def test_a_client_that_leaves_is_not_waited_for() -> None:
    async def main() -> None:
        opening, request = Opening(), relayed()
        task = await began(opening, request)
        request.gone = True
        assert request.waker is not None
        request.waker.set()
        await asyncio.wait_for(task, PATIENCE)
        assert not opening.over

    asyncio.run(main())


def test_what_fails_at_the_start_is_said_and_the_rest_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def part(name: str, *, fails: bool = False) -> Any:
        async def start() -> None:
            done.append(name)
            if fails:
                raise OSError("no")

        return SimpleNamespace(start=start)

    async def main() -> None:
        ledger: Any = SimpleNamespace(open=lambda: 1 / 0)
        await load(ledger, part("stored", fails=True), part("reporting"), part("clients"))

    started: Awaitable[None] = main()
    asyncio.run(started)  # type: ignore[arg-type]
    assert done == ["stored", "clients", "reporting"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]  # an error would end mitmproxy
    assert "opening the ledger: an unexpected ZeroDivisionError" in caplog.text
