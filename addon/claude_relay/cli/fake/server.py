"""The made-up Claude's server: HTTP/1.1 on a free port of 127.0.0.1.

    class Connection(server.Connection):
        def asked(self, head, body):
            self.say(FAULTS["overloaded"])

    with Serving(lambda opened: Connection(opened)) as serving:         in a thread; or `listen` in an event loop of one's own
        serving.url                                                     http://127.0.0.1:40123

It reads no more of a request than it must: the benchmark measures what stands in front of it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Final, Protocol, Self, cast

from .answers import Answer, End

LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST_CHUNK: Final = b"0\r\n\r\n"
REASONS: Final = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
LINGER_RESET: Final = struct.pack("ii", 1, 0)
PATIENCE: Final = 60.0
"""Seconds for starting and ending."""


# -- bytes


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Answer')}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def written(answer: Answer) -> Iterator[bytes]:
    """An answer's bytes: the head, each piece, the end if it has one."""
    if answer.status:
        length = ("Content-Length", str(sum(map(len, answer.pieces))))
        framing = ("Transfer-Encoding", "chunked") if answer.stream else length
        yield head(answer.status, (*answer.headers.items(), framing))
    yield from map(chunk, answer.pieces) if answer.stream else answer.pieces
    if answer.stream and answer.end is End.WHOLE:
        yield LAST_CHUNK


def whole_bytes(answer: Answer) -> bytes:
    """All at once, for those who send the same many times."""
    return b"".join(written(answer))


# -- connections


class Connection(asyncio.Protocol):
    """One connection; requests on it are answered one after the other. `opened` holds those that are open."""

    transport: asyncio.Transport

    def __init__(self, opened: set[Open]) -> None:
        self.opened = opened
        self.buffer = bytearray()
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast(asyncio.Transport, transport)
        self.opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop sending."""
        self.opened.discard(self)
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Pass on every request that is whole."""
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end])
            length = LENGTH.search(head)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            body = bytes(self.buffer[end + 4 : whole])
            del self.buffer[:whole]
            self.request_received(head, body)

    def request_received(self, head: bytes, body: bytes) -> None:
        """A request has come; its head is without the empty line."""
        raise NotImplementedError

    def say(self, answer: Answer) -> None:
        """Send an answer, by the clock if it has pauses."""
        if answer.after or answer.pause:
            self.later(answer.after, self._go_on, answer, written(answer))
        else:
            self.transport.write(whole_bytes(answer))
            self._end(answer)

    def later(self, seconds: float, step: Callable[..., None], *arguments: object) -> None:
        """The next thing to do, unless the connection is lost before."""
        self.timer = asyncio.get_running_loop().call_later(seconds, step, *arguments)

    def _go_on(self, answer: Answer, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, None)
        if piece is None:
            self._end(answer)
        else:
            self.transport.write(piece)
            self.later(answer.pause, self._go_on, answer, pieces)

    def _end(self, answer: Answer) -> None:
        if answer.end is End.CLOSE:
            self.transport.close()
        elif answer.end is End.RESET:
            reset(self.transport)


def reset(transport: asyncio.Transport) -> None:
    """TCP reset."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    transport.abort()


# -- servers


class Open(Protocol):
    """What has a connection to end."""

    transport: asyncio.Transport


async def listen(
    connect: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None
) -> tuple[asyncio.Server, int]:
    """A server in this event loop, and its port."""
    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0, ssl=tls, backlog=1024)
    return server, server.sockets[0].getsockname()[1]


class Serving:
    """A server in a thread with an event loop of its own, for as long as a `with` block lasts. Ends with whatever is under way."""

    port: int

    def __init__(self, connect: Callable[[set[Open]], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.open: set[Open] = set()
        self._connect = connect

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it. Raises OSError when there is no port."""
        ready: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), name="made-up Claude", daemon=True
        )
        self._thread.start()
        self.port = ready.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        """End it. Raises RuntimeError when it does not end."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise RuntimeError("the made-up Claude does not stop")

    async def _serve(self, ready: concurrent.futures.Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            server, port = await listen(lambda: self._connect(self.open), self.tls)
        except OSError as error:
            ready.set_exception(error)
            return
        ready.set_result(port)
        await self._stop.wait()
        for listener in server.sockets:
            self._loop.remove_reader(listener)
        # A connection that was accepted just now has a task that closes it only if it has begun, and before the server is closed.
        await asyncio.sleep(0)
        server.close()
        for connection in list(self.open):
            connection.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await server.wait_closed()
