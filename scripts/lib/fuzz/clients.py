"""Clients: those that send a case in its way, and the well-behaved one that asks properly and knows what it must get."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from .cases import ANSWER_PARTS, FRAMED, Case, End, Pause, Wire
from .reading import LARGEST, Received, is_over, is_whole, status
from .requests import head
from .running import Relay
from .upstream import GOOD_MESSAGE, GOOD_STREAM

HOST: Final = "api.anthropic.com"
IDLE: Final = 0.4
"""Seconds without a byte after which a client of an odd request goes."""
LONGEST: Final = 3.0
ANSWERED: Final = 60.0
"""Seconds within which a well-formed request is answered, whatever its upstream does: two attempts and what lies between them, on a slow
machine."""


def words(case: Case, relay: Relay) -> dict[str, str]:
    """What stands for the words of a request."""
    proxied = case.part.startswith("proxy")
    return {
        "@HOST@": HOST if proxied else f"127.0.0.1:{relay.base}",
        "@UA@": case.name,
        "@MODEL@": case.name,
        "@CLIENT@": relay.client_key,
        "@BASE@": f"127.0.0.1:{relay.base}",
        "@PROXY@": f"127.0.0.1:{relay.proxy}",
        "@STATUS@": f"127.0.0.1:{relay.status}",
    }


async def send(case: Case, relay: Relay) -> Received:
    """Send a case and take what comes, until it is whole or nothing more is to be expected."""
    found = Received()
    try:
        async with asyncio.timeout(ANSWERED + 5), connected(case.part, relay) as (reader, writer):
            taking = asyncio.create_task(take(reader, found))
            try:
                begun = await give(case, Wire(words(case, relay)), writer)
                await until_over(case, found, taking)
                found.seconds = time.monotonic() - begun
            finally:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError, TimeoutError) as error:
        found.refused = f"{type(error).__name__}: {error}"
    return found


@asynccontextmanager
async def connected(part: str, relay: Relay) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection in the way of a part."""
    port = {"status": relay.status}.get(part, relay.proxy if part.startswith("proxy") else relay.base)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if part in ("proxy-h1", "proxy-h2"):
            writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
        if part == "proxy-h1" or part in FRAMED:
            await writer.start_tls(context("h2" if part in FRAMED else "http/1.1"), server_hostname=HOST)
        yield reader, writer
    finally:
        writer.transport.abort()


def context(alpn: str) -> ssl.SSLContext:
    """Trusts everybody: what is tried here is not the certificate."""
    found = ssl.create_default_context()
    found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    found.set_alpn_protocols([alpn])
    return found


async def give(case: Case, wire: Wire, writer: asyncio.StreamWriter) -> float:
    """Write all pieces; the time when that was done. A relay that reads no more ends it."""
    for what in wire.sent(case.send):
        if isinstance(what, Pause):
            await asyncio.sleep(what.seconds)
        elif isinstance(what, End):
            await writer.drain()
            if what.how == "half" and writer.can_write_eof():
                writer.write_eof()
            elif what.how != "half":
                writer.transport.abort()
            break
        else:
            writer.write(what)
            with suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), LONGEST)
    return time.monotonic()


async def take(reader: asyncio.StreamReader, found: Received) -> None:
    """All that comes, up to a bound."""
    try:
        while data := await reader.read(65_536):
            if len(found.data) < LARGEST:
                found.data += data
    except (OSError, ssl.SSLError):
        pass
    found.ended = True


async def until_over(case: Case, found: Received, taking: asyncio.Task[None]) -> None:
    """Until the answer is whole, the other side closed, or it is idle for long."""
    patience, whole = (ANSWERED, ANSWERED) if must_be_answered(case) else (IDLE, LONGEST)
    begun = last = time.monotonic()
    size, step = -1, 0.003
    while not taking.done():
        now = time.monotonic()
        if len(found.data) != size:
            size, last = len(found.data), now
            if is_complete(case, bytes(found.data)):
                return
        if now - last > patience or now - begun > whole:
            return
        await asyncio.sleep(step)
        step = min(0.03, step * 1.3)


def must_be_answered(case: Case) -> bool:
    """Whether its request is well-formed."""
    return case.part in ANSWER_PARTS or case.name.startswith("good-")


def is_complete(case: Case, data: bytes) -> bool:
    """Whether nothing more is to be expected."""
    if case.part in FRAMED:
        streams = {p["stream"] for p in case.send if isinstance(p, dict) and p.get("frame") == "HEADERS"}
        return is_over(data, max(1, len(streams)))
    if must_be_answered(case):
        return is_whole(data)
    requests = sum("HTTP/1." in piece for piece in case.send if isinstance(piece, str))
    return is_whole(data, max(1, requests))


# -- the well-behaved one


def good_case(number: int) -> Case:
    """A request that must be answered, in one of the ways."""
    part = ("base-h1", "base-h1", "base-h1", "proxy-h1")[number % 4]
    body = json.dumps(
        {
            "model": "good-1",
            "max_tokens": 9,
            "stream": bool(number % 2),
            "messages": [{"role": "user", "content": "Hi"}],
        }
    )
    headers = [
        ("Host", "@HOST@"),
        ("User-Agent", "@UA@"),
        ("x-api-key", "@CLIENT@"),
        ("Content-Length", str(len(body))),
    ]
    return Case(part, f"good-{number}", (head("POST", "/v1/messages", headers), body))


def what_is_wrong(number: int, found: Received) -> str:
    """Of its answer; empty: all is as it must be."""
    if found.refused:
        return f"no answer: {found.refused}"
    data = bytes(found.data)
    if status(data) != 200:
        return f"no answer within {found.seconds:.1f} s" if not data else f"answered with {data[:200]!r}"
    wanted = (GOOD_STREAM if number % 2 else GOOD_MESSAGE).encode()
    body = data.partition(b"\r\n\r\n")[2]
    if wanted not in body and wanted != unchunked(body):
        return f"another body than the upstream sent: {body[:200]!r}"
    return ""


def unchunked(body: bytes) -> bytes:
    """The contents of a chunked body; what is none comes back as far as it goes."""
    found = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return found
        found, body = found + rest[:length], rest[length + 2 :]
        if not length:
            break
    return found
