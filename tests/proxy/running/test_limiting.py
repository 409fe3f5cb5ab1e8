"""The limits of clients in two relays over one real database: what one knows the other hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from claude_relay.core.clients.admission import Admission
from claude_relay.core.clients.demand import Weight
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.known import Plan
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import Policy
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.running import limiting as module
from claude_relay.proxy.running.limiting import Limiting
from claude_relay.store.db.database import connect
from claude_relay.store.ledger.ledger import Ledger
from store.rows import request
from waiting import PATIENCE

ONE = Weight()


def client(*limits: str) -> Client:
    return Client("1", "alice", Policy(limits=tuple(map(parse, limits))))


@asynccontextmanager
async def relays(path: Path, count: int = 1) -> AsyncIterator[list[Limiting]]:
    found = [Limiting(path, lambda: True) for _ in range(count)]
    try:
        yield found
    finally:
        for limiting in found:
            limiting.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


async def known(limiting: Limiting, who: Client, session: str = "s") -> Plan:
    plan = await limiting.plan(who, "m", session, None)
    assert limiting.limiter.plan_of(who, "m", session, None) is plan
    return plan


def enter(limiting: Limiting, plan: Plan) -> Admission | None:
    return limiting.limiter.enter(plan, ONE, NOW(), time.monotonic())


def write(path: Path, usd: float, **fields: object) -> None:
    ledger = Ledger(path, report=pytest.fail)
    ledger.open()
    ledger.put(request(started_at=time.time(), cost_usd=usd, client="alice", **fields), [])
    ledger.close()


def test_places_are_leased_and_given_back_at_the_end(tmp_path: Path) -> None:
    async def work() -> None:
        who = client("2 concurrent")
        async with relays(tmp_path / "relay.db", 2) as (one, other):
            plan = await known(one, who)
            assert enter(one, plan) is None
            assert one.limiter.slots.lacking(plan.places, time.monotonic())
            woken = asyncio.Event()
            one.limiter.queue(plan, NOW(), time.monotonic(), woken.set)
            await one.exchange()
            assert woken.is_set()
            assert enter(one, plan) is not None
            assert enter(other, await known(other, who)) is None
            await other.exchange()
            assert enter(other, await known(other, who)) is None
            one.close()
            await other.exchange()
            assert enter(other, await known(other, who)) is not None

    run(work)


def test_the_loop_hears_who_is_in_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and not when it would look by itself: the test would not wait for that."""
    monkeypatch.setattr(module, "INTERVAL", 10 * PATIENCE)

    async def work() -> None:
        who = client("1 concurrent")
        async with relays(tmp_path / "relay.db") as (one,):
            one.start()
            plan = await known(one, who)
            for _ in range(20):
                assert enter(one, plan) is None
                woken = asyncio.Event()
                waiting = one.limiter.queue(plan, NOW(), time.monotonic(), woken.set)
                one.urge()
                await asyncio.wait_for(woken.wait(), PATIENCE)
                one.limiter.left(waiting, time.monotonic())
                one.limiter.slots.held.clear()
                await one.in_thread(one.shared.leave)

    run(work)


def test_rates_are_heard_of_and_survive(tmp_path: Path) -> None:
    async def work() -> None:
        who, began = client("10 requests/minute"), time.time()

        def is_near(used: float, expected: int) -> bool:
            """Ten are made good again in a minute."""
            return expected - (time.time() - began) / 6 - 0.1 <= used <= expected + 0.1

        async with relays(tmp_path / "relay.db", 2) as (one, other):
            here, there = await known(one, who), await known(other, who)
            for limiting, plan, count in ((one, here, 3), (other, there, 4)):
                for _ in range(count):
                    assert enter(limiting, plan)
            for limiting in (one, other, one):
                await limiting.exchange()
            for limiting in (one, other):
                [standing] = await limiting.standing(who, NOW())
                assert is_near(standing.used, 7)
            assert enter(one, here)
        async with relays(tmp_path / "relay.db") as (later,):
            [standing] = await later.standing(who, NOW())
            assert is_near(standing.used, 8)

    run(work)


def test_a_relay_alone_tells_of_rates_from_time_to_time_and_at_once_when_another_comes(tmp_path: Path) -> None:
    path, asked = tmp_path / "relay.db", [time.time()]

    def told() -> int:
        """How many requests: each moves the time six seconds on from when the first was asked."""
        with closing(connect(path, patience=PATIENCE)) as connection:
            tats = connection.execute("SELECT tat FROM client_rates").fetchall()
        return sum(round((tat - asked[0]) / 6) for (tat,) in tats)

    async def work() -> None:
        who = client("10 requests/minute", "9 concurrent")
        async with relays(path, 2) as (one, other):
            plan = await known(one, who)
            assert enter(one, plan) is None
            await one.exchange()
            asked[0] = time.time()
            for _ in range(3):
                assert enter(one, plan)
            await one.exchange()
            assert (one.company, told()) == (False, 0)
            assert enter(other, await known(other, who)) is None
            await other.exchange()
            assert other.company
            await one.exchange()
            assert one.company
            assert one.urged.is_set()
            await one.exchange()
            assert told() == 3

    run(work)


def test_what_others_have_spent_is_heard_of(tmp_path: Path) -> None:
    path, who = tmp_path / "relay.db", client("$9/day", "$9/total per session", "$9/5h")

    async def spent(limiting: Limiting) -> list[float]:
        return [standing.used for standing in await limiting.standing(who, time.time(), session="s")]

    async def work() -> None:
        async with relays(path) as (one,):
            assert await spent(one) == [0, 0, 0]
            await asyncio.to_thread(write, path, 1.5, session="s")
            await one.look()
            assert await spent(one) == [1.5, 1.5, 1.5]
            await asyncio.to_thread(write, path, 2.0, session="another")
            await one.look()
            assert await spent(one) == [3.5, 1.5, 3.5]

    run(work)


def test_what_is_counted_here_is_counted_once(tmp_path: Path) -> None:
    path, who = tmp_path / "relay.db", client("$9/day", "$9/5h")

    async def work() -> None:
        async with relays(path) as (one,):
            admission = enter(one, await known(one, who))
            assert admission is not None
            for spending in admission.plan.spendings:
                spending.spend(time.time(), 2.0)
            one.whole = lambda: False
            await one.look()
            await asyncio.to_thread(write, path, 2.0)
            await one.look()
            assert [standing.used for standing in await one.standing(who, time.time())] == [2.0, 2.0]
            one.whole = lambda: True
            await one.look()
            assert [standing.used for standing in await one.standing(who, time.time())] == [2.0, 2.0]
            await one.look()
            assert all(not spending.own for spending in one.limiter.spendings.values())

    run(work)


def test_a_database_that_is_none_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "relay.db"
    path.write_bytes(b"no database at all" * 100)

    async def work() -> None:
        who = client("2 requests/minute", "$1/day")
        async with relays(path) as (one,):
            plan = await one.plan(who, "m", "s", None)
            assert [str(bound.limit) for bound in one.limiter.missing(plan.bounds)] == ["$1/day"]
            assert one.limiter.plan_of(who, "m", "s", None) is None  # it is read again
            rate = [bound for bound in plan.bounds if bound.limit.measure == "requests"]
            assert one.limiter.enter(plan, Weight(runs=False), NOW(), time.monotonic())
            for _ in range(3):
                await one.exchange()
            assert one.limiter.rates[rate[0].key].moved == pytest.approx(30)
            path.unlink()
            await one.exchange()
            assert one.limiter.rates[rate[0].key].moved == 0

    run(work)
    said = [record.getMessage() for record in caplog.records]
    assert sum("places and rates cannot be kept up" in text for text in said) == 1
    assert sum("places and rates are kept up with the database again" in text for text in said) == 1


def test_a_relay_without_clients_leaves_the_database_alone(tmp_path: Path) -> None:
    async def work() -> None:
        async with relays(tmp_path / "relay.db") as (one,):
            one.urge()
            await one.turn()

    run(work)
    assert not (tmp_path / "relay.db").exists()
