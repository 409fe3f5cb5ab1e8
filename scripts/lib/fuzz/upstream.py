"""What answers in the providers' place: the case's answer, found by the case's name in the request; without one, a good answer.

It notes for which cases it was asked with a key of a pool.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from claude_relay.cli.fake import messages
from claude_relay.cli.fake.server import LENGTH

from . import frames
from .cases import Case, End, Pause, Piece, Wire

NAME: Final = re.compile(rb"fz\d{10}")
SIGNED: Final = re.compile(rb"\r\nuser-agent: *(fz\d{10})\r\n", re.IGNORECASE)
TRANSLATED: Final = re.compile(rb"/chat/completions|/responses|[:]\w*generateContent", re.IGNORECASE)
"""Requests that the relay has written itself: a name in them is one that it has read."""
CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
KEY: Final = re.compile(rb"sk-ant-api03-(?:pool|client)-[0-9a-f]+")
LARGEST: Final = 2**24
HALF_CLOSED: Final = 0.5
"""Seconds that an upstream still listens after it has closed its half."""
GOOD_MESSAGE: Final = messages.dump(messages.message("Hello")).decode()
GOOD_STREAM: Final = b"".join(messages.events("Hel", "lo")).decode()


class Upstream:
    """Two servers over the same cases. `secrets`: the keys of the pools."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}
        self.secrets: Collection[bytes] = ()
        self.asked: Counter[str] = Counter()
        """Names of cases for which it was asked with a key of a pool."""
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, pem: Path) -> tuple[int, int]:
        """The ports for HTTP/1.1, and for HTTP/2 over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        context.set_alpn_protocols(["h2"])
        plain = await asyncio.start_server(self.http1, "127.0.0.1", 0, limit=LARGEST)
        tls = await asyncio.start_server(self.http2, "127.0.0.1", 0, ssl=context)
        self._servers = [plain, tls]
        return plain.sockets[0].getsockname()[1], tls.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no more, and hang up."""
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()

    def case_of(self, request: bytes) -> tuple[Case | None, str]:
        """The case that a request belongs to, and the credential that came with it."""
        name, key = NAME.search(request), KEY.search(request)
        credential = key[0] if key else b""
        signed = SIGNED.search(request) or (TRANSLATED.search(request[:300]) and name)
        if signed and credential in self.secrets:
            self.asked[signed[signed.re.groups].decode()] += 1
        return self.cases.get(name[0].decode()) if name else None, credential.decode()

    def wire(self, case: Case | None, credential: str) -> Wire:
        """A connection's own; `words` change with each request."""
        return Wire(words(case, credential))

    # -- HTTP/1.1

    async def http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests on a connection, one after the other."""
        self._writers.add(writer)
        try:
            while request := await whole_request(reader):
                case, credential = self.case_of(request)
                if not await write(writer, Wire(words(case, credential)), answer_to(case, request)):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    # -- HTTP/2

    async def http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Streams on a connection. The library reads; what is written is the cases' own."""
        self._writers.add(writer)
        inside = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        inside.initiate_connection()
        requests: dict[int, bytes] = {}
        wire = Wire({})
        try:
            while data := await reader.read(65_536):
                ended = received(inside, data, requests)
                writer.write(inside.data_to_send())
                for stream in ended:
                    request = requests.pop(stream)
                    case, credential = self.case_of(request)
                    wire.words = words(case, credential)
                    if not await write(writer, wire, numbered(answer_to(case, request, framed=True), stream)):
                        return
                await writer.drain()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


def words(case: Case | None, credential: str) -> dict[str, str]:
    """What stands for the words of an answer."""
    return {"@KEY@": credential, "@MODEL@": case.name if case else "m"}


def answer_to(case: Case | None, request: bytes, *, framed: bool = False) -> Sequence[Piece]:
    """The case's answer, else a good one of Claude's."""
    if case is not None and case.answer:
        return case.answer
    stream = re.search(rb'"stream": *true', request) is not None
    body, kind = (GOOD_STREAM, "text/event-stream") if stream else (GOOD_MESSAGE, "application/json")
    if framed:
        return frames.message(1, [[":status", "200"], ["content-type", kind]], body, Random(0))
    return [f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n{body}"]


def numbered(pieces: Sequence[Piece], stream: int) -> list[Piece]:
    """The frames of stream 1 as those of another."""
    return [p | {"stream": stream} if isinstance(p, dict) and p.get("stream") == 1 else p for p in pieces]


async def write(writer: asyncio.StreamWriter, wire: Wire, pieces: Sequence[Piece]) -> bool:
    """Send them; False: the connection is over."""
    for what in wire.sent(pieces):
        if isinstance(what, Pause):
            await asyncio.sleep(what.seconds)
        elif isinstance(what, End):
            await writer.drain()
            if what.how == "half" and writer.can_write_eof():
                writer.write_eof()
                await asyncio.sleep(HALF_CLOSED)
            if what.how == "reset":
                writer.transport.abort()
            return False
        else:
            writer.write(what)
            await asyncio.wait_for(writer.drain(), 5)
    return True


async def whole_request(reader: asyncio.StreamReader) -> bytes:
    """Head and body; empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    if length := LENGTH.search(head):
        return head + await reader.readexactly(min(int(length[1]), LARGEST))
    if not CHUNKED.search(head):
        return head
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return head + body


def received(inside: h2.connection.H2Connection, data: bytes, requests: dict[int, bytes]) -> list[int]:
    """Note what came; the streams whose request is whole."""
    ended: list[int] = []
    for event in inside.receive_data(data):
        stream: Any = getattr(event, "stream_id", 0)
        if isinstance(event, h2.events.RequestReceived):
            requests[stream] = b"\r\n".join(name + b": " + value for name, value in event.headers or ()) + b"\r\n\r\n"
        elif isinstance(event, h2.events.DataReceived):
            requests[stream] = requests.get(stream, b"") + (event.data or b"")
            with suppress(h2.exceptions.ProtocolError):
                inside.acknowledge_received_data(event.flow_controlled_length or 0, stream)
        elif isinstance(event, h2.events.StreamEnded):
            ended.append(stream)
        elif isinstance(event, h2.events.StreamReset):
            requests.pop(stream, None)
    return [stream for stream in ended if stream in requests]
