"""The made-up Claude: an HTTP/1.1 server on a free port of 127.0.0.1, with an event loop in a thread of its own.

    with FakeClaude() as claude:
        claude.url                  # http://127.0.0.1:40123, a `base_url` for relay.yaml

It treats each key as `cast` says and answers anything else as the real one would: 401 without a known key, 404 for a path it
does not have. Streams come a word at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import count, cycle

from . import messages
from .cast import COUNT, LIST, MESSAGES, MODELS, Treatment, treatment_of
from .messages import Headers, dump

WINDOW = 2.0
"""Seconds in which the limited key is good for one request."""
THINKING = 0.25
"""Seconds until an answer begins; errors come at once."""
PACE = 0.02
"""Seconds between two events of a stream."""
START_SECONDS = 5.0
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 529: "Overloaded"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. Header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Mapping[str, object]:
        """The body's JSON object, empty when it is none."""
        try:
            found = json.loads(self.raw)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its body in pieces, a pause between them when it is a stream. `after`: seconds until it begins."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    stream: bool = False
    after: float = 0.0


@dataclass(slots=True)
class Claude:
    """What the upstream knows, and what it answers. No sockets in here; `now`: seconds since the epoch."""

    opens: float = 0.0
    """When the limited key is good for a request again."""
    numbers: count[int] = field(default_factory=lambda: count(1))
    texts: cycle[str] = field(default_factory=lambda: cycle(messages.ANSWERS))
    uses: Counter[str] = field(default_factory=Counter)
    cached: set[tuple[str, str]] = field(default_factory=set)

    def reply(self, request: Request, now: float) -> Reply:
        """The answer to a request."""
        key = request.headers.get("x-api-key", "")
        number = next(self.numbers)
        name = f"req_demo_{number:04}"
        beside = messages.headers(name, messages.CAPACITY - number, now + 60)
        treatment = treatment_of(key)
        if treatment is None or treatment is Treatment.REFUSED:
            return failure(401, "authentication_error", "invalid x-api-key", name, {"request-id": name})
        if request.path == LIST:
            return whole(messages.models(MODELS), beside)
        if request.path not in (MESSAGES, COUNT):
            return failure(404, "not_found_error", f"no such path: {request.path}", name, beside)
        if treatment is Treatment.LIMITED and (left := self.take_turn(now)) > 0:
            return limited(name, now, left)
        if request.path == COUNT:
            return whole({"input_tokens": messages.tokens(len(request.raw))}, beside)
        self.uses[key] += 1
        if treatment is Treatment.OVERLOADED and self.uses[key] % 2:
            return overloaded(name, beside, stream=bool(request.body.get("stream")))
        return self.answer(request, key, name, beside)

    def take_turn(self, now: float) -> float:
        """Seconds until the limited key is good for a request; 0.0: it is, for this one. At first it is not."""
        left = self.opens - now if self.opens else WINDOW
        if left <= 0 or not self.opens:
            self.opens = now + WINDOW
        return max(0.0, left)

    def answer(self, request: Request, key: str, name: str, beside: Headers) -> Reply:
        """A good answer."""
        model, text = str(request.body.get("model")), next(self.texts)
        spent = messages.usage(request.raw, cached=(key, model) in self.cached)
        self.cached.add((key, model))
        stream = bool(request.body.get("stream"))
        found = (
            streamed(messages.events(name, model, text, spent), beside)
            if stream
            else whole(messages.message(name, model, text, spent), beside)
        )
        return replace(found, after=THINKING)


def whole(value: object, beside: Headers, status: int = 200) -> Reply:
    """An answer in one piece."""
    return Reply(status, {"content-type": "application/json", **beside}, (dump(value),))


def streamed(pieces: Iterable[bytes], beside: Headers) -> Reply:
    """A stream of events."""
    return Reply(200, {"content-type": "text/event-stream; charset=utf-8", **beside}, tuple(pieces), stream=True)


def failure(status: int, kind: str, text: str, name: str, beside: Headers) -> Reply:
    """An error in Claude's shape."""
    return whole(messages.error(kind, text, name), beside, status)


def limited(name: str, now: float, left: float) -> Reply:
    """No request is left until the window is over."""
    seconds = math.ceil(left)
    beside = messages.headers(name, 0, now + seconds) | {"retry-after": str(seconds)}
    text = "This request would exceed your organization's rate limit. Please try again later."
    return failure(429, "rate_limit_error", text, name, beside)


def overloaded(name: str, beside: Headers, *, stream: bool) -> Reply:
    """Overloaded: as a status, or as the first event under a status that says all is well."""
    if not stream:
        return failure(529, "overloaded_error", "Overloaded", name, beside)
    return streamed([messages.event("error", messages.error("overloaded_error", "Overloaded", name))], beside)


class FakeClaude:
    """The server, for as long as a `with` block lasts. `pace` stretches its pauses; 0.0: none."""

    def __init__(self, pace: float = 1.0) -> None:
        self.port = 0
        self.pace = pace
        self._claude = Claude()
        self._thread = threading.Thread(target=self._live, name="made-up Claude", daemon=True)
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeClaude:
        """Start it; it listens when this returns."""
        self._thread.start()
        self._ready.result(START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with whatever is under way."""
        loop, stop = self._ready.result(START_SECONDS)
        loop.call_soon_threadsafe(stop.set)
        self._thread.join(START_SECONDS)

    def _live(self) -> None:
        try:
            asyncio.run(self._main())
        except OSError as error:
            self._ready.set_exception(error)

    async def _main(self) -> None:
        stop = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()  # what is still open ends with the loop

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await read_request(reader)
                await write_reply(writer, self._claude.reply(request, time.time()), self.pace)
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The next request of a connection. Raises IncompleteReadError when there is none."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(first.split(" ")[1].partition("?")[0], headers, raw)


async def write_reply(writer: asyncio.StreamWriter, reply: Reply, pace: float) -> None:
    """Send an answer: a stream in chunks, anything else at once."""
    await asyncio.sleep(reply.after * pace)
    length = {"transfer-encoding": "chunked"} if reply.stream else {"content-length": str(len(reply.pieces[0]))}
    head = "".join(f"{name}: {value}\r\n" for name, value in (reply.headers | length).items())
    writer.write(f"HTTP/1.1 {reply.status} {REASONS[reply.status]}\r\n{head}\r\n".encode())
    for piece in reply.pieces:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.stream else piece)
        await writer.drain()
        if reply.stream:
            await asyncio.sleep(PACE * pace)
    if reply.stream:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
