"""Clients that see what is really on the wire.

    with RawClient(relay.base_port) as client:                       # ANTHROPIC_BASE_URL
    with RawClient.through(relay.proxy_port, relay.ca_file) as client:  # HTTPS_PROXY
        client.request("POST", "/v1/messages", body=…)
        answer = client.answer()

`RawClient` speaks HTTP/1.1 byte by byte, `H2Client` HTTP/2, `sdk` and `async_sdk` build the real Anthropic clients.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import anthropic
import h2.config
import h2.connection
import h2.errors
import h2.events

from waiting import PATIENCE

from .certs import client_context

HOST = "api.anthropic.com"
PLACEHOLDER = "sk-ant-placeholder-relay"
Headers = list[tuple[str, str]]


def messages_body(*, stream: bool = False, model: str = "claude-sonnet-5", text: str = "Hi", **more: object) -> bytes:
    """A request for /v1/messages. Its spacing is unusual on purpose: whoever serialises it anew is found out."""
    found = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": text}], "stream": stream} | more
    return json.dumps(found, indent=1, separators=(" ,", " :  ")).encode()


@dataclass
class Answer:
    """An answer as it arrived. `complete`: its framing came to its end.

    pieces   (seconds since the epoch, bytes of the body) as they were read
    """

    status: int = 0
    headers: Headers = field(default_factory=list)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    trailers: Headers = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def error_type(self) -> str:
        """The type of a Claude-shaped error; fails on anything else."""
        found = self.json()
        assert found["type"] == "error", found
        error = found["error"]
        assert isinstance(error, dict)
        assert isinstance(error["message"], str)
        assert error["message"]
        return str(error["type"])


def connect(port: int, timeout: float = PATIENCE) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def connect_through(
    port: int, ca_file: Path, host: str = HOST, to: int = 443, alpn: tuple[str, ...] = ("http/1.1",)
) -> ssl.SSLSocket:
    """CONNECT, then TLS as the client of `host`. ConnectionError: the proxy says no."""
    sock = connect(port)
    try:
        sock.sendall(f"CONNECT {host}:{to} HTTP/1.1\r\nHost: {host}:{to}\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (byte := sock.recv(1)):
                raise ConnectionError(f"CONNECT was not answered: {head!r}")
            head += byte
        if head.split(b" ")[1] != b"200":
            raise ConnectionError(f"CONNECT was refused: {head!r}")
        return client_context(ca_file, alpn).wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise


class RawClient:
    """HTTP/1.1 by hand."""

    def __init__(self, port: int | None = None, *, sock: socket.socket | None = None, host: str = "127.0.0.1") -> None:
        assert port is not None or sock is not None
        self.sock = sock or connect(port or 0)
        self.host = host
        self.buffer = b""
        self.eof = False
        self.method = "GET"

    @classmethod
    def through(cls, port: int, ca_file: Path, host: str = HOST, to: int = 443) -> RawClient:
        return cls(sock=connect_through(port, ca_file, host, to), host=host)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing
    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def request_bytes(
        self,
        method: str,
        path: str,
        *,
        headers: Headers = (),  # type: ignore[assignment]
        body: bytes = b"",
        key: str | None = PLACEHOLDER,
        chunks: Iterable[bytes] | None = None,
        trailers: Headers = (),  # type: ignore[assignment]
    ) -> bytes:
        """The bytes of a request; `chunks` makes its body chunked."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        given = {n.lower() for n, _ in headers}
        if key is not None and not given & {"x-api-key", "authorization"}:
            lines.append(f"x-api-key: {key}")
        lines += [f"{n}: {v}" for n, v in headers]
        if (body or chunks) and "content-type" not in given:
            lines.append("content-type: application/json")
        if chunks is not None:
            lines.append("Transfer-Encoding: chunked")
            data = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
            body = data + b"0\r\n" + "".join(f"{n}: {v}\r\n" for n, v in trailers).encode() + b"\r\n"
        elif (body or method not in ("GET", "HEAD", "OPTIONS", "DELETE")) and "content-length" not in given:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body

    def request(self, method: str, path: str, **parts: object) -> None:
        self.method = method
        self.send(self.request_bytes(method, path, **parts))  # type: ignore[arg-type]

    def post(self, path: str = "/v1/messages", *, stream: bool = False, **parts: object) -> None:
        self.request("POST", path, **{"body": messages_body(stream=stream)} | parts)

    def ask(self, method: str, path: str, **parts: object) -> Answer:
        """Request and whole answer."""
        self.request(method, path, **parts)
        return self.answer()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Leaves with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # -- reading
    def fill(self) -> bool:
        """Reads once. False at the end of the connection."""
        if self.eof:
            return False
        try:
            data = self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            data = b""
        self.buffer += data
        self.eof = not data
        return bool(data)

    def take(self, count: int) -> bytes:
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self) -> bytes | None:
        while b"\r\n" not in self.buffer:
            if not self.fill():
                return None
        return self.take(self.buffer.index(b"\r\n") + 2)[:-2]

    def head(self) -> Answer:
        """Status and headers, without informational ones. ConnectionError: the connection ended before."""
        first = self.line()
        if first is None:
            raise ConnectionError("the connection ended before an answer")
        found = Answer(status=int(first.split(b" ")[1]), headers=self.header_lines())
        self.current = found
        if found.status < 200:
            return self.head()
        self.body_left = self.framing(found)
        return found

    def header_lines(self) -> Headers:
        found: Headers = []
        while line := self.line():
            name, _, value = line.decode("latin-1").partition(":")
            found.append((name, value.strip()))
        return found

    def framing(self, found: Answer) -> int | None:
        """Bytes of body to come; -1: chunked; None: until the connection ends."""
        if self.method == "HEAD" or found.status in (204, 304):
            return 0
        if "chunked" in (found.header("transfer-encoding") or ""):
            return -1
        length = found.header("content-length")
        return int(length) if length is not None else None

    def piece(self) -> bytes | None:
        """The next bytes of the body as they arrive; None at its end (see `complete`)."""
        data = {-1: self.chunk, None: self.rest}.get(self.body_left, self.counted)()
        if data:
            self.current.pieces.append((time.time(), data))
            return data
        return None

    def chunk(self) -> bytes:
        size = self.line()
        if size is None:
            return b""
        wanted = int(size.split(b";")[0], 16)
        if wanted == 0:
            self.current.trailers = self.header_lines()
            self.current.complete = True
            return b""
        while len(self.buffer) < wanted + 2:
            if not self.fill():
                return self.take(wanted)
        return self.take(wanted + 2)[:-2]

    def counted(self) -> bytes:
        if not self.body_left:
            self.current.complete = True
            return b""
        if not self.buffer and not self.fill():
            return b""
        data = self.take(self.body_left)
        self.body_left -= len(data)
        return data

    def rest(self) -> bytes:
        if self.buffer or self.fill():
            return self.take(len(self.buffer))
        self.current.complete = True
        return b""

    def answer(self) -> Answer:
        """Head and whole body."""
        found = self.head()
        while self.piece() is not None:
            pass
        return found

    def until(self, wanted: bytes) -> Answer:
        """Reads the body until `wanted` is in it. Fails when it ends before."""
        while wanted not in self.current.body:
            assert self.piece() is not None, f"{wanted!r} never came; {self.current.body!r}"
        return self.current

    def at_end(self) -> bool:
        """True when the other side has closed; waits for either."""
        return not self.buffer and not self.fill()

    def quiet(self) -> bool:
        """True when nothing has arrived so far."""
        self.sock.setblocking(False)
        try:
            return not self.buffer and not self.fill() and not self.eof
        except (BlockingIOError, ssl.SSLWantReadError):
            return not self.buffer
        finally:
            self.sock.settimeout(PATIENCE)


class H2Client:
    """HTTP/2 by the library h2, over the proxy's tunnel or straight to a TLS port. Several streams at once."""

    def __init__(self, sock: ssl.SSLSocket, authority: str = HOST) -> None:
        assert sock.selected_alpn_protocol() == "h2", sock.selected_alpn_protocol()
        self.sock = sock
        self.authority = authority
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.answers: dict[int, Answer] = {}
        self.resets: dict[int, int] = {}
        self.ended = False
        self.h2.initiate_connection()
        self.flush()

    @classmethod
    def through(cls, port: int, ca_file: Path, host: str = HOST, to: int = 443) -> H2Client:
        return cls(connect_through(port, ca_file, host, to, alpn=("h2",)), host)

    @classmethod
    def direct(cls, port: int, ca_file: Path) -> H2Client:
        context = client_context(ca_file, ("h2",))
        return cls(context.wrap_socket(connect(port), server_hostname="127.0.0.1"), "127.0.0.1")

    def __enter__(self) -> H2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def flush(self) -> None:
        self.sock.sendall(self.h2.data_to_send())

    def request(
        self,
        method: str = "POST",
        path: str = "/v1/messages",
        *,
        body: bytes = b"",
        headers: Headers = (),  # type: ignore[assignment]
        key: str = PLACEHOLDER,
        trailers: Headers = (),  # type: ignore[assignment]
        end: bool = True,
    ) -> int:
        """Starts a stream and returns its id."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        head += [("x-api-key", key), ("content-type", "application/json"), *headers]
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, head, end_stream=end and not body and not trailers)
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                self.flush()
                self.pump()
                continue
            part, body = body[:room], body[room:]
            self.h2.send_data(stream, part, end_stream=end and not body and not trailers)
        if trailers:
            self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()
        return stream

    def cancel(self, stream: int) -> None:
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self.flush()

    def ping(self) -> None:
        """Returns when all that was sent before has been read."""
        self.pinged = False
        self.h2.ping(bytes(8))
        self.flush()
        while not self.pinged:
            self.pump()

    def pump(self) -> None:
        """Reads once and notes what came."""
        data = self.sock.recv(65536)
        if not data:
            self.ended = True
            return
        for event in self.h2.receive_data(data):
            self.note(event)
        self.flush()

    def note(self, event: h2.events.Event) -> None:
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0, Answer())
        if isinstance(event, h2.events.ResponseReceived):
            pairs = [(str(n), str(v)) for n, v in event.headers or []]
            answer.status = int(dict(pairs)[":status"])
            answer.headers = [p for p in pairs if not p[0].startswith(":")]
        elif isinstance(event, h2.events.DataReceived):
            answer.pieces.append((time.time(), event.data or b""))
            self.h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = [(str(n), str(v)) for n, v in event.headers or []]
        elif isinstance(event, h2.events.StreamEnded):
            answer.complete = True
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id or 0] = int(event.error_code or 0)
        elif isinstance(event, h2.events.PingAckReceived):
            self.pinged = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.ended = True

    def answer(self, stream: int) -> Answer:
        """The whole answer of a stream. Raises ConnectionError when it is reset or the connection ends."""
        while not self.answers[stream].complete:
            if stream in self.resets or self.ended:
                raise ConnectionError(f"stream {stream} broke off: {self.resets.get(stream)}")
            self.pump()
        return self.answers[stream]

    def until(self, stream: int, wanted: bytes) -> Answer:
        while wanted not in self.answers[stream].body:
            assert not self.answers[stream].complete, f"{wanted!r} never came"
            assert stream not in self.resets
            assert not self.ended
            self.pump()
        return self.answers[stream]

    def ask(self, method: str = "POST", path: str = "/v1/messages", **parts: object) -> Answer:
        return self.answer(self.request(method, path, **parts))  # type: ignore[arg-type]


# -- the real thing
def sdk(
    *, base_port: int | None = None, proxy_port: int | None = None, ca_file: Path | None = None, **how: object
) -> anthropic.Anthropic:
    """Anthropic's client, through the base URL, or through HTTPS_PROXY with the relay's CA trusted. Retries are off."""
    settings: dict[str, object] = {"api_key": PLACEHOLDER, "max_retries": 0, "timeout": PATIENCE} | how
    if base_port is not None:
        return anthropic.Anthropic(base_url=f"http://127.0.0.1:{base_port}", **settings)  # type: ignore[arg-type]
    assert proxy_port is not None
    assert ca_file is not None
    client = anthropic.DefaultHttpxClient(mounts=_mounts(proxy_port, ca_file, sync=True), trust_env=False)
    return anthropic.Anthropic(http_client=client, base_url=f"https://{HOST}", **settings)  # type: ignore[arg-type]


def async_sdk(
    *, base_port: int | None = None, proxy_port: int | None = None, ca_file: Path | None = None, **how: object
) -> anthropic.AsyncAnthropic:
    """The same as `sdk` for asyncio."""
    settings: dict[str, object] = {"api_key": PLACEHOLDER, "max_retries": 0, "timeout": PATIENCE} | how
    if base_port is not None:
        return anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{base_port}", **settings)  # type: ignore[arg-type]
    assert proxy_port is not None
    assert ca_file is not None
    client = anthropic.DefaultAsyncHttpxClient(mounts=_mounts(proxy_port, ca_file, sync=False), trust_env=False)
    return anthropic.AsyncAnthropic(http_client=client, base_url=f"https://{HOST}", **settings)  # type: ignore[arg-type]


def _mounts(port: int, ca_file: Path, *, sync: bool) -> dict[str, object]:
    import httpx2

    kind = httpx2.HTTPTransport if sync else httpx2.AsyncHTTPTransport
    return {"all://": kind(proxy=httpx2.Proxy(f"http://127.0.0.1:{port}"), verify=client_context(ca_file))}
