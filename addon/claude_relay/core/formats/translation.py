r"""Turns a provider's good answer (a status below 400) into Claude's bytes, piece by piece.

    >>> translation = Translation(format, Writer("claude-sonnet-5", "1", stream=True), {}, stream=True)
    >>> translation.feed(b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n')
    b'event: message_start\ndata: …'
    >>> translation.end()
    b'event: content_block_stop\ndata: …'

What was asked for and what came may differ; the client gets what it asked for:

                   SSE or a JSON array of chunks came      a JSON object came          anything else came
    stream asked   each event leaves with its bytes        a whole stream at the end   its bytes, unchanged
    JSON asked     one JSON answer, once it is whole       one JSON answer at the end  its bytes, unchanged

Nothing is invented: an answer that was cut has no end here either, a JSON answer that was cut is nothing, and garbage stays the garbage
that it was (without its content coding), so that whoever judges the answer sees what came. A reader that raises ends the answer with an
error. It must not know providers, nor what is done about a bad answer.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.lenient import BAD_JSON, BOM
from claude_relay.core.bodies.sniff import Shape, sniff
from claude_relay.core.bodies.sse import Event, SseParser

from .base import Format
from .conversation import Json
from .progress import grows_silent, says_something
from .writer import Writer

MAX_BODY = 32 * 1024 * 1024
"""Bytes of a JSON answer, or of one element of an array."""

_BLANKS = b" \t\r\n"
_DONE = b"[DONE]"
_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'["\\]')
_STRAY = re.compile(rb"[\r\n]\{")
_STRAY_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?=[\r\n]|data:|event:)")
# Escapes that stand alone: an even number of backslashes is text, a pair of surrogates is a character.
_SURROGATE = re.compile(rb"(\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u[dD][89a-fA-F]..")


class Translation:
    """One answer.

    fault  what a format's reader raised, if it did: a mistake in the format, to be logged
    """

    def __init__(self, format: Format, writer: Writer, headers: Mapping[str, str], *, stream: bool) -> None:
        """For an answer with these headers (names in lower case) to a request for a stream or not; the writer is for the same."""
        self.fault: Exception | None = None
        self._format, self._writer, self._headers, self._stream = format, writer, headers, stream
        self._decoder = Decoder(headers.get("content-encoding", ""))
        self._head = b""
        self._opaque = self._decoder.dead  # an unknown coding
        self._body: _Body | None = None
        self._delivered = False
        self._opaque_moves = 0

    @property
    def served_model(self) -> str | None:
        """The model that the provider says has answered."""
        return self._writer.served_model

    @property
    def reported_usage(self) -> Mapping[str, object]:
        """What the provider has told of tokens by now, in Claude's words."""
        return self._writer.reported_usage

    @property
    def held(self) -> tuple[str, int]:
        """Texts and arguments that have come and not left, and how many calls that have not been opened."""
        return self._writer.held

    @property
    def memories(self) -> Mapping[str, str]:
        """What is to be kept for the conversation's next turns, by the ids of calls."""
        return self._writer.memories

    @property
    def moves(self) -> int:
        """How often the answer has moved on: grows with everything but pings, comments and blank lines."""
        return self._opaque_moves if self._body is None else self._body.moves

    @property
    def quiet(self) -> bool:
        """Whether the provider may say nothing for long now: it reasons, or a tool works at it."""
        return self._body is not None and self._body.quiet

    def feed(self, data: bytes) -> bytes:
        """What the next bytes of the answer add. Never raises."""
        if self._opaque:
            self._opaque_moves += 1
            return data
        if self._writer.finished:
            return b""
        raw = []
        for piece in self._decoder.pieces(data):
            raw.append(self._guarded(functools.partial(self._read, piece)))
            if self._writer.finished:
                break
        if self._decoder.dead:
            self._writer.fail("api_error", "the provider's answer cannot be decompressed")
        return b"".join([*raw, self._take()])

    def end(self) -> bytes:
        """What the end of the answer adds; nothing if the provider broke off. Never raises."""
        if self._writer.finished:
            return self._take()
        raw = self._guarded(self._body.end) if self._body else self._head
        return raw + self._take()

    def _read(self, piece: bytes) -> bytes:
        if self._body is None:
            # Some providers send blank lines to keep a connection open until they answer.
            self._head = (self._head + piece).lstrip(_BLANKS)
            shape = sniff(self._head, self._headers)
            if shape is None:
                return b""
            piece, self._head = self._head, b""
            self._body = self._body_of(shape, piece)
        return self._body.feed(piece)

    def _body_of(self, shape: Shape, head: bytes) -> _Body:
        if shape is Shape.SSE:
            return _Events(self._format, self._writer)
        if shape is Shape.JSON:
            is_array = head.removeprefix(BOM).lstrip(_BLANKS)[:1] == b"["
            if is_array:
                return _Array(self._format, self._writer)
            return _Object(self._format, self._writer, self._headers)
        return _Garbage()

    def _guarded(self, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except Exception as error:
            # The format's own mistake must not take the connection with it.
            self.fault = error
            self._writer.fail("api_error", f"the provider's answer could not be read ({type(error).__name__})")
            return b""

    def _take(self) -> bytes:
        if self._stream:
            return self._writer.take()
        if self._delivered or not self._writer.finished:
            return b""
        self._delivered = True
        return self._writer.whole()


class _Garbage:
    """What cannot be translated."""

    quiet = False

    def __init__(self) -> None:
        self.moves = 0

    def feed(self, data: bytes) -> bytes:
        self.moves += 1
        return data

    def end(self) -> bytes:
        return b""


class _Object:
    """A JSON object: the whole answer."""

    quiet = False

    def __init__(self, format: Format, writer: Writer, headers: Mapping[str, str]) -> None:
        self._format, self._writer, self._headers = format, writer, headers
        self._body = bytearray()
        self.moves = 0

    def feed(self, data: bytes) -> bytes:
        self.moves += bool(data.strip())
        self._body += data
        if len(self._body) > MAX_BODY:
            self._writer.fail("api_error", f"the provider's answer is larger than {MAX_BODY >> 20} MiB")
        return b""

    def end(self) -> bytes:
        """Writes the answer; the body itself when it is no JSON object."""
        raw = bytes(self._body)
        body = _decoded(raw)
        if not isinstance(body, dict):
            return raw
        if body.get("error"):
            # OpenRouter and others: an error with status 200.
            problem = self._format.error(200, self._headers, raw)
            self._writer.fail(problem.type, problem.message)
            return b""
        self._format.answer(body, self._writer)
        if self._writer.has_content or self._writer.stopped:
            self._writer.finish()
        else:
            self._writer.fail("api_error", "the provider's answer has neither content nor a reason to stop")
        return b""


class _Stream:
    """Something that comes event by event."""

    def __init__(self, format: Format, writer: Writer) -> None:
        self._writer = writer
        self._reader = format.stream(writer)
        self._over = False
        self.moves = 0
        self.quiet = False

    def _event(self, name: str, data: bytes) -> None:
        """Give the reader an event. An array in its place is several (Gemini wraps errors so); what is broken is skipped."""
        for item in _objects(_decoded(data)):
            if not self._writer.finished:
                if says_something(name, item):
                    self.moves += 1
                    self.quiet = grows_silent(item, self.quiet)
                self._reader.event(name, item)

    def _end(self, *, done: bool) -> None:
        if not self._over:
            self._over = True
            self._reader.end(done=done)


class _Events(_Stream):
    """Server-sent events, with bare lines of JSON between them where a server forgets itself over an error."""

    def __init__(self, format: Format, writer: Writer) -> None:
        super().__init__(format, writer)
        self._parser = SseParser()
        self._ends_line = False
        self._stray: bytearray | None = None

    def feed(self, data: bytes) -> bytes:
        at = 0
        while at < len(data) and not self._over:
            if self._stray is None:
                at = self._feed_events(data, at)
            else:
                data, at = self._feed_stray(self._stray, data, at)
        return b""

    def end(self) -> bytes:
        if self._stray is not None:
            self._stray_is_whole(bytes(self._stray))
        self._read(self._parser.end())
        self._end(done=False)
        return b""

    def _feed_events(self, data: bytes, at: int) -> int:
        """Read up to a line that begins an object; returns where that is."""
        if self._ends_line and data.startswith(b"{", at):
            end: int | None = at
        else:
            stray = _STRAY.search(data, at)
            end = stray.end() - 1 if stray is not None else None
        until = len(data) if end is None else end
        self._read(self._parser.feed(data[at:until]))
        if until > at:
            self._ends_line = data.endswith((b"\r", b"\n"), at, until)
        if end is not None:
            self._stray = bytearray()
        return until

    def _feed_stray(self, stray: bytearray, data: bytes, at: int) -> tuple[bytes, int]:
        """Collect a bare object, up to a blank line or a field; returns where the rest begins, in which bytes."""
        if not stray:
            end = _STRAY_END.search(data, at)
        else:  # begun with an earlier piece, which may hold the first of its end, too
            searched = max(0, len(stray) - len("\r\nevent:"))
            stray += data
            end = _STRAY_END.search(stray, searched)
        if end is None:
            if not stray:
                stray += data[at:]
            if len(stray) > MAX_BODY:
                self._writer.fail("api_error", "the provider's stream is no stream of events")
                self._over = True
            return data, len(data)
        if stray:
            data, at = bytes(stray), 0
        self._stray_is_whole(data[at : end.start()])
        self._stray, self._ends_line = None, False
        return data, end.start()

    def _stray_is_whole(self, stray: bytes) -> None:
        self._read(self._parser.feed(b"\n\n"))  # what came before it is an event of its own
        value = _decoded(stray)
        if isinstance(value, dict) and "error" in value and not self._over:
            self._event("", stray)

    def _read(self, events: list[Event]) -> None:
        for event in events:
            if self._over:
                return
            if event.data.strip() == _DONE:
                self._end(done=True)
            else:
                self._event(event.name, event.data)
        if self._parser.dead:
            self._writer.fail("api_error", "an event of the provider's stream is too large")


class _Array(_Stream):
    """A JSON array of chunks, such as Gemini streams without `alt=sse`: each is read as soon as it is whole."""

    def __init__(self, format: Format, writer: Writer) -> None:
        super().__init__(format, writer)
        self._buffer = bytearray()
        self._at = 0  # what lies before has been looked at
        self._begin = 0  # of the element
        self._depth = 0
        self._quoted = False

    def feed(self, data: bytes) -> bytes:
        if self._over:
            return b""
        self._buffer += data
        for element in self._elements():
            self._event("", element)
        if len(self._buffer) > MAX_BODY:
            self._writer.fail("api_error", f"a part of the provider's answer is larger than {MAX_BODY >> 20} MiB")
        return b""

    def end(self) -> bytes:
        self._end(done=False)
        return b""

    def _elements(self) -> Iterator[bytes]:
        while match := (_STRING if self._quoted else _STRUCTURE).search(self._buffer, self._at):
            self._at = match.end()
            mark = match[0]
            if mark == b"\\":
                self._at += 1
            elif mark == b'"':
                self._quoted = not self._quoted
            elif mark in b"{[":
                self._depth += 1
                if self._depth == 2:
                    self._begin = match.start()
            else:
                self._depth -= 1
                if self._depth == 1:
                    yield bytes(self._buffer[self._begin : self._at])
                elif self._depth == 0:
                    self._end(done=True)
                    break
        self._forget()

    def _forget(self) -> None:
        """Drop what was read. The rest holds no mark, so it is looked at."""
        keep = self._begin if self._depth > 1 else min(self._at, len(self._buffer))
        del self._buffer[:keep]
        self._at -= keep
        self._begin -= keep
        self._at = max(self._at, len(self._buffer))


type _Body = _Garbage | _Object | _Events | _Array


def _objects(value: object) -> list[Json]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def _decoded(data: bytes) -> object:
    """The JSON value in the bytes; None when it is broken beyond halves of characters, which servers that cut by length send."""
    data = data.removeprefix(BOM)
    try:
        return msgspec.json.decode(data)
    except BAD_JSON:
        pass
    mended = _SURROGATE.sub(lambda match: match[1] or rb"\ufffd", data.decode("utf-8", "replace").encode())
    try:
        return msgspec.json.decode(mended)
    except BAD_JSON:
        return None
