r"""Server-sent events, from bytes that come in any pieces.

    >>> SseParser().feed(b'event: ping\ndata: {"type": "ping"}\n\nevent: mess')
    [Event(name='ping', data=b'{"type": "ping"}', start=0, end=36)]

Follows the WHATWG standard
(https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation): lines end with LF, CRLF or
CR and with nothing else (U+2028 is text), comments and unknown fields are skipped, a block without data is no event.
The events of a stream do not depend on how it was cut into pieces. Knows nothing of Claude but the names that are worth
keeping, and builds no JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .lenient import BOM

MAX_EVENT = 16 * 1024 * 1024
"""Bytes of one event. Results of server tools come to a few megabytes; what is larger is taken for a stream without line ends."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
# An event ends with an empty line: two line ends in a row, of any kind each. Atomic, so that a CRLF is never read as CR and LF.
_BLOCK_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BLANK_LINES = re.compile(rb"[\r\n]*")
_LONGEST_BLOCK_END = 4  # CRLF CRLF: so far back a search goes on, in case that a piece ended within one

_KNOWN = (
    "content_block_delta",
    "content_block_start",
    "content_block_stop",
    "message_start",
    "message_delta",
    "message_stop",
    "ping",
    "error",
    "completion",
)
_NAMES = {name.encode(): name for name in _KNOWN}
# How nearly every event of Claude's begins, by the stream's line end: one look-up instead of reading two lines.
_HEADS = {eol: {b"event: " + name.encode() + eol + b"data: ": name for name in _KNOWN} for eol in (b"\n", b"\r\n")}


@dataclass(slots=True)
class Event:
    """One event. Not frozen, as freezing costs more than parsing; nobody changes it.

    name   "" when the stream gave none (a browser would say "message"; Claude's SDKs skip such events)
    data   the data lines, joined with LF
    start  where its first line begins, as an offset in the data just fed; negative when that came before
    end    where its blank line ends; one less when only the first half of that line's CRLF has come
    """

    name: str
    data: bytes
    start: int
    end: int


class SseParser:
    """A stream's events as they become whole. `dead`: an event passed MAX_EVENT, nothing more comes."""

    __slots__ = ("_fresh", "_searched", "_tail", "dead")

    def __init__(self) -> None:
        self.dead = False
        self._fresh = True  # a byte order mark may still come
        self._tail = bytearray()  # an event's beginning, never with a blank line in it
        self._searched = 0  # so much of the tail holds no end of an event

    @property
    def idle(self) -> bool:
        """True between events: nothing of the next one has arrived."""
        return not self._tail and not self._fresh

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Never raises."""
        if self.dead:
            return []
        if not self._tail:
            return self._parse(data, 0)
        shift = len(self._tail)
        self._tail += data
        if not self._fresh and not _BLOCK_END.search(self._tail, self._searched):
            self._keep_tail()  # searched once: a large event in many small pieces costs no more than its size
            return []
        buffer = bytes(self._tail)
        self._tail.clear()
        return self._parse(buffer, -shift)

    def end(self) -> list[Event]:
        """At the end of the stream: the event that lacks only its blank line, if there is one.

        A reader that keeps to the standard drops it.
        """
        block, self._tail = bytes(self._tail), bytearray()
        event = _event(block, 0, 0)
        return [event] if event else []

    def _parse(self, buffer: bytes, shift: int) -> list[Event]:
        """The events in `buffer`, which begins at offset `shift` of the data fed and at the beginning of an event."""
        start = 0
        if self._fresh:
            if len(buffer) < len(BOM) and BOM.startswith(buffer):
                self._tail += buffer
                return []
            self._fresh = False
            start = len(BOM) if buffer.startswith(BOM) else 0
        events: list[Event] = []
        eol = _line_end(buffer)  # streams end their lines alike; one that mixes them is read more slowly
        start = self._usual(buffer, start, shift, eol, events) if eol else self._any(buffer, start, shift, events)
        if start < len(buffer) and (start := _after_blank_lines(buffer, start)) < len(buffer) and not self.dead:
            self._tail += memoryview(buffer)[start:]
            self._keep_tail()
        return events

    def _usual(self, buffer: bytes, start: int, shift: int, eol: bytes, events: list[Event]) -> int:
        """Append the events of a buffer whose lines all end alike; returns where the first unfinished one begins."""
        find, heads, width = buffer.find, _HEADS[eol], len(eol)
        blank = eol + eol
        # Nearly every event is two lines, `event: NAME` and `data: {…}`: both are read by one look-up of the first line, with the begin of
        # the second one. Whatever is not just that (more lines, other fields, odd blanks) goes the long way, with the same result.
        while (stop := find(blank, start)) >= 0:
            first = find(eol, start) + width + 6  # past the "data: " of a second line
            name = heads.get(buffer[start:first])
            if name is None and (begin := _after_blank_lines(buffer, start)) > start:
                start = begin
                continue
            after = stop + 2 * width
            if name is not None and find(eol, first, stop) < 0 and stop - start <= MAX_EVENT:
                events.append(Event(name, buffer[first:stop], start + shift, after + shift))
            elif not self._add(buffer, start, stop, shift, after, events):
                break
            start = after
        return start

    def _any(self, buffer: bytes, start: int, shift: int, events: list[Event]) -> int:
        """As `_usual`, whatever the line ends."""
        while match := _BLOCK_END.search(buffer, start := _after_blank_lines(buffer, start)):
            if not self._add(buffer, start, match.start(), shift, match.end(), events):
                break
            start = match.end()
        return start

    def _add(self, buffer: bytes, start: int, stop: int, shift: int, after: int, events: list[Event]) -> bool:
        """Append the event in buffer[start:stop], if there is one; False when it is too large."""
        self.dead = stop - start > MAX_EVENT
        event = None if self.dead else _event(buffer[start:stop], start + shift, after + shift)
        if event is not None:
            events.append(event)
        return not self.dead

    def _keep_tail(self) -> None:
        self._searched = max(0, len(self._tail) - _LONGEST_BLOCK_END)
        if len(self._tail) > MAX_EVENT + _LONGEST_BLOCK_END:
            self.dead = True
            self._tail.clear()


def _line_end(buffer: bytes) -> bytes | None:
    """How all lines of the buffer end; None when they do so in different ways."""
    returns = buffer.count(b"\r")
    if returns == 0:
        return b"\n"
    return b"\r\n" if buffer.count(b"\r\n") == returns == buffer.count(b"\n") else None


def _after_blank_lines(buffer: bytes, start: int) -> int:
    match = _BLANK_LINES.match(buffer, start)
    return match.end() if match else start


def _event(block: bytes, start: int, end: int) -> Event | None:
    """The event that the lines of a block make; None without data."""
    name, data = b"", []
    for line in _LINE_END.split(block):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    if not data:
        return None
    return Event(_NAMES.get(name) or name.decode("utf-8", "replace"), b"\n".join(data), start, end)
