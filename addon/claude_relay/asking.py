"""One real, cheap request with a key: the provider's list of models (`GET <base_url>/v1/models?limit=1` at Claude's own), with nothing but
the standard library.

    outcome = ask(provider, key, timeout=15.0)          an Outcome, as the verdict table reads it; never raises
    names = listed(provider, key, timeout=3.0)          ("qwen3-coder:30b", …); never raises
    body = fetched(provider, key, "/v1/models?limit=9", timeout=3.0)    b'{"data": …', or b""; never raises

The provider is verified against certifi's authorities; an outbound proxy (the key's own before the provider's) is gone through
by CONNECT, whatever the scheme behind it, as the relay does. No redirect is followed: it would carry the key elsewhere.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import certifi
import msgspec

from claude_relay.core.config import OutboundProxy, Provider
from claude_relay.core.exchange import Endpoint, Failure, Key, Outcome
from claude_relay.core.formats import FORMATS
from claude_relay.core.reading.gate import Decision, Gate
from claude_relay.core.reading.lenient import BAD_JSON

PATHS = {"anthropic": "/v1/models?limit=1", "gemini": "/models?pageSize=1"}
"""By format; https://ai.google.dev/api/models#method:-models.list for Gemini."""
OTHERS = "/models"
"""Where OpenAI's API, and what is like it, lists its models: https://platform.openai.com/docs/api-reference/models/list"""
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "identity",
    "anthropic-version": "2023-06-01",  # https://docs.claude.com/en/api/versioning
    "user-agent": "claude-relay",
}
PIECE = 65536
LONGEST_LIST = 4 << 20


class _Model(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _List(msgspec.Struct):
    """OpenAI's and Claude's lists are in `data`, Gemini's is in `models`."""

    data: tuple[_Model, ...] = ()
    models: tuple[_Model, ...] = ()


class Refused(Exception):
    """The outbound proxy would not let the connection through."""


def ask(provider: Provider, key: Key, *, timeout: float) -> Outcome:
    """What became of one request with the key. `timeout`: seconds for the whole of it, as far as can be."""
    try:
        with _connected(provider, key, timeout) as connection:
            outcome = _exchange(connection, *_request(provider, key.secret), until=monotonic() + timeout)
    except FAILURES as error:
        return Outcome(failure=_failure(error), message=_said(error))
    form = FORMATS.get(provider.format)
    return outcome if form is None else form.told(outcome, "")


def listed(provider: Provider, key: Key, *, timeout: float) -> tuple[str, ...]:
    """The models that the provider lists, in its order; none when it does not say. `timeout`: seconds without a byte."""
    target, headers = _request(provider, key.secret)
    try:
        with _connected(provider, key, timeout) as connection:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            told = msgspec.json.decode(answer.read(LONGEST_LIST), type=_List) if answer.status == 200 else _List()
    except (*FAILURES, *BAD_JSON):
        return ()
    names = (model.id or model.name for model in (*told.data, *told.models))
    return tuple(name.removeprefix("models/") for name in names if name)


def fetched(provider: Provider, key: Key, path: str, *, timeout: float, own: Mapping[str, str] | None = None) -> bytes:
    """The body that the provider answers a GET with; empty when there is none in time, when it is no 200 or longer than LONGEST_LIST.

    path     after the base URL, with its query
    timeout  seconds for all of it
    own      header fields of a client's with its own credential, by lower-case names, which go in the place of the key
    """
    until, body = monotonic() + timeout, bytearray()
    target, headers = (
        _request(provider, key.secret, path) if own is None else (_prefix(provider) + path, HEADERS | dict(own))
    )
    headers = headers | {name.lower(): value for name, value in provider.headers.items()}
    try:
        with _connected(provider, key, timeout) as connection:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            while answer.status == 200 and (piece := answer.read1(PIECE)):
                body += piece
                if len(body) > LONGEST_LIST or monotonic() > until:
                    return b""
    except (*FAILURES, ValueError):  # a client's header field may be none
        return b""
    return bytes(body)


@contextmanager
def _connected(provider: Provider, key: Key, timeout: float) -> Iterator[_Connection]:
    try:
        proxy = OutboundProxy.parse(key.proxy) if key.proxy else provider.proxy
    except ValueError:
        raise Refused("the key's own proxy cannot be used") from None
    connection = _Connection(provider.base_url, proxy, timeout)
    try:
        yield connection
    finally:
        connection.hang_up()


def _prefix(provider: Provider) -> str:
    return urlsplit(provider.base_url).path.rstrip("/")


def _request(provider: Provider, secret: str, path: str = "") -> tuple[str, dict[str, str]]:
    """Target and headers, with the key where the provider wants it. `path`: after the base URL; default: its list of models."""
    target, auth = _prefix(provider) + (path or PATHS.get(provider.format, OTHERS)), provider.auth
    match auth.kind:
        case "query":
            sign = "&" if "?" in target else "?"
            return f"{target}{sign}{quote(auth.name, safe='')}={quote(secret, safe='')}", HEADERS
        case "cookie":
            return target, HEADERS | {"cookie": f"{auth.name}={secret}"}
    return target, HEADERS | {auth.name: auth.prefix + secret}


def _exchange(connection: _Connection, target: str, headers: dict[str, str], *, until: float) -> Outcome:
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    lower = {name.lower(): value for name, value in answer.getheaders()}
    gate = Gate(answer.status, lower, endpoint=Endpoint.MODELS, stream=False)
    while gate.decision is Decision.HOLD:
        piece = answer.read1(PIECE)
        if not piece:
            gate.end()
        elif monotonic() > until:
            gate.cut(Failure.TIMEOUT, "the answer took too long")
        else:
            gate.feed(piece)
    return gate.outcome()


class _Connection(http.client.HTTPConnection):
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
        self._way = sock = self._dial()
        if self._proxy:
            _tunnel(sock, self._target(), self._proxy)
        self.sock = _secured(sock, self.host) if self._tls else sock

    def hang_up(self) -> None:
        """Close everything, however far it came."""
        self.close()
        if self._way:
            self._way.close()

    def _dial(self) -> socket.socket:
        host, port = (self._proxy.host, self._proxy.port) if self._proxy else (self.host, self.port)
        sock = socket.create_connection((host, port), self.timeout)
        if self._proxy is None or self._proxy.scheme == "http":
            return sock
        return context().wrap_socket(sock, server_hostname=host)

    def _target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _tunnel(sock: socket.socket, target: str, proxy: OutboundProxy) -> None:
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
    if status != [b"200"]:
        raise Refused(
            f"the proxy answered {status[0].decode()[:3]}" if status and status[0].isdigit() else "no proxy is there"
        )


@cache
def context() -> ssl.SSLContext:
    """Whom to trust."""
    return ssl.create_default_context(cafile=certifi.where())


def _secured(sock: socket.socket, host: str) -> socket.socket:
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


def _failure(error: Exception) -> Failure:
    match error:
        case TimeoutError():
            return Failure.TIMEOUT
        case ssl.SSLError():
            return Failure.TLS
        case socket.gaierror() | ConnectionRefusedError() | Refused():
            return Failure.CONNECT
    return Failure.RESET


def _said(error: Exception) -> str:
    """What went wrong, in words that cannot hold a key."""
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
