"""An outbound proxy that speaks CONNECT and remembers how many tunnels it has made."""

from __future__ import annotations

import asyncio

from claude_relay.cli.fake.server import Serving


class OutboundProxy(Serving):
    """Runs in a thread of its own; tunnels lead where they are asked to."""

    def __init__(self) -> None:
        super().__init__(lambda _: asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._tunnel))
        self.tunnels = 0

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host, _, port = head.split(b" ")[1].decode().rpartition(":")
        there, away = await asyncio.open_connection(host, int(port))
        self.tunnels += 1
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
