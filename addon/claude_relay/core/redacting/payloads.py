"""A body of any kind without credentials and identities and, on request, without texts.

    payloads = Payloads(finder, blanks=None)
    payloads.secrets(body, "application/json", "gzip")      what its members say is one
    payloads.clean(body, "text/event-stream", "gzip")       uncompressed, without them

JSON is cleaned value by value, a stream event by event: what is said in several deltas is looked at as one text. What is neither, is
broken or cut off, is looked at as it stands; without texts nothing is left of it but its size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from claude_relay.core.bodies.decode import SLICE, Decoder
from claude_relay.core.bodies.lenient import BAD_JSON, BOM

from .blanks import Blanks, blank
from .members import Members
from .shapes import Finder, Span

LINES: Final = re.compile(rb"\r\n|\n|\r")
DATA: Final = re.compile(rb"data: ?")
FIELDS: Final = re.compile(rb"(?:event|id|retry)?:[ -~]{0,200}|")
UNREADABLE: Final = b"(%d bytes that cannot be uncompressed)"
MARKED: Final = "\x00"
"""In no text of JSON that was read from a stream's delta."""

type Place = tuple[Any, ...]


class Payloads:
    """Of one export. `blanks`: None: texts stay."""

    def __init__(self, finder: Finder, blanks: Blanks | None) -> None:
        self.finder, self.blanks = finder, blanks
        self.members = Members(finder)

    def secrets(self, body: bytes, kind: str, coding: str) -> Iterator[tuple[bytes, bytes]]:
        """Values of members that are credentials or name somebody."""
        plain = unfolded(body, coding)
        if plain is not None:
            for value in _documents(plain):
                yield from self.members.secrets(value)

    def clean(self, body: bytes, kind: str, coding: str) -> bytes:
        """The body, uncompressed. `kind`: its content type; `coding`: its content encoding."""
        plain = unfolded(body, coding)
        if plain is None:
            return UNREADABLE % len(body)
        if not plain.strip():
            return plain
        if is_stream(plain, kind):
            return self._stream(plain)
        value, found = _read(plain)
        if found:
            return self._document(value, plain)
        lines = plain.split(b"\n")
        if len(lines) > 1 and all(_read(line)[1] for line in lines[:2] if line.strip()):
            return b"\n".join(self._line(line) for line in lines)
        return self._text(plain)

    def _document(self, value: Any, raw: bytes) -> bytes:
        shown = self.members.clean(value)
        if self.blanks is not None:
            shown = self.blanks.document(shown)
        return raw if shown is value and self.finder.known.clean(raw) is raw else self._written(shown)

    def _written(self, value: Any) -> bytes:
        written = _encode(value)
        return self.finder.known.clean(written)

    def _line(self, line: bytes) -> bytes:
        value, found = _read(line)
        return self._document(value, line) if found else self._text(line)

    def _text(self, text: bytes) -> bytes:
        if self.blanks is None:
            return self.finder.clean(text)
        return blank(text.decode("utf-8", "replace")).encode()

    # -- streams

    def _stream(self, plain: bytes) -> bytes:
        lines = LINES.split(plain)
        read = [_read(line[match.end() :]) if (match := DATA.match(line)) else (None, False) for line in lines]
        pieces: dict[Place, list[tuple[int, str]]] = {}
        for number, (value, found) in enumerate(read):
            if found:
                for place, text in said(value, _channel(value)):
                    pieces.setdefault(place, []).append((number, text))
        cut = dict(self._over_several(pieces))
        return b"\n".join(
            self._event(value, line, number, cut) if found else self._field(line)
            for number, (line, (value, found)) in enumerate(zip(lines, read, strict=True))
        )

    def _over_several(self, pieces: dict[Place, list[tuple[int, str]]]) -> Iterator[tuple[tuple[int, Place], str]]:
        """Texts of which what is in several of them is something."""
        for place, parts in pieces.items():
            if len(parts) < 2:
                continue
            raws = [text.encode("utf-8", "surrogatepass") for _, text in parts]
            spans = self.finder.spans(b"".join(raws))
            if not spans:
                continue
            at, first = 0, 0
            for (number, _), raw in zip(parts, raws, strict=True):
                while first < len(spans) and spans[first][1] <= at:
                    first += 1
                if first < len(spans) and spans[first][0] < at + len(raw):
                    yield (number, place), _without(raw, at, spans[first:]).decode("utf-8", "replace")
                at += len(raw)

    def _event(self, value: Any, line: bytes, number: int, cut: dict[tuple[int, Place], str]) -> bytes:
        channel = _channel(value)
        shown = replaced(value, channel, lambda place, text: cut.get((number, place), text)) if cut else value
        shown = self.members.clean(shown)
        if self.blanks is not None:
            shown = self.blanks.document(shown)
        return line if shown is value and self.finder.known.clean(line) is line else b"data: " + self._written(shown)

    def _field(self, line: bytes) -> bytes:
        if line == b"data: [DONE]":
            return line
        if self.blanks is not None and not FIELDS.fullmatch(line):
            return b": " + self._text(line)
        return self.finder.clean(line)


# -- parts


def unfolded(body: bytes, coding: str) -> bytes | None:
    """As far as it goes; None: not at all."""
    if coding.strip().lower() in ("", "identity"):
        return body
    decoder = Decoder(coding)
    plain = b"".join(piece for at in range(0, len(body), SLICE) for piece in decoder.pieces(body[at : at + SLICE]))
    if plain or not body:
        return plain
    return body if _read(body)[1] or body[:6] in (b"event:", b"data: ") else None


def is_stream(body: bytes, kind: str) -> bool:
    """Whether it is one of events, whatever its head says."""
    start = body[:64].lstrip()
    return start.startswith((b"event:", b"data:", b":", b"id:")) or (
        "event-stream" in kind.lower() and not start.startswith((b"{", b"[", b"<"))
    )


def said(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Every text of an event, with where it stands: deltas of one block have the same place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, held in value.items():
            yield from said(held, (*place, name))
    elif isinstance(value, list):
        for number, held in enumerate(value):
            index = held.get("index", number) if isinstance(held, dict) else number
            yield from said(held, (*place, index if isinstance(index, int) else number))


def replaced(value: Any, place: Place, new: Callable[[Place, str], str]) -> Any:
    """The event with other texts; the same object when they are the same."""
    if isinstance(value, str):
        return new(place, value)
    if isinstance(value, dict):
        held = {name: replaced(inner, (*place, name), new) for name, inner in value.items()}
        return held if any(held[name] is not value[name] for name in value) else value
    if isinstance(value, list):
        found = []
        for number, inner in enumerate(value):
            index = inner.get("index", number) if isinstance(inner, dict) else number
            found.append(replaced(inner, (*place, index if isinstance(index, int) else number), new))
        return found if any(a is not b for a, b in zip(found, value, strict=True)) else value
    return value


def _channel(value: Any) -> Place:
    """To which block of an answer an event belongs."""
    if not isinstance(value, dict):
        return ()
    return tuple(
        value.get(name) if isinstance(value.get(name), int | str) else None
        for name in ("type", "index", "output_index", "item_id")
    )


def _without(raw: bytes, start: int, spans: list[Span]) -> bytes:
    """A piece of a text, without what of these spans is in it; the first piece of each has the mark."""
    parts, over, end = [], 0, start + len(raw)
    for first, last, mark in spans:
        if first >= end:
            break
        if last <= start:
            continue
        parts.append(raw[over : max(first - start, over)])
        if first >= start:
            parts.append(mark)
        over = min(last - start, len(raw))
    return b"".join((*parts, raw[over:]))


def _documents(plain: bytes) -> Iterator[Any]:
    value, found = _read(plain)
    if found:
        yield value
        return
    for line in LINES.split(plain):
        match = DATA.match(line)
        value, found = _read(line[match.end() :] if match else line)
        if found:
            yield value


def _read(data: bytes) -> tuple[Any, bool]:
    """The JSON in it, and whether it is an object or a list."""
    start = data[:64].lstrip(BOM + b" \t\r\n")[:1]
    if start not in (b"{", b"["):
        return None, False
    try:
        return msgspec.json.decode(data.removeprefix(BOM)), True
    except BAD_JSON:
        return None, False


def _encode(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError):
        return b'"redacted: it cannot be written as JSON"'
