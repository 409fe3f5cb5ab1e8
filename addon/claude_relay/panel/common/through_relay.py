"""Requests that the panel sends to models: through the base URL of a relay that runs here, as the panel's own client.

    door = parts.through.door()                         raises Problem 503 where no relay runs
    key = parts.through.key()                           of the client `panel`; made at the first use, in memory only
    answer = await begin(door, path, fields, body)      its head; `async for piece in answer: ...` for what follows
    await answer.close()                                the connection is cut, and the relay ends what runs

Each stream has a thread, which waits for the relay, so that nothing else does. It must not know what is requested.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from claude_relay.core.config import Address, Config
from claude_relay.core.config.listening import near
from claude_relay.core.times import HOUR
from claude_relay.store.audit import Actor
from claude_relay.store.clients.internal import renew
from claude_relay.store.shared.relays import RelayRow
from claude_relay.upstream.base_url import REFUSED, Door

from .problems import Problem

RENEWED: Final = 12 * HOUR
"""Seconds after which another key is made: well before the one before would be over because another panel made one."""
MOST: Final = 32
"""Streams at the same time."""
PATIENCE: Final = 900.0
"""Seconds without a byte; the relay gives up sooner."""
PIECE: Final = 64 * 1024
AHEAD: Final = 64
"""Pieces that may wait for a slow browser."""


@dataclass
class ThroughRelay:
    """The way through a relay. `config`: as it was when the panel began; `relays`: those that run."""

    config: Config
    named: Path | None
    relays: Callable[[], tuple[RelayRow, ...]]
    clock: Callable[[], float]
    _key: str = field(default="", repr=False)
    _made_at: float = 0.0
    _guard: threading.Lock = field(default_factory=threading.Lock)
    streams: int = 0

    def relay(self) -> RelayRow:
        """The one that runs here with a base URL: that of the same relay.yaml before others. Raises Problem."""
        here = [row for row in self.relays() if row.host == socket.gethostname() and row.listener("base_url")]
        if not here:
            text = "No relay with a base URL runs here. Start it, or set listen.base_url in relay.yaml."
            raise Problem(409, "no_relay", text)
        own = str(self.named.resolve()) if self.named is not None else None
        return next((row for row in here if row.config == own), here[0])

    def door(self) -> Door:
        """Where it listens. Raises Problem."""
        listener = self.relay().listener("base_url")
        assert listener is not None
        listen = self.config.listen
        return Door(near(listen, Address.parse(listener)), listen.tls.cert if listen.tls is not None else None)

    def providers(self) -> tuple[str, ...]:
        """Those of that relay, in the order of relay.yaml. Raises Problem."""
        return tuple(json.loads(self.relay().pools))

    def key(self, *, anew: bool = False) -> str:
        """A key of the client `panel`. `anew`: the last one was refused. Raises StoreError."""
        with self._guard:
            if anew or not self._key or self.clock() > self._made_at + RENEWED:
                actor = Actor("panel", "panel", socket.gethostname())
                _, self._key = renew(self.config.database, actor)
                self._made_at = self.clock()
            return self._key


@dataclass(eq=False)
class Answer:
    """An answer under way. `fields`: names in lower case."""

    status: int
    fields: Mapping[str, str]
    _stream: _Stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        """What follows, as it comes. Raises OSError or HTTPException where it breaks off."""
        return self._stream.pieces()

    def close(self) -> None:
        """Nobody wants the rest."""
        self._stream.close()

    async def whole(self) -> bytes:
        """All of it."""
        return b"".join([piece async for piece in self])


async def begin(door: Door, path: str, fields: Mapping[str, str], body: bytes) -> Answer:
    """Send it, and wait for the head of the answer; when this is cancelled, the connection is cut. Raises what is in REFUSED."""
    stream = _Stream(asyncio.get_running_loop(), door.connection(PATIENCE))
    request = path, body, {"accept-encoding": "identity", **fields}
    threading.Thread(target=stream.run, args=request, daemon=True, name="through the relay").start()
    try:
        status, found = await stream.head
    except BaseException:
        stream.close()
        raise
    return Answer(status, found, stream)


class _Stream:
    """One exchange in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: HTTPConnection) -> None:
        self.loop, self.connection = loop, connection
        self.head: asyncio.Future[tuple[int, Mapping[str, str]]] = loop.create_future()
        self.queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(AHEAD)
        self.closed = threading.Event()

    def run(self, path: str, body: bytes, fields: Mapping[str, str]) -> None:
        """In the thread."""
        try:
            self.connection.connect()
            if self.closed.is_set():
                return
            self.connection.request("POST", path, body, dict(fields))
            answer = self.connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            self._call(self._settle, (answer.status, found))
            while not self.closed.is_set() and (piece := answer.read1(PIECE)):
                self._put(piece)
            self._put(None)
        except REFUSED as error:
            self._call(self._fail, error)
            self._put(error)
        finally:
            self.connection.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """On the loop."""
        try:
            while (piece := await self.queue.get()) is not None:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.close()

    def close(self) -> None:
        """Cut the connection, which wakes the thread wherever it waits."""
        self.closed.set()
        if (sock := self.connection.sock) is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        while not self.queue.empty():
            self.queue.get_nowait()

    def _put(self, piece: bytes | Exception | None) -> None:
        waiting = None
        with suppress(RuntimeError, CancelledError):  # the loop has ended
            waiting = asyncio.run_coroutine_threadsafe(self.queue.put(piece), self.loop)
        while waiting is not None and not self.closed.is_set():
            try:
                waiting.result(1.0)
                return
            except TimeoutError:
                continue
            except CancelledError:
                return

    def _call(self, function: Callable[..., None], value: object) -> None:
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, value)

    def _settle(self, found: tuple[int, Mapping[str, str]]) -> None:
        if not self.head.done():
            self.head.set_result(found)

    def _fail(self, error: Exception) -> None:
        if not self.head.done():
            self.head.set_exception(error)
