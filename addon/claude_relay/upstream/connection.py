"""The relay's own HTTP client: one request over one connection, directly or through an outbound proxy, all of it in a given time.

    with Connection("https://api.anthropic.com", proxy, seconds=15.0) as connection:
        answer = connection.ask("GET", "/v1/models", {})      http.client's answer; reading from it counts to the seconds
        with_body = answer.status, answer.read(4096)

    Connection ─► Tcp, whose every wait ends when the time is over ─► Tls with the proxy ─► CONNECT or SOCKS5 ─► Tls with the far end

The far end is verified against certifi's authorities and those that `trust` adds, and so is a proxy that speaks TLS. An outbound proxy is
gone through by CONNECT or SOCKS5, whatever the scheme behind it, as the relay does. No redirect is followed. For threads: everything waits.
"""

from __future__ import annotations

import http.client
import io
import logging
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from time import monotonic
from typing import Any, Self
from urllib.parse import urlsplit

import certifi

from claude_relay.core.config import Address, OutboundProxy, Trust
from claude_relay.core.config.proxies import USUAL
from claude_relay.core.exchange import Failure
from claude_relay.core.socks5 import ENDED, Handshake, SocksError
from claude_relay.core.tls_alerts import meaning

logger = logging.getLogger(__name__)

PIECE = 65536
FOR_TLS = "cannot be used for TLS"
NO_KEY = "it holds no key without a password that fits the certificate"


class ProxyRefused(Exception):
    """The outbound proxy would not let the connection through."""


class Connection:
    """To where a URL leads, through `proxy` if there is one. Raises FAILURES, also while an answer is read.

    seconds   for all of it, from now; but nothing interrupts a name server, and each address of a host has them
    trust     of TLS with the far end
    """

    def __init__(self, url: str, proxy: OutboundProxy | None, seconds: float, trust: Trust = USUAL) -> None:
        parts = urlsplit(url)
        self._proxy, self._tls, self._trust = proxy, parts.scheme == "https", trust
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
        wire = self._dialled(self._host, self._port) if self._proxy is None else self._led(self._proxy)
        return Tls(wire, self._host, self._trust) if self._tls else wire

    def settle(self, seconds: float) -> None:
        """Open it, and hear so long whether the far end takes our certificate: TLS 1.3 says that after the handshake."""
        wire = self.open()
        if not self._tls:
            return
        assert self._tcp is not None
        self._tcp.until = min(self._tcp.until, monotonic() + seconds)
        with suppress(TimeoutError):
            wire.receive(1)

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

    def _led(self, proxy: OutboundProxy) -> Wire:
        """Through the proxy; directly where that fails and relay.yaml lets it go without."""
        until = self._until
        try:
            self._until = min(until, monotonic() + proxy.timeout)
            wire = self._tunnelled(proxy)
        except (OSError, ProxyRefused) as error:
            self._until = until
            if not proxy.or_direct:
                raise _proxys(error) from None
            logger.warning("%s is reached directly: %s", self._host, said(_proxys(error), proxy))
            if self._tcp is not None:
                self._tcp.hang_up()
            return self._dialled(self._host, self._port)
        self._until = until
        assert self._tcp is not None
        self._tcp.until = until
        return wire

    def _tunnelled(self, proxy: OutboundProxy) -> Wire:
        wire: Wire = self._dialled(proxy.host, proxy.port)
        if proxy.scheme == "https":
            wire = Tls(wire, proxy.host, proxy.trust)
        if proxy.scheme == "socks5":
            socks(wire, self._host, self._port, proxy)
        else:
            tunnel(wire, str(Address(self._host, self._port)), proxy)
        return wire


def _proxys(error: OSError | ProxyRefused) -> OSError | ProxyRefused:
    """What went wrong on the way to the proxy is the proxy's."""
    if isinstance(error, ProxyRefused | TimeoutError):
        return error
    return ProxyRefused(f"the proxy cannot be reached: {said(error)}")


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
        self._sock, self.until = sock, until

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._sock.settimeout(left(self.until))
        self._sock.sendall(data)

    def receive(self, size: int) -> bytes:
        """What is there, or comes first; empty at the end."""
        self._sock.settimeout(left(self.until))
        return self._sock.recv(size)

    def hang_up(self) -> None:
        """No more of it."""
        self._sock.close()


class Tls(Wire):
    """TLS with a host over any wire, for `ssl` cannot wrap its own sockets once more."""

    def __init__(self, below: Wire, host: str, trust: Trust = USUAL) -> None:
        self._below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context(trust).wrap_bio(self._in, self._out, server_hostname=host)
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


def socks(wire: Wire, host: str, port: int, proxy: OutboundProxy) -> None:
    """Ask a SOCKS5 proxy for a tunnel."""
    try:
        handshake = Handshake(host, port, proxy.username, proxy.password)
        wire.sendall(handshake.begin())
        while not handshake.done:
            # One byte too many would be the far end's, and lost here.
            piece = wire.receive(handshake.wanted)
            if not piece:
                raise SocksError(ENDED)
            if answer := handshake.receive(piece):
                wire.sendall(answer)
    except SocksError as error:
        raise ProxyRefused(str(error)) from None


def context(trust: Trust = USUAL) -> ssl.SSLContext:
    """Whom to trust, and who we are. Raises OSError for files that cannot be used; they are read again once they have changed."""
    if not trust:
        return _context(trust, certifi.where(), ())
    files = (*trust.ca, *filter(None, (trust.cert, trust.key)))
    return _context(trust, certifi.where(), tuple(_changed(file) for file in files))


@lru_cache(maxsize=64)
def _context(trust: Trust, usual: str, _: tuple[int, ...]) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=usual)
    for file in trust.ca:
        try:
            made.load_verify_locations(file)
        except OSError as error:
            raise _useless(file, error, "it holds no certificates") from None
    if trust.cert is not None:
        try:
            made.load_cert_chain(trust.cert, trust.key, _no_password)
        except OSError as error:
            raise _useless(trust.key or trust.cert, error, NO_KEY) from None
    return made


def _changed(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError as error:
        raise _useless(file, error, "") from None


def _useless(file: Path, error: OSError, why: str) -> OSError:
    return OSError(error.errno, f"{file.name} {FOR_TLS}: {why if isinstance(error, ssl.SSLError) else error.strerror}")


def _no_password() -> str:
    """Without it OpenSSL would ask at the terminal."""
    return ""


FAILURES = (OSError, http.client.HTTPException, ProxyRefused, UnicodeError)
"""What may go wrong with a connection."""


def failure(error: Exception) -> Failure:
    """The kind of one of FAILURES."""
    match error:
        case TimeoutError():
            return Failure.TIMEOUT
        case ssl.SSLError():
            return Failure.TLS
        case ProxyRefused():
            return Failure.PROXY
        case socket.gaierror() | ConnectionRefusedError():
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
            return meaning(error.reason or "")
        case TimeoutError():
            return "no answer in time"
        case socket.gaierror():
            return "no such host"
        case ProxyRefused():
            return str(error)
        case OSError():
            return error.strerror or "the connection broke"
    return "the answer is no HTTP"
