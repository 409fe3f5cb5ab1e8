"""What of a request has not left this machine, by the sockets that carry it."""

from __future__ import annotations

import asyncio
import sys
from types import SimpleNamespace

import pytest
from mitmproxy.connection import Server

from claude_relay.proxy.mitm.waiting import drop, has_unsent, unsent, unsent_of_all
from proxy.stage import mitmproxy_with
from waiting import PATIENCE

from .test_backpressure import fill, stage, swallow


def test_bytes_that_wait_are_counted_until_they_have_gone() -> None:
    async def main() -> None:
        async with stage() as on:
            with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={on.client.id: on.handler})):
                assert (unsent(on.client, on.server), unsent_of_all()) == (0, 0)
                fill(on.handler, on.server)
                assert has_unsent(on.client, on.server)
                assert not has_unsent(on.client, on.client)
                assert unsent(on.client, on.server) >= unsent_of_all() > 0
                reading = asyncio.ensure_future(swallow(on.peers[1]))
                async with asyncio.timeout(PATIENCE):
                    while unsent(on.client, on.server):  # noqa: ASYNC110 - the kernel tells nobody
                        await asyncio.sleep(0.01)
                assert unsent_of_all() == 0
                reading.cancel()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_bytes_that_the_kernel_holds_count() -> None:
    async def main() -> None:
        async with stage() as on:
            with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={on.client.id: on.handler})):
                transport = on.handler.transports[on.server].writer.transport
                while not transport.get_write_buffer_size():
                    transport.write(b"x" * (1 << 16))
                waiting = transport.get_write_buffer_size()
                assert unsent(on.client, on.server) > waiting

    asyncio.run(main())


def test_a_connection_is_dropped_only_with_what_nobody_reads() -> None:
    async def main() -> None:
        async with stage() as on:
            with mitmproxy_with(SimpleNamespace(name="proxyserver", connections={on.client.id: on.handler})):
                transport = on.handler.transports[on.server].writer.transport
                drop(on.client, on.server)
                assert not transport.is_closing()
                fill(on.handler, on.server)
                drop(on.client, on.server)
                assert transport.is_closing()
                gone = Server(address=("127.0.0.1", 1))
                drop(on.client, gone)
                assert (unsent(on.client, gone), has_unsent(on.client, gone)) == (0, False)

    asyncio.run(main())
