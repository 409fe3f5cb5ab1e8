r"""Takes secrets out of a stream of Claude's form that tells them in several deltas.

    veil = SpokenVeil(matcher)
    veil.feed(b'event: content_block_delta\ndata: {…"text":"sk-ant-api03-"}}\n\n')      b"": it may be the start of one

Behind a `Veil`, which finds what stands in one piece. Events leave when they are whole; while what was said last may be the beginning of a
secret, the events since then are held: until it is another word, until the block ends. Fewer than LEAST characters are let go at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from claude_relay.core.secrets import SHORTEST, Matcher

from .lenient import BAD_JSON

LEAST: Final = SHORTEST
"""Characters of a secret that may be told before anything is held."""
HELD: Final = 64 * 1024
"""Bytes that are held at most, of an event and of events."""

SAID: Final = re.compile(rb'"(?:text|partial_json|thinking|completion)": ?("[^"\\]*(?:\\.[^"\\]*)*")')
ENDS: Final = (b"content_block_stop", b"message_stop", b"message_delta", b'"error"')
BLANK_LINES: Final = (b"\n\n", b"\r\n\r\n", b"\r\r")
LONGEST_BLANK: Final = max(map(len, BLANK_LINES))

type Piece = tuple[bytes, bytes | None]
"""Bytes of the stream; where they are a delta's text as JSON: what it says."""


class SpokenVeil:
    """One stream."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._begun = b""  # an event that is not whole
        self._said = b""  # the last word that has left, then all that is held
        self._left = 0  # how much of it has left
        self._held: list[Piece] = []
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The next bytes; returns what can leave."""
        whole = self._whole(data)
        if not self._held and not self._matcher.touches(said := self._said + b"".join(map(_text, SAID.findall(whole)))):
            self._said = self._matcher.last_word(said)
            self._left = len(self._said)
            return whole
        pieces = list(self._pieces(whole))
        self._said += b"".join([text for _, text in pieces if text is not None])
        self._held += pieces
        self._size += len(whole)
        tail = pieces[-1][0] if pieces else b""
        if self._size < HELD and self._begins(self._said) and not any(end in tail for end in ENDS):
            return b""
        return self._let_go()

    def end(self) -> bytes:
        """The rest, when the stream is over."""
        begun, self._begun = self._begun, b""
        return self._let_go() + begun

    def _whole(self, data: bytes) -> bytes:
        """The events that are whole by now."""
        if not self._begun and data.endswith(b"\n\n"):
            return data
        new = max(0, len(self._begun) - LONGEST_BLANK)
        data = self._begun + data
        end = max(at + len(blank) if (at := data.rfind(blank, new)) >= 0 else 0 for blank in BLANK_LINES)
        if len(data) - end > HELD:
            end = len(data)
        self._begun = data[end:]
        return data[:end]

    @staticmethod
    def _pieces(data: bytes) -> Iterator[Piece]:
        over = 0
        for found in SAID.finditer(data):
            start, end = found.span(1)
            yield data[over:start], None
            yield data[start:end], _text(data[start:end])
            over = end
        if over < len(data):
            yield data[over:], None

    def _begins(self, said: bytes) -> bool:
        return len(said) - self._matcher.pending(said) >= LEAST

    def _let_go(self) -> bytes:
        """What is held, with aliases in the place of secrets."""
        held, self._held, self._size = self._held, [], 0
        said, left = self._said, self._left
        spans = list(self._matcher.found(said))
        at, out = left, []
        first = beyond = 0
        for data, text in held:
            if text is not None:
                start, at = at, at + len(text)
                while first < len(spans) and spans[first][1] <= start:
                    first += 1
                beyond = max(first, beyond)
                while beyond < len(spans) and spans[beyond][0] < at:
                    beyond += 1
                if first < beyond:
                    data = _json(_without(text, start, spans[first:beyond], left))
            out.append(data)
        self._said = b"" if spans else self._matcher.last_word(said)
        self._left = len(self._said)
        return b"".join(out)


def _without(text: bytes, start: int, spans: list[tuple[int, int, bytes]], left: int) -> bytes:
    """A delta's text without what is in it of secrets. `start`: where it stands in all that was said; before `left` all has left."""
    parts, over, end = [], start, start + len(text)
    for first, last, alias in spans:
        if first < end and last > start:
            parts.append(text[over - start : max(first, start) - start])
            if start <= first or start <= left:  # of several deltas the first one has the alias
                parts.append(alias)
            over = min(last, end)
    return b"".join((*parts, text[over - start :]))


def _text(said: bytes) -> bytes:
    """What a JSON string says, as UTF-8; nothing when it is none."""
    if said.find(b"\\") < 0:
        return said[1:-1]
    try:
        return msgspec.json.decode(said, type=str).encode()
    except (*BAD_JSON, UnicodeEncodeError):
        return b""


def _json(text: bytes) -> bytes:
    return msgspec.json.encode(text.decode("utf-8", "replace"))
