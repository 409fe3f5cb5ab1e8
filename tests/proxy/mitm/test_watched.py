"""Reads in portions, and in turns."""

from __future__ import annotations

import asyncio
import time

import pytest

from claude_relay.proxy.mitm import watched
from claude_relay.proxy.mitm.watched import FEW, LARGE_READS, LONG, MOST, TRUSTED, PacedReader, Turns, Turnstile
from waiting import PATIENCE


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

        tasks = [asyncio.ensure_future(one()) for _ in range(10 * FEW)]
        before = 0
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            assert passed - before <= FEW + LARGE_READS  # a turn ends and another begins
            before = passed
        assert passed == len(tasks)

    asyncio.run(main())


def test_who_ends_while_it_waits_takes_nobodys_turn() -> None:
    async def main() -> None:
        turns = Turns()
        tasks = [asyncio.ensure_future(turns.wait()) for _ in range(3 * FEW)]
        await asyncio.sleep(0)
        for task in tasks[FEW : 2 * FEW]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)

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


def test_what_seems_long_is_measured_by_the_time_of_the_thread_before_anybody_waits() -> None:
    """Others' work on the machine is not the connection's."""

    async def main() -> None:
        reader = PacedReader(Endless())
        assert reader.clock is time.thread_time
        for _ in range(TRUSTED):
            assert reader.clock is time.thread_time
            reader.took(1000, 0.0)
        assert reader.clock is time.perf_counter
        reader.took(1000, 2 * LONG)
        assert reader.clock is time.thread_time
        assert not reader._pause
        reader.took(1000, 0.0)
        assert reader.clock is time.thread_time  # who is long every other time is not forgiven
        reader.took(1000, 2 * LONG)
        assert reader._pause == 2 * LONG

    asyncio.run(main())


def test_events_come_one_after_the_other_in_the_order_in_which_they_wait() -> None:
    """Also when one of those that wait is called off."""

    async def main() -> list[object]:
        lock, said = Turnstile(), list[object]()
        gate = asyncio.Event()

        async def event(name: int) -> None:
            async with lock:
                said.append(name)
                await gate.wait()
                said.append(-name)

        tasks = [asyncio.ensure_future(event(name)) for name in (1, 2, 3, 4)]
        await asyncio.sleep(0)
        assert said == [1]
        assert lock.locked()
        tasks[1].cancel()
        gate.set()
        await asyncio.wait(tasks)
        with pytest.raises(RuntimeError, match="x"):
            async with lock:
                raise RuntimeError("x")
        assert not lock.locked()
        return said

    assert asyncio.run(main()) == [1, -1, 3, -3, 4, -4]
