"""Providers and outbound proxies of all kinds on this machine, for the relay's own requests."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from claude_relay.core.config import Provider, parse
from claude_relay.core.exchange import Key
from waiting import PATIENCE

MODELS = b'{"data": [{"type": "model", "id": "claude-sonnet-5"}], "has_more": true}'


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


NO_CREDIT = error("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "valid": (200, {}, MODELS),
    "limited": (429, {"retry-after": "600"}, error("rate_limit_error", "slow down")),
    "vague": (429, {}, error("rate_limit_error", "slow down")),
    "broke": (400, {}, NO_CREDIT),
    "revoked": (401, {}, error("authentication_error", "invalid x-api-key")),
    "disabled": (403, {}, error("permission_error", "This organization has been disabled.")),
    "forbidden": (403, {}, b"<html>a middlebox</html>"),
    "absent": (404, {}, error("not_found_error", "no such path")),
    "down": (529, {}, error("overloaded_error", "Overloaded")),
    "html": (200, {"content-type": "text/html"}, b"<html>sign in</html>"),
    "moved": (302, {"location": "http://127.0.0.1:1/"}, b""),
    "mistaken": (200, {}, error("authentication_error", "no")),
}


def secret(name: str) -> str:
    return f"sk-ant-{name}-0123456789abcdef0123456789"


class Upstream(ThreadingHTTPServer):
    """Answers by the word in the key, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None, barrier: threading.Barrier | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.barrier = barrier
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that trusts nobody hangs up: nothing to say."""


class Answering(BaseHTTPRequestHandler):
    server: Upstream

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers))
        if self.server.barrier:
            self.server.barrier.wait(PATIENCE)
        words = f"{self.path} {headers}".split("sk-ant-", 1)[-1]
        status, more, body = ANSWERS.get(words.split("-")[0], ANSWERS["valid"])
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(body))} | more).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Silence."""


@contextmanager
def serving(server: Upstream) -> Iterator[Upstream]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    with server:
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(PATIENCE)


@contextmanager
def tunnelling(context: ssl.SSLContext | None = None, status: str = "200 Fine") -> Iterator[tuple[int, list[bytes]]]:
    """A proxy that knows CONNECT; its port, and what it was asked."""
    heard: list[bytes] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):
            stack.enter_context(client)
            if context:
                client = stack.enter_context(context.wrap_socket(client, server_side=True))
            heard.append(client.recv(65536))
            client.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
            if not status.startswith("200"):
                return
            host, port = heard[-1].split(b" ")[1].decode().rsplit(":", 1)
            target = stack.enter_context(socket.create_connection((host, int(port)), PATIENCE))
            back = threading.Thread(target=pump, args=(target, client), daemon=True)
            back.start()
            pump(client, target)
            back.join(PATIENCE)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


def provider(base_url: str, **more: object) -> Provider:
    text = json.dumps({"providers": {"p": {"base_url": base_url, **more}}})
    return parse(text, environ={}).providers["p"]


def issued(name: str = "valid", proxy: str | None = None) -> Key:
    return Key("p", "v1", secret(name), "1", proxy=proxy)


def answering(*pieces: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)

    return answer


@contextmanager
def raw(answer: Callable[[socket.socket], None] | None) -> Iterator[str]:
    """Somebody who answers one connection in his own way; None: never."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    if answer:
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        if answer:
            thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        if answer:
            thread.join(PATIENCE)
