"""Limits of clients over several relay processes on one database."""

from __future__ import annotations

import asyncio
from collections import Counter

from waiting import eventually

from . import steps
from .limiting import Crowd, add, at_once
from .test_several import Group, group
from .upstream import FakeUpstream, Signal

__all__ = ["group"]


def test_concurrent_requests_of_two_relays_are_never_more_than_the_limit(group: Group, upstream: FakeUpstream) -> None:
    group.add_keys(1)
    group.config["retry"]["max_wait"] = "60s"
    crowd = Crowd(upstream, 3)
    one, other = group.start()
    key = add(group.database, "alice", "3 concurrent")

    async def both() -> list[int]:
        found = await asyncio.gather(*(at_once(member.base_port, key, [({}, {})] * 8) for member in (one, other)))
        return [status for part in found for status, _, _ in part]

    assert Counter(asyncio.run(both())) == {200: 16}
    assert crowd.peak == 3


def test_places_of_a_relay_that_is_killed_are_free_when_its_lease_is_over(group: Group, upstream: FakeUpstream) -> None:
    group.add_keys(1)
    group.config["retry"]["max_wait"] = "100ms"
    go = Signal("go")
    upstream.script(*[steps.after(go, steps.message())] * 2)
    one, other = group.start()
    key = add(group.database, "alice", "2 concurrent")
    assert other.client is not None
    assert one.client is not None

    async def two() -> None:
        await at_once(one.base_port, key, [({}, {})] * 2)

    async def killed() -> None:
        asking = asyncio.ensure_future(two())
        await asyncio.to_thread(upstream.wait_for_requests, 2)
        await asyncio.to_thread(one.kill)
        await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(killed())
    statuses: list[int] = []

    def served() -> bool:
        assert other.client is not None
        answer = other.client.ask("POST", "/v1/messages", headers=[("x-api-key", key)], body=b'{"model": "m"}')
        statuses.append(answer.status)
        return answer.status == 200

    eventually(served)
    assert statuses[0] == 429
    go.set()


def test_a_rate_that_one_has_used_up_is_known_to_the_other(group: Group) -> None:
    group.add_keys(1)
    one, other = group.start()
    key = add(group.database, "alice", "6 requests/minute")
    asyncio.run(at_once(one.base_port, key, [({}, {})] * 6))
    assert other.client is not None
    eventually(lambda: bool(group.sql("SELECT 1 FROM client_rates")))
    answer = other.client.ask("POST", "/v1/messages", headers=[("x-api-key", key)], body=b'{"model": "m"}')
    assert answer.status == 429
