"""One request over one connection: all of it in the given time, however slowly each part of it comes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from claude_relay.core.config import OutboundProxy, Trust
from claude_relay.upstream.connection import FAILURES, Connection, ProxyRefused
from upstream.providers import Upstream, answering, raw, serving, tunnelling
from waiting import PATIENCE
from wire.certs import Authority
from wire.socks import CONNECTED, GREETED, hostile, microsocks

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK"


@contextmanager
def dripping(begin: bytes, drop: bytes = b"x") -> Iterator[str]:
    """Somebody who says something, and then goes on, little by little, for ever."""
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(begin)
        while not stop.wait(0.02):
            connection.sendall(drop)

    with raw(drip) as address:
        yield address
        stop.set()


def response(url: str, proxy: str | None = None, seconds: float = PATIENCE) -> tuple[int, bytes]:
    with Connection(url, OutboundProxy.parse(proxy) if proxy else None, seconds) as connection:
        answer = connection.request("GET", "/a?b=c", {"x-name": "value"})
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("scheme", "begin", "through"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nx-never-ends: ", False),
        ("http", b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", False),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", False),
        ("https", b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03", False),  # the begin of a ServerHello
        ("http", b"HTTP/1.1 200 Go ahead\r\nx-never-ends: ", True),
    ],
    ids=["head", "body", "body without an end", "handshake", "proxy"],
)
def test_what_comes_in_drops_is_given_up_in_time(scheme: str, begin: bytes, through: bool) -> None:
    with dripping(begin) as address:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            response(f"{scheme}://{address}", f"http://{address}" if through else None, 0.3)
        assert 0.25 < time.monotonic() - began < PATIENCE


def test_a_request_that_nobody_takes_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Connection(url, None, 0.3) as connection, pytest.raises(TimeoutError):
            connection.request("POST", "/", {}, b"x" * (1 << 26))


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_a_large_answer_in_layers_of_tls(authority: Authority, outer: bool, inner: bool) -> None:
    body = bytes(range(256)) * 8192
    context = authority.server_context()

    class Large(Upstream):
        def __init__(self) -> None:
            super().__init__(context if inner else None)
            self.RequestHandlerClass = answering_with(body)

    with serving(Large()) as upstream, tunnelling(context if outer else None) as (port, heard):
        found = response(upstream.url, f"{'https' if outer else 'http'}://127.0.0.1:{port}")
    assert found == (200, body)
    assert len(heard) == 1


def answering_with(body: bytes) -> type:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)  # its end is that of the connection

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    return Handler


def heads() -> tuple[Callable[[socket.socket], None], list[bytes]]:
    found: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        found.append(connection.recv(65536))
        connection.sendall(GOOD)

    return answer, found


def test_the_request_as_it_leaves() -> None:
    answer, found = heads()
    with raw(answer) as address:
        assert response(f"http://{address}/not/this") == (200, b"OK")
    assert found == [
        f"GET /a?b=c HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: identity\r\nx-name: value\r\n\r\n".encode()
    ]


def test_an_address_of_version_6() -> None:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port, found = listener.getsockname()[1], list[bytes]()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                found.append(connection.recv(65536))
                connection.sendall(GOOD)

        thread = threading.Thread(target=serve)
        thread.start()
        assert response(f"http://[::1]:{port}") == (200, b"OK")
        thread.join(PATIENCE)
        assert f"\r\nHost: [::1]:{port}\r\n".encode() in found[0]


def test_no_redirect_is_followed() -> None:
    with raw(answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")) as address:
        assert response(f"http://{address}") == (302, b"")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", b"x" * 100_000])
def test_a_proxy_that_says_nothing_sensible(answer: bytes) -> None:
    with raw(answering(answer)) as address, pytest.raises(ProxyRefused):
        response("http://h.example", f"http://{address}")


def test_opened_without_a_request(authority: Authority) -> None:
    with (
        serving(Upstream(authority.server_context())) as upstream,
        Connection(upstream.url, None, PATIENCE) as connection,
    ):
        connection.open()
    assert upstream.requests == []
    with (
        raw(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address,
        Connection(f"https://{address}", None, PATIENCE) as connection,
        pytest.raises(FAILURES),
    ):
        connection.open()


# -- through SOCKS5


def through(url: str, proxy: OutboundProxy, seconds: float = PATIENCE) -> tuple[int, bytes]:
    with Connection(url, proxy, seconds) as connection:
        answer = connection.request("GET", "/", {})
        return answer.status, answer.read()


@pytest.mark.parametrize("user", ["", "me"])
def test_a_real_socks_proxy(user: str) -> None:
    with raw(answering(GOOD)) as address, microsocks(user, "hunter2" if user else "") as proxy:
        url = f"http://localhost:{address.rpartition(':')[2]}"  # which the proxy looks up
        assert through(url, OutboundProxy.parse(proxy.url_for(user, "hunter2") if user else proxy.url)) == (200, b"OK")
        if user:
            with pytest.raises(ProxyRefused, match="refused the user or the password"):
                through(url, OutboundProxy.parse(proxy.url_for(user, "wrong")))


def test_what_comes_with_the_reply_is_the_far_ends() -> None:
    with hostile(GREETED, CONNECTED + GOOD) as proxy:
        assert through("http://h.example", OutboundProxy.parse(proxy.url)) == (200, b"OK")


@pytest.mark.parametrize("size", range(len(CONNECTED)))
def test_a_socks_proxy_that_hangs_up(size: int) -> None:
    with hostile(GREETED, CONNECTED[:size], hangs_up=True) as proxy, pytest.raises(ProxyRefused, match="hung up"):
        through("http://h.example", OutboundProxy.parse(proxy.url))


def test_a_proxy_has_a_time_of_its_own() -> None:
    with hostile(GREETED, b"") as proxy, pytest.raises(TimeoutError):
        through("http://h.example", replace(OutboundProxy.parse(proxy.url), timeout=0.2), 60.0)


def test_directly_only_where_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with raw(answering(GOOD)) as address, hostile(b"\x05\xff") as proxy:
        way = OutboundProxy.parse(proxy.url_for("me", "hunter2"))
        with pytest.raises(ProxyRefused):
            through(f"http://{address}", way)
        assert through(f"http://{address}", replace(way, or_direct=True)) == (200, b"OK")
    assert "is reached directly" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_file_that_is_of_no_use(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "text.pem").write_text("hello")
    with serving(Upstream(authority.server_context())) as upstream:
        for name in ("text.pem", "missing.pem"):
            trust = Trust(ca=(tmp_path / name,))
            with Connection(upstream.url, None, PATIENCE, trust) as connection, pytest.raises(OSError, match=name):
                connection.open()
