"""FakeUpstream: a Claude on a port of this machine that answers by script and remembers everything.

    with FakeUpstream() as upstream:
        upstream.script(status(529, "overloaded_error", "Overloaded"), stream())      # first request, second request
        upstream.for_key("bad-1", status(401, "authentication_error", "invalid x-api-key"))
        …
        upstream.requests[0].body

It runs in a thread with an event loop of its own: plain, with TLS, or with HTTP/2 over TLS (by ALPN). A *step* answers
one request: an async callable that is given an `Exchange` (see `wire.steps`). The next of `script` is taken first, then
the next of the request's key, then `default`. Nothing here sleeps: a step waits for a `Signal` of the test's, or for
the client to go.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

from claude_relay.cli.fake import server
from waiting import PATIENCE

Headers = list[tuple[str, str]]
NOT_IN_H2 = ("transfer-encoding", "connection", "keep-alive", "proxy-connection", "upgrade")


class ClientGone(Exception):
    """The client closed the connection or reset the stream while a step was at work."""


class Signal:
    """An event between the test's thread and the upstream's loop."""

    def __init__(self, name: str = "signal") -> None:
        self.name = name
        self._done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._lock = threading.Lock()

    def set(self) -> None:
        with self._lock:
            if not self._done.done():
                self._done.set_result(None)

    def is_set(self) -> bool:
        return self._done.done()

    def wait(self, timeout: float = PATIENCE) -> None:
        """For the test. Raises TimeoutError by name."""
        try:
            self._done.result(timeout)
        except TimeoutError:
            raise TimeoutError(f"{self.name} did not happen within {timeout} s") from None

    async def happened(self) -> None:
        """For a step."""
        await asyncio.shield(asyncio.wrap_future(self._done))


@dataclass
class Recorded:
    """One request as it came, and what became of it."""

    connection: int
    version: str
    method: str
    path: str
    headers: Headers
    at: float
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    whole: Signal = field(default_factory=lambda: Signal("the request's end"))
    gone: Signal = field(default_factory=lambda: Signal("the client leaving the request"))
    """Set when the client closed or reset before the answer was finished."""
    answered: Signal = field(default_factory=lambda: Signal("the answer's end"))

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    @property
    def key(self) -> str:
        """The credential, whichever way it came; empty without one."""
        bearer = self.header("authorization") or ""
        return self.header("x-api-key") or bearer.removeprefix("Bearer ")


class Exchange:
    """What a step is given: the request, and the pen. `send` waits while the client does not read."""

    def __init__(self, request: Recorded, upstream: FakeUpstream) -> None:
        self.request = request
        self.upstream = upstream

    async def read_request(self) -> None:
        """Waits for the rest of the request (only steps that run at the head need it)."""
        await self.wait(self.request.whole)

    async def wait(self, signal: Signal) -> None:
        """Waits for the test. Raises ClientGone when the client goes first."""
        waiting = [asyncio.ensure_future(s.happened()) for s in (signal, self.request.gone)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if not signal.is_set():
            raise ClientGone

    async def until_gone(self) -> None:
        await self.request.gone.happened()

    async def informational(self, status: int) -> None:
        raise NotImplementedError

    async def head(self, status: int, headers: Headers) -> None:
        raise NotImplementedError

    async def send(self, data: bytes) -> None:
        raise NotImplementedError

    async def end(self, trailers: Headers | None = None) -> None:
        raise NotImplementedError

    async def reset(self) -> None:
        """TCP reset, or RST_STREAM."""
        raise NotImplementedError

    async def close(self) -> None:
        """Closes the connection as it is."""
        raise NotImplementedError


Run = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True)
class Step:
    """Answers one request.

    when   "request": it is whole; "head": its body may still come; "accept": nothing came yet
    """

    run: Run
    when: str = "request"


class _Connection(asyncio.Protocol):
    """One client connection; hands itself to HTTP/1.1 or HTTP/2 by what TLS agreed on."""

    transport: asyncio.Transport

    def __init__(self, upstream: FakeUpstream) -> None:
        self.upstream = upstream
        self.number = 0
        self.lost = False
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.number = self.upstream.opened(self)
        tls = transport.get_extra_info("ssl_object")
        self.speaker = (_Http2 if tls is not None and tls.selected_alpn_protocol() == "h2" else _Http1)(self)

    def data_received(self, data: bytes) -> None:
        self.speaker.received(data)

    def eof_received(self) -> bool:
        self.speaker.left("half-closed" if not self.lost else "closed")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.writable.set()
        self.speaker.left("reset" if isinstance(exc, ConnectionResetError) else "closed")
        self.upstream.closed(self)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    async def write(self, data: bytes) -> None:
        await self.writable.wait()
        if self.lost or self.transport.is_closing():
            raise ClientGone
        self.transport.write(data)

    def reset(self) -> None:
        server.reset(self.transport)


class _Http1:
    """Reads requests one after the other, answers them in their order."""

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.reader = asyncio.StreamReader(limit=1 << 27)
        self.current: Recorded | None = None
        self.task = connection.upstream.spawn(self.serve())

    def received(self, data: bytes) -> None:
        self.reader.feed_data(data)

    def left(self, how: str) -> None:
        with contextlib.suppress(AssertionError):
            self.reader.feed_eof()
        if self.current is not None and not self.current.answered.is_set():
            self.current.gone.set()

    async def serve(self) -> None:
        upstream = self.connection.upstream
        try:
            if (step := upstream.accept_step()) is not None:
                await step.run(_Answer1(Recorded(self.connection.number, "1.1", "", "", [], time.time()), self))
                return
            while not self.connection.transport.is_closing():
                request = await self.read_head()
                if request is None:
                    break
                await self.exchange(request)
        except (ClientGone, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connection.transport.close()

    async def read_head(self) -> Recorded | None:
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [(n, v.strip()) for n, _, v in (line.partition(":") for line in lines)]
        return Recorded(self.connection.number, "1.1", method, path, pairs, time.time())

    async def exchange(self, request: Recorded) -> None:
        upstream = self.connection.upstream
        self.current = request
        step = upstream.begin(request)
        answer = _Answer1(request, self)
        if step.when == "request":
            await self.read_body(request)
            await step.run(answer)
        else:
            await asyncio.gather(self.read_body(request), step.run(answer))
        if not answer.over and not self.connection.transport.is_closing():
            await answer.end()

    async def read_body(self, request: Recorded) -> None:
        if (request.header("expect") or "").lower() == "100-continue":
            await self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (request.header("transfer-encoding") or "").lower():
            await self.read_chunks(request)
        else:
            request.body = await self.reader.readexactly(int(request.header("content-length") or 0))
        request.whole.set()

    async def read_chunks(self, request: Recorded) -> None:
        body = bytearray()
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        request.body = bytes(body)
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            request.trailers.append((name, value.strip()))


class _Answer1(Exchange):
    """An answer over HTTP/1.1. Framing follows the headers given: content-length, chunked, or until the close."""

    def __init__(self, request: Recorded, speaker: _Http1) -> None:
        super().__init__(request, speaker.connection.upstream)
        self.connection = speaker.connection
        self.chunked = self.until_close = self.over = False

    async def raw(self, data: bytes) -> None:
        await self.connection.write(data)

    async def informational(self, status: int) -> None:
        await self.raw(b"HTTP/1.1 %d Informational\r\n\r\n" % status)

    async def head(self, status: int, headers: Headers) -> None:
        names = {n.lower(): v for n, v in headers}
        self.chunked = "chunked" in names.get("transfer-encoding", "")
        self.until_close = not self.chunked and "content-length" not in names and status not in (204, 304)
        closing = [("Connection", "close")] if self.until_close else []
        await self.raw(server.head(status, [*headers, *closing]))

    async def send(self, data: bytes) -> None:
        if data:
            await self.raw(server.chunk(data) if self.chunked else data)

    async def end(self, trailers: Headers | None = None) -> None:
        self.over = True
        self.request.answered.set()
        if self.chunked:
            lines = "".join(f"{n}: {v}\r\n" for n, v in trailers or [])
            await self.raw(b"0\r\n" + lines.encode("latin-1") + b"\r\n")
        elif self.until_close:
            self.connection.transport.close()

    async def reset(self) -> None:
        self.over = True
        self.request.answered.set()
        self.connection.reset()

    async def close(self) -> None:
        self.over = True
        self.request.answered.set()
        self.connection.transport.close()


class _Http2:
    """Answers every stream in a task of its own."""

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="latin-1", validate_inbound_headers=False)
        )
        self.requests: dict[int, Recorded] = {}
        self.bodies: dict[int, bytearray] = {}
        self.window = asyncio.Event()
        self.h2.initiate_connection()
        if (most := connection.upstream.concurrent) is not None:
            self.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self.flush()

    def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.connection.transport.is_closing():
            self.connection.transport.write(data)

    def left(self, how: str) -> None:
        for request in self.requests.values():
            if not request.answered.is_set():
                request.gone.set()
        self.window.set()

    def received(self, data: bytes) -> None:
        try:
            found = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.flush()
            self.connection.transport.close()
            return
        for event in found:
            if handler := getattr(self, "on_" + re.sub("(?<!^)(?=[A-Z])", "_", type(event).__name__).lower(), None):
                handler(event)
        self.flush()

    def on_request_received(self, event: h2.events.RequestReceived) -> None:
        pairs = [(str(n), str(v)) for n, v in event.headers or []]
        pseudo = {n: v for n, v in pairs if n.startswith(":")}
        rest = [(n, v) for n, v in pairs if not n.startswith(":")] + [("host", pseudo.get(":authority", ""))]
        request = Recorded(self.connection.number, "2", pseudo[":method"], pseudo[":path"], rest, time.time())
        assert event.stream_id is not None
        self.requests[event.stream_id] = request
        self.bodies[event.stream_id] = bytearray()
        step = self.connection.upstream.begin(request)
        self.connection.upstream.spawn(self.exchange(event.stream_id, request, step))

    async def exchange(self, stream_id: int, request: Recorded, step: Step) -> None:
        answer = _Answer2(request, self, stream_id)
        with contextlib.suppress(ClientGone, h2.exceptions.ProtocolError):
            if step.when == "request":
                await answer.read_request()
            await step.run(answer)
            if not answer.over:
                await answer.end()

    def on_data_received(self, event: h2.events.DataReceived) -> None:
        assert event.stream_id is not None
        self.bodies[event.stream_id] += event.data or b""
        if pause := self.connection.upstream.window_pause:
            asyncio.get_running_loop().call_later(pause, self.make_room, event)
        else:
            self.make_room(event)

    def make_room(self, event: h2.events.DataReceived) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            self.flush()

    def on_trailers_received(self, event: h2.events.TrailersReceived) -> None:
        assert event.stream_id is not None
        self.requests[event.stream_id].trailers += [(str(n), str(v)) for n, v in event.headers or []]

    def on_stream_ended(self, event: h2.events.StreamEnded) -> None:
        assert event.stream_id is not None
        request = self.requests[event.stream_id]
        request.body = bytes(self.bodies[event.stream_id])
        request.whole.set()

    def on_stream_reset(self, event: h2.events.StreamReset) -> None:
        assert event.stream_id is not None
        request = self.requests.get(event.stream_id)
        if request is not None and not request.answered.is_set():
            request.gone.set()
        self.window.set()

    def on_window_updated(self, event: h2.events.WindowUpdated) -> None:
        self.window.set()

    on_remote_settings_changed = on_window_updated


class _Answer2(Exchange):
    """An answer over HTTP/2. Framing headers of HTTP/1.1 are left out."""

    def __init__(self, request: Recorded, speaker: _Http2, stream_id: int) -> None:
        super().__init__(request, speaker.connection.upstream)
        self.speaker, self.stream_id = speaker, stream_id
        self.over = False

    def check(self) -> None:
        if self.request.gone.is_set() or self.speaker.connection.lost:
            raise ClientGone

    async def informational(self, status: int) -> None:
        self.speaker.h2.send_headers(self.stream_id, [(":status", str(status))])
        self.speaker.flush()

    async def head(self, status: int, headers: Headers) -> None:
        self.check()
        kept = [(n.lower(), v) for n, v in headers if n.lower() not in NOT_IN_H2]
        self.speaker.h2.send_headers(self.stream_id, [(":status", str(status)), *kept])
        self.speaker.flush()

    async def send(self, data: bytes) -> None:
        connection = self.speaker.h2
        while data:
            self.check()
            room = min(connection.local_flow_control_window(self.stream_id), connection.max_outbound_frame_size)
            if room <= 0:
                self.speaker.window.clear()
                await self.speaker.window.wait()
                continue
            connection.send_data(self.stream_id, data[:room])
            data = data[room:]
            self.speaker.flush()

    async def end(self, trailers: Headers | None = None) -> None:
        self.check()
        self.over = True
        self.request.answered.set()
        if trailers:
            self.speaker.h2.send_headers(self.stream_id, trailers, end_stream=True)
        else:
            self.speaker.h2.end_stream(self.stream_id)
        self.speaker.flush()

    async def reset(self) -> None:
        self.over = True
        self.request.answered.set()
        self.speaker.h2.reset_stream(self.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self.speaker.flush()

    async def refuse(self) -> None:
        """RST_STREAM that says that nothing was done."""
        self.over = True
        self.request.answered.set()
        self.speaker.h2.reset_stream(self.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
        self.speaker.flush()

    def announce_going_away(self) -> None:
        """GOAWAY that disowns later streams; this one goes on. h2's own would end the connection for both sides."""
        self.speaker.flush()
        self.speaker.connection.transport.write(GoAwayFrame(0, last_stream_id=self.stream_id).serialize())

    async def go_away(self) -> None:
        """GOAWAY that disowns this stream and all later ones, then the end of the connection."""
        self.over = True
        self.request.answered.set()
        self.speaker.h2.close_connection(last_stream_id=self.stream_id - 2 if self.stream_id > 1 else 0)
        self.speaker.flush()
        self.speaker.connection.transport.close()

    async def close(self) -> None:
        self.over = True
        self.request.answered.set()
        self.speaker.connection.transport.close()


class FakeUpstream(server.Serving):
    """A scripted server.

    tls         a context (see `certs.Authority.server_context`) whose ALPN decides on HTTP/2
    concurrent  streams that an HTTP/2 connection may carry at once
    window_pause  seconds after which an HTTP/2 connection makes room for what it has read
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        *,
        default: Step | None = None,
        concurrent: int | None = None,
        window_pause: float = 0.0,
    ) -> None:
        from . import steps

        super().__init__(lambda _: _Connection(self), tls)
        self.concurrent, self.window_pause = concurrent, window_pause
        self.default = default or steps.claude_default()
        self.requests: list[Recorded] = []
        self.connections = 0
        self._queue: deque[Step] = deque()
        self._by_key: dict[str, list[Step]] = {}
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: list[BaseException] = []

    # -- for tests
    def __exit__(self, *_: object) -> None:
        super().__exit__()
        assert not self.failures, self.failures

    def script(self, *found: Step) -> None:
        """The next requests, whosesoever they are, are answered by these, one after the other."""
        with self._changed:
            self._queue.extend(found)

    def for_key(self, key: str, *found: Step) -> None:
        """Requests with this credential are answered by these; the last one stays."""
        with self._changed:
            self._by_key[key] = list(found)

    def wait_for_requests(self, count: int, timeout: float = PATIENCE) -> list[Recorded]:
        """Waits until so many requests have begun to come."""
        self._wait(lambda: len(self.requests) >= count, f"{count} requests", timeout)
        return self.requests

    def wait_for_connections(self, count: int, timeout: float = PATIENCE) -> None:
        self._wait(lambda: self.connections >= count, f"{count} connections", timeout)

    def wait_until_idle(self, timeout: float = PATIENCE) -> None:
        """Waits until no connection is open."""
        self._wait(lambda: not self.open, "the last connection's end", timeout)

    def _wait(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"waited {timeout} s for {what}; so far {self.used_keys()}")

    def used_keys(self) -> list[str]:
        """The credentials of all requests, in their order."""
        return [r.key for r in self.requests]

    def paths(self) -> list[str]:
        return [r.path for r in self.requests]

    # -- for connections
    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._finished)
        self._tasks.add(task)  # the loop alone would let go of it
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None and not isinstance(problem, ClientGone):
            self.failures.append(problem)

    def opened(self, connection: _Connection) -> int:
        with self._changed:
            self.connections += 1
            self.open.add(connection)
            self._changed.notify_all()
            return self.connections

    def closed(self, connection: _Connection) -> None:
        with self._changed:
            self.open.discard(connection)
            self._changed.notify_all()

    def accept_step(self) -> Step | None:
        with self._changed:
            return self._queue.popleft() if self._queue and self._queue[0].when == "accept" else None

    def begin(self, request: Recorded) -> Step:
        """Notes the request and chooses its step."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            if self._queue:
                return self._queue.popleft()
            mine = self._by_key.get(request.key)
            if not mine:
                return self.default
            return mine.pop(0) if len(mine) > 1 else mine[0]


# -- ports that do not answer


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, and refuses every connection."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port where connections succeed and nothing ever answers: no TLS, no HTTP."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


@contextlib.contextmanager
def blackhole_port() -> Iterator[int]:
    """A port where connecting never comes to an end: its queue is full, further SYNs are dropped (Linux)."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
