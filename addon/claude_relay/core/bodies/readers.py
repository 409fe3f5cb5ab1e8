"""Readers of an answer's body: each says, as soon as it can, whether the body may pass.

    >>> reader = answer_reader({}, stream=True)
    >>> reader.feed(b'event: error\\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\\n\\n')
    Finding(decision=<Decision.FAIL: 'fail'>, failure=<Failure.ERROR_EVENT: 'error_event'>, ...)

A reader is fed the decompressed body in any pieces and gives the same finding whatever the pieces. Knows nothing of
heads and statuses; see `gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from claude_relay.core.exchange import Failure

from .lenient import error_name, parse_answer, parse_object, value
from .sniff import Shape, event_kind, sniff
from .sse import Event, SseParser

HELD = 64 * 1024
"""Bytes of a stream's start, of an error's body and of garbage that are held."""

HELD_JSON = 8 * 1024 * 1024
"""Bytes of a JSON answer that are held; a larger one passes unread."""


class Decision(StrEnum):
    """What may happen to an answer."""

    HOLD = "hold"
    PASS = "pass"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """A final decision, and for FAIL what became of the attempt; `failure` None: its status says it all."""

    decision: Decision
    failure: Failure | None = None
    body: bytes = b""
    message: str = ""


PASSED = Finding(Decision.PASS)


class Reader(Protocol):
    """Reads one body."""

    @property
    def started(self) -> bool:
        """Whether a message has begun, without content so far."""

    @property
    def moves(self) -> int:
        """How often the body has moved on: grows with everything but pings, comments and blank lines."""

    def feed(self, data: bytes) -> Finding | None:
        """The next bytes; None as long as nothing is decided."""

    def end(self) -> Finding:
        """The body is whole."""


def answer_reader(headers: Mapping[str, str], *, stream: bool) -> Reader:
    """The reader of an answer that says it is good. Header names in lower case."""
    return _Sniffing(headers, _STREAM if stream else _WHOLE)


class ErrorBody:
    """Collects the body of an answer that has failed already."""

    started = False

    def __init__(self, failure: Failure | None = None, message: str = "") -> None:
        self._failure = failure
        self._message = message
        self._body = bytearray()
        self.moves = 0

    def feed(self, data: bytes) -> Finding | None:
        """Take the next bytes, up to HELD."""
        self.moves += bool(data.strip())
        self._body += data
        return self.end() if len(self._body) >= HELD else None

    def end(self) -> Finding:
        """What was collected."""
        return Finding(Decision.FAIL, self._failure, bytes(self._body[:HELD]), self._message)


class _Sniffing:
    """Finds out how the body is written, then leaves it to the reader for that."""

    def __init__(self, headers: Mapping[str, str], readers: Mapping[Shape, Callable[[], Reader]]) -> None:
        self._headers = headers
        self._readers = readers
        self._head = b""
        self._reader: Reader | None = None

    @property
    def started(self) -> bool:
        return self._reader is not None and self._reader.started

    @property
    def moves(self) -> int:
        return 0 if self._reader is None else self._reader.moves

    def feed(self, data: bytes) -> Finding | None:
        if self._reader is not None:
            return self._reader.feed(data)
        self._head += data
        shape = sniff(self._head, self._headers)
        if shape is None:
            return None
        self._reader = self._readers[shape]()
        return self._reader.feed(self._head)

    def end(self) -> Finding:
        if self._reader is not None:
            return self._reader.end()
        if self._head.strip():
            return Finding(Decision.FAIL, Failure.GARBAGE, self._head, "the answer is neither JSON nor a stream")
        return Finding(Decision.FAIL, Failure.EMPTY, message="the answer has no body")


class _Json:
    """A JSON answer, held whole."""

    started = False

    def __init__(self) -> None:
        self._body = bytearray()
        self.moves = 0

    def feed(self, data: bytes) -> Finding | None:
        self._body += data
        self.moves += bool(data.strip())
        return PASSED if len(self._body) > HELD_JSON else None

    def end(self) -> Finding:
        body = bytes(self._body)
        answer = parse_answer(body)
        if answer is None:
            return Finding(Decision.FAIL, Failure.GARBAGE, body[:HELD], "the answer is not a JSON object")
        if answer.is_error:
            return _error(value(answer.error), body)
        return PASSED


class _Events:
    """A stream, held until its first content: `message_start` and pings alone may still be followed by an error."""

    def __init__(self) -> None:
        self.started = False
        self.moves = 0
        self._stopping = False
        self._parser = SseParser()
        self._size = 0

    def feed(self, data: bytes) -> Finding | None:
        before = self._size
        self._size += len(data)
        for event in self._parser.feed(data):
            if before + event.end > HELD:
                return PASSED
            finding = self._read(event)
            if finding is not None:
                return finding
        return PASSED if self._size >= HELD else None

    def end(self) -> Finding:
        """Some servers forget the blank line after their last event; of a whole event that lacks it, an error is believed."""
        for event in self._parser.end():
            if event_kind(event) == "error":
                return self._error(event)
        return self._empty()

    def _read(self, event: Event) -> Finding | None:
        read = _EVENTS.get(event.name or event_kind(event))
        if read is not _Events._skip:
            self.moves += 1
        return PASSED if read is None else read(self, event)

    def _skip(self, event: Event) -> None:
        return None

    def _message_start(self, event: Event) -> None:
        self.started = True

    def _message_delta(self, event: Event) -> None:
        self._stopping = True

    def _message_stop(self, event: Event) -> Finding:
        """Claude may have nothing to say: a message without content that ends in order is an answer."""
        return PASSED if self.started and self._stopping else self._empty()

    def _error(self, event: Event) -> Finding:
        return _error(parse_object(event.data).get("error"), event.data)

    def _empty(self) -> Finding:
        return Finding(Decision.FAIL, Failure.EMPTY, message="the stream ended before any content")


def _error(error: object, body: bytes) -> Finding:
    return Finding(Decision.FAIL, Failure.ERROR_EVENT, body[:HELD], f"{error_name(error)} in a good answer")


def _garbage() -> ErrorBody:
    return ErrorBody(Failure.GARBAGE, "the answer is not what was asked for")


_WHOLE: dict[Shape, Callable[[], Reader]] = {Shape.JSON: _Json, Shape.SSE: _garbage, Shape.OTHER: _garbage}
_STREAM: dict[Shape, Callable[[], Reader]] = {Shape.JSON: _Json, Shape.SSE: _Events, Shape.OTHER: _garbage}

# Events that are not here carry content: they let the answer pass.
_EVENTS: dict[str, Callable[[_Events, Event], Finding | None]] = {
    "message_start": _Events._message_start,
    "message_delta": _Events._message_delta,
    "message_stop": _Events._message_stop,
    "error": _Events._error,
    "ping": _Events._skip,
    "": _Events._skip,
}
