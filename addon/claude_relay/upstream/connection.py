"""A connection of the relay's own, directly or through an outbound proxy, with nothing but the standard library.

    connection = Connection("https://api.anthropic.com", proxy, timeout=15.0)
    connection.request("GET", "/v1/models")

The far end is verified against certifi's authorities, and so is a proxy that speaks TLS. An outbound proxy is gone through by CONNECT,
whatever the scheme behind it, as the relay does.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

import certifi

from claude_relay.core.config import OutboundProxy
from claude_relay.core.exchange import Failure

PIECE = 65536


class Refused(Exception):
    """The outbound proxy would not let the connection through."""


class Connection(http.client.HTTPConnection):
    """To a provider, directly or through a proxy, with TLS where its URL says so."""

    def __init__(self, base_url: str, proxy: OutboundProxy | None, timeout: float) -> None:
        url = urlsplit(base_url)
        self._tls = url.scheme == "https"
        self._proxy = proxy
        self.default_port = 443 if self._tls else 80
        self._way: socket.socket | None = None
        super().__init__(url.hostname or "", url.port or self.default_port, timeout=timeout)

    def connect(self) -> None:
        """Open it."""
        self._way = sock = dial(self.host, self.port, self._proxy, self.timeout)
        self.sock = secured(sock, self.host) if self._tls else sock

    def hang_up(self) -> None:
        """Close everything, however far it came."""
        self.close()
        if self._way:
            self._way.close()


def dial(host: str, port: int, proxy: OutboundProxy | None, timeout: float | None) -> socket.socket:
    """A way to a place: through the proxy if there is one, which is asked for it by CONNECT. Raises FAILURES; of the proxy Refused."""
    if proxy is None:
        return socket.create_connection((host, port), timeout)
    sock = _dial_proxy(proxy, timeout)
    try:
        tunnel(sock, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", proxy)
    except BaseException:
        sock.close()
        raise
    return sock


def _dial_proxy(proxy: OutboundProxy, timeout: float | None) -> socket.socket:
    try:
        sock = socket.create_connection((proxy.host, proxy.port), timeout)
    except TimeoutError:
        raise
    except OSError as error:
        raise Refused(f"the proxy cannot be reached: {said(error)}") from None
    if proxy.scheme == "http":
        return sock
    try:
        return context().wrap_socket(sock, server_hostname=proxy.host)
    except BaseException:
        sock.close()
        raise


def tunnel(sock: socket.socket, target: str, proxy: OutboundProxy) -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6"""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = sock.recv(4096)
        if not piece or len(answer) > PIECE:
            raise Refused("the proxy said nothing sensible")
        answer += piece
    status = answer.split(b" ", 2)[1:2]
    if not status or not status[0].isdigit():
        raise Refused("no proxy is there")
    if not status[0].startswith(b"2"):
        raise Refused(f"the proxy answered {status[0].decode()[:3]}")


@cache
def context() -> ssl.SSLContext:
    """Whom to trust."""
    return ssl.create_default_context(cafile=certifi.where())


def secured(sock: socket.socket, host: str) -> socket.socket:
    """TLS with a host, over the way there; as much of a socket as http.client uses."""
    if isinstance(sock, ssl.SSLSocket):  # `ssl` cannot wrap its own sockets once more
        return _Inner(sock, host)  # type: ignore[return-value]
    return context().wrap_socket(sock, server_hostname=host)


class _Inner:
    """TLS within the TLS of a proxy; as much of a socket as http.client uses."""

    def __init__(self, sock: ssl.SSLSocket, host: str) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context().wrap_bio(self._in, self._out, server_hostname=host)
        self._run(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        sent = 0
        while sent < len(data):
            sent += self._run(partial(self._tls.write, data[sent:]))

    def receive(self, buffer: memoryview) -> int:
        """Read what is there; 0 at the end."""
        try:
            piece = self._run(partial(self._tls.read, len(buffer)))
        except ssl.SSLZeroReturnError:
            return 0
        buffer[: len(piece)] = piece
        return len(piece)

    def makefile(self, mode: str) -> io.BufferedReader:
        """For reading the answer."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Nothing: http.client closes a socket while it still reads from the file made of it. The way there is closed at the end."""

    def _run[T](self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                piece = self._sock.recv(PIECE)
                if piece:
                    self._in.write(piece)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return done

    def _flush(self) -> None:
        if data := self._out.read():
            self._sock.sendall(data)


class _Reader(io.RawIOBase):
    """What `_Inner` receives, as a file."""

    def __init__(self, inner: _Inner) -> None:
        self._inner = inner

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        return self._inner.receive(buffer)


FAILURES = (OSError, http.client.HTTPException, Refused, UnicodeError)
"""What may go wrong with a connection."""


def failure(error: Exception) -> Failure:
    """The kind of one of FAILURES."""
    match error:
        case TimeoutError():
            return Failure.TIMEOUT
        case ssl.SSLError():
            return Failure.TLS
        case socket.gaierror() | ConnectionRefusedError() | Refused():
            return Failure.CONNECT
    return Failure.RESET


def said(error: Exception, proxy: OutboundProxy | None = None) -> str:
    """What went wrong, in words that cannot hold a key, and through which proxy."""
    return _in_words(error) + (f", through {proxy.told}" if proxy is not None else "")


def _in_words(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return "TLS failed"
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror():
            return "no such host"
        case Refused():
            return str(error)
        case OSError():
            return error.strerror or "the connection broke"
    return "the answer is no HTTP"
