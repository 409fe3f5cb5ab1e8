"""Whoever does not read stops whoever sends: real sockets under mitmproxy's connection handler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import options
from mitmproxy.addons.proxyserver import Proxyserver
from mitmproxy.connection import Server
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import ConnectionIO, SimpleConnectionHandler

from claude_relay.core.config import Bounds
from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.mitm import backpressure
from claude_relay.proxy.mitm.backpressure import Drain, attach
from claude_relay.proxy.mitm.heads import BOUNDS
from proxy.stage import mitmproxy_with
from waiting import PATIENCE


@asynccontextmanager
async def stage() -> AsyncIterator[Any]:
    """A client's connection and one to an upstream, with the other ends of both."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    listener = await asyncio.start_server(lambda *pair: accepted.put_nowait(pair), "127.0.0.1", 0)
    host, port = listener.sockets[0].getsockname()
    ends = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection(host, port)
        ends.append((reader, writer, await accepted.get()))
    opts = options.Options()
    Proxyserver().load(opts)  # type: ignore[arg-type]
    handler = SimpleConnectionHandler(*ends[0][:2], opts, ProxyMode.parse("regular"), {})
    server = Server(address=(host, port))
    handler.transports[server] = ConnectionIO(reader=ends[1][0], writer=ends[1][1])
    try:
        yield SimpleNamespace(handler=handler, client=handler.client, server=server, peers=[end[2] for end in ends])
    finally:
        for _, writer, (_, other) in ends:
            writer.transport.abort()
            other.transport.abort()
        listener.close()
        await listener.wait_closed()


def fill(handler: SimpleConnectionHandler, connection: Any) -> None:
    """Write more than the kernel and a peer that does not read take."""
    handler.transports[connection].writer.write(b"x" * (32 << 20))  # type: ignore[union-attr, arg-type]


async def read(handler: SimpleConnectionHandler, connection: Any, drain: Drain) -> asyncio.Task[None]:
    """The connection has been read: its task waits until it may be read again."""
    task = asyncio.ensure_future(drain.drain())
    handler.transports[connection].handler = task
    return task


async def waits(task: asyncio.Task[None]) -> bool:
    done, _ = await asyncio.wait([task], timeout=0.1)
    return not done


async def swallow(peer: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    while await peer[0].read(1 << 20):
        pass


def test_where_all_is_read_nobody_waits() -> None:
    async def main() -> None:
        async with stage() as on:
            await asyncio.wait_for(Drain(on.handler).drain(), PATIENCE)

    asyncio.run(main())


@pytest.mark.parametrize("slow", ["client", "server"])
def test_an_upstream_is_read_when_its_client_has_room(slow: str) -> None:
    async def main() -> None:
        async with stage() as on:
            fill(on.handler, getattr(on, slow))
            task = await read(on.handler, on.server, Drain(on.handler))
            assert await waits(task)
            reading = asyncio.ensure_future(swallow(on.peers[slow == "server"]))
            await asyncio.wait_for(task, PATIENCE)
            reading.cancel()

    asyncio.run(main())


def test_one_upstream_that_does_not_read_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        async with stage() as on:
            other = Server(address=("127.0.0.1", 1))
            on.handler.transports[other] = ConnectionIO()
            fill(on.handler, on.server)
            await asyncio.wait_for(await read(on.handler, other, Drain(on.handler)), PATIENCE)
            task = await read(on.handler, on.client, Drain(on.handler))
            assert await waits(task)  # the client's next request may be for the one that does not read
            task.cancel()

    asyncio.run(main())


def test_a_brake_holds_the_client_only() -> None:
    async def main() -> None:
        async with stage() as on:
            with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={on.client.id: on.handler})):
                attach(on.handler)
                drain = on.handler.drain_writers.__self__
                backpressure.brake(on.client, hold=True)
                task = await read(on.handler, on.client, drain)
                assert await waits(task)
                await asyncio.wait_for(await read(on.handler, on.server, drain), PATIENCE)
                backpressure.brake(on.client, hold=False)
                await asyncio.wait_for(task, PATIENCE)
                drain.heard()

    asyncio.run(main())


@pytest.mark.parametrize("speaks", [False, True])
def test_who_says_nothing_is_hung_up_on(speaks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BOUNDS, "bounds", Bounds(head_time=0.05))

    async def main() -> None:
        async with stage() as on:
            with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={on.client.id: on.handler})):
                before = counted()["head"]
                forever = asyncio.ensure_future(asyncio.Event().wait())
                on.handler.transports[on.client].handler = forever
                attach(on.handler)
                if speaks:
                    on.handler.drain_writers.__self__.heard()
                done, _ = await asyncio.wait([forever], timeout=0.3 if speaks else PATIENCE)
                assert bool(done) is not speaks
                assert counted()["head"] - before == (not speaks)
                forever.cancel()

    asyncio.run(main())
