"""The steps a `FakeUpstream` is scripted with.

    upstream.script(status(429, "rate_limit_error", "slow down", headers=[("retry-after", "1")]), stream())
    upstream.script(stream([*claude.events()[:3], go, *claude.events()[3:]]))       # `go` is a Signal of the test's
    upstream.script(stream([claude.start(), cut]), fault("overloaded"))             # breaks off; then by name

The parts of an answer are bytes (sent at once), a Signal (waited for) or an async callable that takes the exchange
(`cut`, `reset`, `stall`).
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

import brotli

from claude_relay.cli.fake.answers import FAULTS, Answer, End
from claude_relay.core.bodies.zstd import zstd

from . import claude
from .upstream import Exchange, Headers, Signal, Step, _Answer1, _Answer2

Part = bytes | Signal | Callable[[Exchange], Awaitable[None]]
Chunking = Callable[[bytes], Iterable[bytes]]


# -- how an answer may go wrong
async def cut(exchange: Exchange) -> None:
    """Closes the connection in mid-answer."""
    await exchange.close()


async def reset(exchange: Exchange) -> None:
    """TCP reset; in HTTP/2 RST_STREAM."""
    await exchange.reset()


async def go_away(exchange: Exchange) -> None:
    """GOAWAY in HTTP/2; the end of the connection in HTTP/1.1."""
    await (exchange.go_away() if isinstance(exchange, _Answer2) else exchange.close())


async def refuse(exchange: Exchange) -> None:
    """REFUSED_STREAM; HTTP/2 only."""
    assert isinstance(exchange, _Answer2)
    await exchange.refuse()


async def stall(exchange: Exchange) -> None:
    """Says nothing more until the client leaves."""
    await exchange.until_gone()


# -- how bytes are cut up
def whole(data: bytes) -> list[bytes]:
    return [data]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def sized(size: int) -> Chunking:
    return lambda data: [data[i : i + size] for i in range(0, len(data), size)]


def inside_characters(data: bytes) -> list[bytes]:
    """Splits before every continuation byte of UTF-8."""
    cuts = [0, *(i for i, b in enumerate(data) if b & 0xC0 == 0x80), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(cuts) if a < b]


# -- compression that can be flushed in mid-stream
class Packer:
    """Compresses piece by piece; every piece can be unpacked as soon as it arrives."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        wbits = {"gzip": 31, "deflate": 15}
        if encoding in wbits:
            packer = zlib.compressobj(wbits=wbits[encoding])
            self.pack = lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH)
            self.finish = packer.flush
        elif encoding == "br":
            br = brotli.Compressor(quality=4)
            self.pack = lambda data: br.process(data) + br.flush()
            self.finish = br.finish
        elif encoding == "zstd":
            compressor = zstd.ZstdCompressor()
            self.pack = lambda data: compressor.compress(data, compressor.FLUSH_BLOCK)
            self.finish = compressor.flush
        else:
            raise ValueError(encoding)


def pack_parts(parts: Sequence[Part], encoding: str) -> list[Part]:
    packer = Packer(encoding)
    packed: list[Part] = [packer.pack(p) if isinstance(p, bytes) else p for p in parts]
    return [*packed, packer.finish()]


def wire_bytes(parts: Iterable[Part]) -> bytes:
    """What the parts amount to."""
    return b"".join(p for p in parts if isinstance(p, bytes))


# -- steps
def answer(
    parts: Sequence[Part],
    *,
    status: int = 200,
    content_type: str | None = "application/json",
    headers: Headers | None = None,
    framing: str = "length",
    encoding: str | None = None,
    chunking: Chunking = whole,
    when: str = "request",
    trailers: Headers | None = None,
) -> Step:
    """The general answer. framing: "length", "chunked" or "close"; chunking cuts every part into writes of its own."""
    parts = pack_parts(parts, encoding) if encoding else list(parts)
    head = [("Content-Type", content_type)] if content_type else []
    head += claude.headers().items() if headers is None else headers
    head += [("Content-Encoding", encoding)] if encoding else []
    head += {
        "length": [("Content-Length", str(len(wire_bytes(parts))))],
        "chunked": [("Transfer-Encoding", "chunked")],
        "close": [],
    }[framing]

    async def run(exchange: Exchange) -> None:
        await exchange.head(status, head)
        for part in parts:
            if isinstance(part, Signal):
                await exchange.wait(part)
            elif callable(part):
                return await part(exchange)
            else:
                for piece in chunking(part):
                    await exchange.send(piece)
        return await exchange.end(trailers)

    return Step(run, when)


def message(text: str = "Hello!", *, usage: object = None, model: str = claude.MODEL, **how: object) -> Step:
    return answer([claude.dump(claude.message(text, usage=usage, model=model))], **how)  # type: ignore[arg-type]


def stream(parts: Sequence[Part] | None = None, *, framing: str = "chunked", **how: object) -> Step:
    """Server-sent events; by default a whole stream of two deltas."""
    found = claude.events() if parts is None else parts
    return answer(found, content_type="text/event-stream; charset=utf-8", framing=framing, **how)  # type: ignore[arg-type]


def status(
    code: int, kind: str = "api_error", text: str = "Internal server error", *, headers: Headers = (), **how: object
) -> Step:  # type: ignore[assignment]
    """An error in Claude's shape."""
    return answer(
        [claude.dump(claude.error(kind, text))], status=code, headers=[*claude.headers().items(), *headers], **how
    )  # type: ignore[arg-type]


def play(found: Answer) -> Step:
    """An answer as the made-up Claude has it, over either version of HTTP."""

    async def run(exchange: Exchange) -> None:
        if found.status:
            length = ("Content-Length", str(len(b"".join(found.pieces))))
            await exchange.head(
                found.status, [*found.headers.items(), ("Transfer-Encoding", "chunked") if found.stream else length]
            )
        for piece in found.pieces:
            await exchange.send(piece)
        await ENDS[found.end](exchange)

    return Step(run)


ENDS = {End.WHOLE: lambda exchange: exchange.end(), End.CLOSE: cut, End.RESET: reset, End.SILENCE: stall}


def fault(name: str) -> Step:
    """By its name in the made-up Claude's table."""
    return play(FAULTS[name])


def html(code: int, body: bytes = claude.HTML_502) -> Step:
    """What a middlebox says."""
    return answer([body], status=code, content_type="text/html", headers=[("Server", "cloudflare")])


def empty_stream() -> Step:
    return stream([])


def huge_error(code: int = 500, size: int = 200_000) -> Step:
    return status(code, "api_error", "x" * size)


def after_content(deltas: int, then: Part) -> Step:
    """A stream that goes wrong after so many words."""
    return stream([claude.start(), claude.BLOCK_START, *(claude.delta(f"word {i} ") for i in range(deltas)), then])


def stall_before_body(content_type: str = "text/event-stream") -> Step:
    return answer([stall], content_type=content_type, framing="chunked")


stall_before_head = fault("silence")
reset_before_head = fault("reset")
close_before_head = fault("close")
reset_at_accept = Step(reset, when="accept")
close_at_accept = Step(cut, when="accept")
go_away_before_head = Step(go_away)
refuse_before_head = Step(refuse)


def early(step: Step) -> Step:
    """The same answer, begun before the request's body is read."""
    return Step(step.run, when="head")


def informational_first(step: Step, *codes: int) -> Step:
    """By default a 100."""

    async def run(exchange: Exchange) -> None:
        for code in codes or (100,):
            await exchange.informational(code)
        await step.run(exchange)

    return Step(run, step.when)


def raw(*pieces: bytes) -> Step:
    """Exactly these bytes on an HTTP/1.1 connection, then its end."""

    async def run(exchange: Exchange) -> None:
        assert isinstance(exchange, _Answer1)
        for piece in pieces:
            await exchange.raw(piece)
        await exchange.close()

    return Step(run)


def after(signal: Signal, step: Step) -> Step:
    """Waits for the test before anything is answered."""

    async def run(exchange: Exchange) -> None:
        await exchange.wait(signal)
        await step.run(exchange)

    return Step(run, step.when)


def claude_step(exchange: Exchange) -> Step:
    """What Claude would answer to this request."""
    request = exchange.request
    path = request.path.partition("?")[0]
    if path == "/v1/messages":
        try:
            asked = json.loads(request.body)
        except (ValueError, RecursionError):
            return status(400, "invalid_request_error", "The request body is not valid JSON")
        if not isinstance(asked, dict) or not isinstance(asked.get("model"), str):
            return status(400, "invalid_request_error", "model: Input should be a valid string")
        model = asked["model"]
        return stream(claude.events(model=model)) if asked.get("stream") is True else message(model=model)
    if path == "/v1/messages/count_tokens":
        return answer([b'{"input_tokens":2095}'])
    if path == "/v1/models":
        return answer([claude.dump(claude.models(claude.MODEL, "claude-haiku-5"))])
    if path.startswith("/v1/models/"):
        return answer([claude.dump(claude.models(path.removeprefix("/v1/models/"))["data"][0])])  # type: ignore[index]
    if path.startswith("/v1/"):
        return answer([b'{"type":"resource","id":"file_011C"}'])
    return answer([b'{"side":true}'], headers=[("x-side", "yes")])


def claude_default() -> Step:
    async def run(exchange: Exchange) -> None:
        await claude_step(exchange).run(exchange)

    return Step(run)
