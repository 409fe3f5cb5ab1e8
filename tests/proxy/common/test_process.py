"""Memory goes back, and threads that compute give way."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest

from claude_relay.proxy.common import process
from claude_relay.proxy.common.process import LARGE, TURN, USUAL, in_thread, large_went
from waiting import PATIENCE


def test_what_large_bodies_leave_behind_goes_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of them go within a moment; small ones are not worth it."""
    monkeypatch.setattr(process, "SOON", 0.2)
    monkeypatch.setattr(process, "_trim_at", 0.0)

    async def main() -> int:
        loop, trimmed = asyncio.get_running_loop(), asyncio.Event()
        calls = []

        def trim(pad: int) -> int:
            calls.append(pad)
            loop.call_soon_threadsafe(trimmed.set)
            return 1

        monkeypatch.setattr(process, "LIBRARY", SimpleNamespace(malloc_trim=trim))
        large_went(LARGE - 1)
        assert process._trim_at == 0.0
        for _ in range(5):
            large_went(LARGE)
        await asyncio.wait_for(trimmed.wait(), PATIENCE)
        return len(calls)

    assert asyncio.run(main()) == 1


def test_a_library_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LIBRARY", None)
    process.settle()
    process._trim()


def test_threads_that_compute_give_way_while_they_do() -> None:
    async def main() -> list[float]:
        return await asyncio.gather(*[in_thread(sys.getswitchinterval) for _ in range(3)])

    assert asyncio.run(main()) == [pytest.approx(TURN)] * 3
    assert sys.getswitchinterval() == pytest.approx(USUAL)
