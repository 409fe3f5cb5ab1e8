"""Open dashboards: a process that does what pages of the overview do in browsers (static/live.js).

    python -m benchmark.dashboards PORT COOKIE COUNT     prints `ready`; then for each line it reads:
        open      all of them are loaded and listen; prints `open`
        close     all of them are left; prints how many times they were loaded

A dashboard listens for events, and loads itself anew when something changed, at most once in GAP seconds, as a browser asks for it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Final

GAP: Final = 5.0
SOON: Final = 0.2
TOPICS: Final = (b"event: requests", b"event: keys", b"event: relays")


class Dashboard:
    """One."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port, self.cookie = port, cookie
        self.loaded = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load it, and listen."""
        await self._load()
        reader, writer = await self._request("/api/events?brief=true", "text/event-stream", "keep-alive")
        self._task = asyncio.create_task(self._listen(reader, writer))

    async def close(self) -> None:
        """Leave it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        now, last, waiting = asyncio.get_running_loop().time, 0.0, None
        try:
            while line := await reader.readline():
                if not line.startswith(TOPICS) or (waiting is not None and not waiting.done()):
                    continue
                begin = max(SOON, last + GAP - now())
                last = now() + begin
                waiting = asyncio.create_task(self._later(begin))
        finally:
            writer.close()
            if waiting is not None:
                waiting.cancel()

    async def _later(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._load()

    async def _load(self) -> None:
        reader, writer = await self._request("/?span=24h", "text/html", "close")
        answer = await reader.read()
        writer.close()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the panel answered {answer[:60]!r}")
        self.loaded += 1

    async def _request(
        self, path: str, accept: str, connection: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\nAccept: {accept}\r\n"
            f"Accept-Encoding: gzip\r\nConnection: {connection}\r\n\r\n"
        )
        writer.write(head.encode())
        await writer.drain()
        return reader, writer


async def obey(port: int, cookie: str, count: int) -> None:
    """Until standard input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    dashboards: list[Dashboard] = []
    while order := (await lines.readline()).strip():
        if order == b"open":
            dashboards = [Dashboard(port, cookie) for _ in range(count)]
            await asyncio.gather(*(one.open() for one in dashboards))
            print("open", flush=True)
        else:
            await asyncio.gather(*(one.close() for one in dashboards))
            print(sum(one.loaded for one in dashboards), flush=True)


if __name__ == "__main__":
    asyncio.run(obey(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
