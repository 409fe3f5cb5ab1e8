"""Reads in portions, and in turns."""

from __future__ import annotations

import asyncio

import pytest

from claude_relay.proxy.mitm import watched
from claude_relay.proxy.mitm.watched import LARGE_READS, MOST, PacedReader, Turns


class Endless:
    """A peer that always has more."""

    async def read(self, most: int) -> bytes:
        return bytes(most)


def test_few_large_reads_a_turn() -> None:
    """However many connections there are; those that come later wait longer, and nobody for ever."""

    async def main() -> None:
        turns, passed = Turns(), 0

        async def one() -> None:
            nonlocal passed
            await turns.wait()
            passed += 1

        tasks = [asyncio.ensure_future(one()) for _ in range(10 * LARGE_READS)]
        before = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            assert passed - before <= 2 * LARGE_READS  # a turn ends and another begins
            before = passed
        assert passed == len(tasks)

    asyncio.run(main())


def test_who_ends_while_it_waits_takes_nobodys_turn() -> None:
    async def main() -> None:
        turns = Turns()
        tasks = [asyncio.ensure_future(turns.wait()) for _ in range(3 * LARGE_READS)]
        await asyncio.sleep(0)
        for task in tasks[LARGE_READS : 2 * LARGE_READS]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 4)

    asyncio.run(main())


@pytest.mark.parametrize("size", [100, MOST])
def test_only_bodies_wait(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which a few bytes come is read at once."""
    monkeypatch.setattr(watched, "FIRST", MOST)

    async def main() -> int:
        waits = 0
        reader = PacedReader(Endless())

        class Counted(Turns):
            async def wait(self) -> None:
                nonlocal waits
                waits += 1

        reader._turns = Counted()
        for _ in range(5):
            reader.took(len(await reader.read(size)), 0.0)
        return waits

    assert asyncio.run(main()) == (4 if size == MOST else 0)
