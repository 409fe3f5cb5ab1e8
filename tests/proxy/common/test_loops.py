"""Loops that go on, errors that are said once."""

from __future__ import annotations

import asyncio

import pytest

from claude_relay.proxy.common.loops import Loop, errand
from waiting import PATIENCE


def test_a_loop_goes_on_and_says_each_kind_of_error_once(caplog: pytest.LogCaptureFixture) -> None:
    turns = 0

    async def main() -> None:
        enough = asyncio.Event()

        async def turn() -> None:
            nonlocal turns
            turns += 1
            if turns > 6:
                enough.set()
            elif turns % 3 == 0:
                raise KeyError("another kind")
            else:
                raise ValueError(f"told {turns}")

        loop = Loop("watching the pot", turn, lambda: 0.0)
        loop.start()
        loop.start()
        async with asyncio.timeout(PATIENCE):
            await enough.wait()
        assert loop.runs
        loop.stop()
        loop.stop()
        before = turns
        for _ in range(5):
            await asyncio.sleep(0)
        assert (turns, loop.runs) == (before, False)
        loop.start()
        async with asyncio.timeout(PATIENCE):
            while turns == before:  # noqa: ASYNC110
                await asyncio.sleep(0)
        loop.stop()

    asyncio.run(main())
    said = [(record.getMessage(), record.exc_info) for record in caplog.records]
    assert [words for words, _ in said] == [
        "watching the pot: an unexpected ValueError",
        "watching the pot: an unexpected KeyError",
    ]
    assert all(info for _, info in said)


def test_an_errand_that_fails_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("no such shop")

    async def main() -> None:
        await errand(fail, "fetching bread")

    asyncio.run(main())
    assert "fetching bread: an unexpected OSError" in caplog.text


def test_an_errand_needs_a_loop() -> None:
    async def never() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError):
        errand(never, "nothing")
