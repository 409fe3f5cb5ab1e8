"""The relay's own HTTP client: one request over one connection, directly or through an outbound proxy, all of it in a given time.

    with Connection("https://api.anthropic.com", proxy, seconds=15.0) as connection:
        answer = connection.ask("GET", "/v1/models", {})      http.client's answer; reading from it counts to the seconds
        with_body = answer.status, answer.read(4096)

    Connection ─► Tcp, whose every wait ends when the time is over ─► Tls with the proxy ─► CONNECT ─► Tls with the far end

The far end is verified against certifi's authorities, and so is a proxy that speaks TLS. An outbound proxy is gone through by CONNECT,
whatever the scheme behind it, as the relay does. No redirect is followed. For threads: everything waits.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache, partial
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

import certifi

from claude_relay.core.config import Address, OutboundProxy
from claude_relay.core.exchange import Failure

PIECE = 65536


class ProxyRefused(Exception):
    """The outbound proxy would not let the connection through."""


class Connection:
    """To where a URL leads, through `proxy` if there is one. Raises FAILURES, also while an answer is read.

    seconds   for all of it, from now; but nothing interrupts a name server, and each address of a host has them
    """

    def __init__(self, url: str, proxy: OutboundProxy | None, seconds: float) -> None:
        parts = urlsplit(url)
        self._proxy, self._tls = proxy, parts.scheme == "https"
        self._default_port = 443 if self._tls else 80
        self._host, self._port = parts.hostname or "", parts.port or self._default_port
        self._until = monotonic() + seconds
        self._tcp: Tcp | None = None

    def __enter__(self) -> Self:
        """Itself; nothing is dialled yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything, however far it came."""
        if self._tcp is not None:
            self._tcp.hang_up()

    def open(self) -> Wire:
        """Dial, up to the far end's TLS if its URL says so."""
        wire = self._dialled(self._host, self._port) if self._proxy is None else self._tunnelled(self._proxy)
        return Tls(wire, self._host) if self._tls else wire

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """The answer to a request, with its body still to be read."""
        exchange = http.client.HTTPConnection(self._host, self._port)
        exchange.default_port = self._default_port  # the field Host leaves it out
        exchange.sock = self.open()
        exchange.request(method, target, body, headers)
        return exchange.getresponse()

    def _dialled(self, host: str, port: int) -> Tcp:
        self._tcp = Tcp(socket.create_connection((host, port), left(self._until)), self._until)
        return self._tcp

    def _tunnelled(self, proxy: OutboundProxy) -> Wire:
        try:
            wire: Wire = self._dialled(proxy.host, proxy.port)
        except TimeoutError:
            raise
        except OSError as error:
            raise ProxyRefused(f"the proxy cannot be reached: {said(error)}") from None
        if proxy.scheme == "https":
            wire = Tls(wire, proxy.host)
        tunnel(wire, str(Address(self._host, self._port)), proxy)
        return wire


def left(until: float) -> float:
    """Seconds until then. Raises TimeoutError when there are none."""
    if (seconds := until - monotonic()) > 0:
        return seconds
    raise TimeoutError


class Wire(ABC):
    """Bytes to and from somewhere; with as much of a socket as `http.client` uses."""

    @abstractmethod
    def sendall(self, data: bytes) -> None:
        """Send all of it."""

    @abstractmethod
    def receive(self, size: int) -> bytes:
        """What is there, or comes first; empty at the end."""

    def makefile(self, mode: str) -> io.BufferedReader:
        """For reading the answer."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:  # noqa: B027 - it is not forgotten
        """Nothing: http.client closes a socket while it still reads from the file made of it. `Connection` hangs up at the end."""


class Tcp(Wire):
    """A socket whose waits all end at one point of the monotonic clock: an answer that comes in drops is none."""

    def __init__(self, sock: socket.socket, until: float) -> None:
        self._sock, self._until = sock, until

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.settimeout(left(self._until))
        self._sock.sendall(data)

    def receive(self, size: int) -> bytes:
        """What is there, or comes first; empty at the end."""
        self._sock.settimeout(left(self._until))
        return self._sock.recv(size)

    def hang_up(self) -> None:
        """No more of it."""
        self._sock.close()


class Tls(Wire):
    """TLS with a host over any wire, for `ssl` cannot wrap its own sockets once more."""

    def __init__(self, below: Wire, host: str) -> None:
        self._below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context().wrap_bio(self._in, self._out, server_hostname=host)
        self._run(self._tls.do_handshake)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        written = 0
        while written < len(data):
            written += self._run(partial(self._tls.write, data[written:]))

    def receive(self, size: int) -> bytes:
        """What is there, or comes first; empty at the end, also where TLS has no end of its own: many servers just hang up."""
        try:
            return self._run(partial(self._tls.read, size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def _run[T](self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                if piece := self._below.receive(PIECE):
                    self._in.write(piece)
                else:
                    self._in.write_eof()
                continue
            self._flush()
            return done

    def _flush(self) -> None:
        if data := self._out.read():
            self._below.sendall(data)


class _Reader(io.RawIOBase):
    """What comes over a wire, as a file."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        piece = self._wire.receive(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def tunnel(wire: Wire, target: str, proxy: OutboundProxy) -> None:
    """https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6"""
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    wire.sendall("\r\n".join([*lines, "", ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = wire.receive(4096)
        if not piece or len(answer) > PIECE:
            raise ProxyRefused("the proxy gave no valid answer")
        answer += piece
    status = answer.split(b" ", 2)[1:2]
    if not status or not status[0].isdigit():
        raise ProxyRefused("no proxy is there")
    if not status[0].startswith(b"2"):
        raise ProxyRefused(f"the proxy answered {status[0].decode()[:3]}")


@cache
def context() -> ssl.SSLContext:
    """Whom to trust."""
    return ssl.create_default_context(cafile=certifi.where())


FAILURES = (OSError, http.client.HTTPException, ProxyRefused, UnicodeError)
"""What may go wrong with a connection."""


def failure(error: Exception) -> Failure:
    """The kind of one of FAILURES."""
    match error:
        case TimeoutError():
            return Failure.TIMEOUT
        case ssl.SSLError():
            return Failure.TLS
        case socket.gaierror() | ConnectionRefusedError() | ProxyRefused():
            return Failure.CONNECT
    return Failure.RESET


def said(error: Exception, proxy: OutboundProxy | None = None) -> str:
    """What went wrong, in words that cannot hold a key, and through which proxy."""
    return _in_words(error) + (f", through {proxy.label}" if proxy is not None else "")


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
        case ProxyRefused():
            return str(error)
        case OSError():
            return error.strerror or "the connection broke"
    return "the answer is no HTTP"
