"""An outbound proxy that speaks CONNECT and remembers how many tunnels it has made."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading


class OutboundProxy:
    """Runs in a thread of its own; tunnels lead where they are asked to."""

    def __init__(self) -> None:
        self.tunnels = 0
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> OutboundProxy:
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(ready)), name="outbound proxy")
        self._thread.start()
        self.port = ready.result(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        assert not self._thread.is_alive()

    async def _main(self, ready: concurrent.futures.Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._tunnel, "127.0.0.1", 0)
        ready.set_result(server.sockets[0].getsockname()[1])
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await server.wait_closed()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, away = await asyncio.open_connection(host, int(port))
        self.tunnels += 1
        self._writers |= {writer, away}
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(self._pass(reader, away), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()
