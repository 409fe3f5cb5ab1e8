"""The made-up Claude: an HTTP/1.1 server on a free port of 127.0.0.1, in threads of its own.

    with FakeClaude() as claude:
        claude.url                  # http://127.0.0.1:40123, a `base_url` for relay.yaml

It treats each key as `cast` says and answers anything else as the real one would: 401 without a known key, 404 for a path it
does not have. Streams come a word at a time.
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count, cycle
from typing import Any

from . import messages
from .cast import COUNT, LIST, MESSAGES, MODELS, Treatment, treatment_of
from .messages import Headers, dump

WINDOW = 2.0
"""Seconds in which the limited key is good for one request."""
THINKING = 0.25
"""Seconds until an answer begins; errors come at once."""
PACE = 0.02
"""Seconds between two events of a stream."""
POLL = 0.05
"""Seconds until the server notices that it should end."""
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
        self._server = _Server(pace)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=[POLL], name="made-up Claude")

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakeClaude:
        """Start it; it listens already."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, with whatever is under way."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """One thread a connection; they end with the server."""

    daemon_threads = False

    def __init__(self, pace: float) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.pace = pace
        self._claude = Claude()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def reply(self, request: Request) -> Reply:
        """The answer, decided by one request at a time."""
        with self._lock:
            return self._claude.reply(request, time.time())

    def process_request(self, request: Any, client_address: Any) -> None:
        """A connection begins."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """A connection ends."""
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections, so that no thread waits for more."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Connection(BaseHTTPRequestHandler):
    """Reads requests one after the other and writes their answers: a stream in chunks, anything else at once."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_POST(self) -> None:
        """Any request."""
        raw = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            self._write(self.server.reply(Request(self.path.partition("?")[0], headers, raw)))
        except ConnectionError:
            self.close_connection = True

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        """Nobody wants to read that."""

    def _write(self, reply: Reply) -> None:
        self._pause(reply.after)
        self.send_response(reply.status, REASONS[reply.status])
        length = ("transfer-encoding", "chunked") if reply.stream else ("content-length", str(len(reply.pieces[0])))
        for name, value in (*reply.headers.items(), length):
            self.send_header(name, value)
        self.end_headers()
        for piece in reply.pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if reply.stream else piece)
            self._pause(PACE if reply.stream else 0.0)
        if reply.stream:
            self.wfile.write(b"0\r\n\r\n")

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds * self.server.pace)
