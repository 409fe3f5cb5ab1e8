"""The way out: what runs may end, then it is cut, then mitmproxy ends; asked again, sooner."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.test import tflow

from claude_relay.proxy.lifecycle.ending import Ending, EndingError, ending_error, still_run
from waiting import PATIENCE

NEVER = 600.0
"""Seconds that requests may take which is longer than anybody here waits."""


class Connections:
    """Requests that run until they are cut, or until so many looks have been taken."""

    def __init__(self, looks: float) -> None:
        self.looks = looks
        self.said: list[str] = []

    def running(self) -> list[int]:
        self.looks -= 1
        return [1] if self.looks >= 0 else []

    def close_after_answers(self) -> None:
        self.said.append("no more after these")

    async def read(self, seconds: float) -> None:
        self.said.append("read")

    def close_idle(self) -> None:
        if self.said[-1] != "idle":
            self.said.append("idle")

    async def cut(self, error: Callable[[Any], Any]) -> int:
        if self.looks >= 0:
            self.said.append("cut")
        self.looks = -1
        return 0

    async def flush(self, seconds: float) -> None:
        self.said.append("flush")


class Master:
    """mitmproxy, which ends by itself when nobody has taken its place."""

    def __init__(self) -> None:
        self.event_loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        self.listening: list[str] | None = ["a port"]
        self.addons = SimpleNamespace(get=lambda _: SimpleNamespace(servers=self))

    async def update(self, modes: list[str]) -> None:
        self.listening = modes

    def shutdown(self) -> None:
        self.ended.set()


def ended(looks: float, seconds: float, *, asked: int = 1) -> tuple[list[str], float]:
    """What became of the connections, and how long it took."""

    async def main() -> tuple[list[str], float]:
        master, connections, begun = Master(), Connections(looks), []
        ending = Ending(master, connections, lambda: seconds, lambda: begun.append(1))  # type: ignore[arg-type]
        ending.install()
        begin = time.monotonic()
        for _ in range(asked):
            master.shutdown()
            await asyncio.sleep(0.02)
        await asyncio.wait_for(master.ended.wait(), PATIENCE)
        assert ending.begun
        assert begun == [1]
        assert master.listening == []
        assert "shutdown" not in vars(master)
        return connections.said, time.monotonic() - begin

    return asyncio.run(main())


def test_where_nothing_runs_it_ends_at_once(caplog: pytest.LogCaptureFixture) -> None:
    said, took = ended(0, NEVER)
    assert said == ["no more after these", "read", "idle", "flush"]
    assert took < PATIENCE
    assert "request" not in caplog.text


def test_what_runs_may_end() -> None:
    said, took = ended(4, NEVER)
    assert said == ["no more after these", "read", "idle", "flush"]
    assert took < PATIENCE


def test_what_still_runs_then_is_cut() -> None:
    said, took = ended(float("inf"), 0.15)
    assert said == ["no more after these", "read", "idle", "cut", "flush"]
    assert 0.1 < took < PATIENCE


def test_asked_twice_that_at_once() -> None:
    said, took = ended(float("inf"), NEVER, asked=2)
    assert "cut" in said
    assert took < PATIENCE


def test_asked_thrice_mitmproxy_ends_whatever_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> int:
        await asyncio.Event().wait()
        return 0

    monkeypatch.setattr(Connections, "cut", never)
    _, took = ended(float("inf"), NEVER, asked=3)
    assert took < PATIENCE


def test_without_it_mitmproxy_ends_by_itself() -> None:
    async def main() -> None:
        master = Master()
        ending = Ending(master, Connections(0), lambda: 0.0, lambda: None)  # type: ignore[arg-type]
        ending.install()
        ending.install()
        ending.remove()
        ending.remove()
        master.shutdown()
        assert master.ended.is_set()
        assert not ending.begun

    asyncio.run(main())


def test_what_a_request_gets() -> None:
    error = ending_error(tflow.tflow())
    assert isinstance(error, EndingError)
    assert (error.status, error.headers) == (503, {"connection": "close"})
    assert json.loads(error.claude_body("r"))["error"]["type"] == "api_error"
    over_http2 = tflow.tflow()
    over_http2.request.http_version = "HTTP/2.0"
    assert ending_error(over_http2).headers == {}
    assert (still_run(1), still_run(2)) == ("1 request still runs", "2 requests still run")
