"""The made-up Claude's server: HTTP/1.1 on a free port of 127.0.0.1, in threads of its own.

    with FakeClaude() as claude:
        claude.url                  # http://127.0.0.1:40123, a `base_url` for relay.yaml

What it answers is decided in `claude`; streams come a word at a time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .claude import Claude, Reply, Request

PACE = 0.02
"""Seconds between two events of a stream."""
POLL = 0.05
"""Seconds until the server notices that it should end."""
REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 529: "Overloaded"}


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
    server_version, sys_version = "made-up-claude", ""
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
