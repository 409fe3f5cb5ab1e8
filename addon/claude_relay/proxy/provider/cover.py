"""What is issued for an attempt, taken out of the body of its answer on the way.

    cover = Cover.of(relayed.redaction.issued, response, headers, unpacked=False)
    data = cover.read(data, translation)     what gate, meter and client get; a compressed body: as it came
    data = cover.packed.feed(data)           what of that may leave

A compressed body goes on as it came, unless there is a key in it. Must not know flows, nor what the client itself has sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from mitmproxy import http

from claude_relay.core.bodies.decode import SLICE, Decoder, codings
from claude_relay.core.bodies.deltas import SpokenVeil
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.secrets import Matcher, Veil

from .adapting import Bytes

REPEATED: Final = "the upstream has repeated a key of the relay's in a compressed answer"

MOST_HELD: Final = 1024 * 1024
"""Bytes of a compressed body that may be held. A key takes a few hundred; it takes more when they unfold to nothing."""


class PackedVeil:
    """A compressed body. It goes on as it came, chunk by chunk, each held while what it unfolds to may be the beginning of a key.

    What is no compressed text, from where it is broken or over, is looked at as it is.
    """

    def __init__(self, matcher: Matcher, encoding: str) -> None:
        self._decoder = Decoder(encoding)
        self._veil, self._raw = Veil(matcher), Veil(matcher)
        self._held: deque[tuple[int, bytearray]] = deque()  # chunks, each with how much had been unfolded at its end
        self._size = self._unfolded = 0
        self.repeated = False
        """Whether there is a key in it, or so much that nobody can look: nothing of that leaves."""

    def feed(self, data: bytes) -> bytes:
        """The next bytes; returns what can leave."""
        if self.repeated:
            return b""
        self._look(data)
        if self._held and self._held[-1][0] == self._unfolded:
            self._held[-1][1].extend(data)
        else:
            self._held.append((self._unfolded, bytearray(data)))
        self._size += len(data)
        ready = b"" if self._raw.held else self._until(self._unfolded - len(self._veil.held))
        self.repeated = self.repeated or self._size > MOST_HELD
        return b"" if self.repeated else ready

    def end(self) -> bytes:
        """The rest."""
        return b"" if self.repeated else self._until(self._unfolded)

    def _until(self, place: int) -> bytes:
        """The chunks that unfold to what is before this place, and to nothing else."""
        ready = bytearray()
        while self._held and self._held[0][0] <= place:
            ready += self._held.popleft()[1]
        self._size -= len(ready)
        return bytes(ready)

    def _look(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            part = data[start : start + SLICE]
            for piece in self._decoder.pieces(part):
                self._veil.feed(piece)
                self._unfolded += len(piece)
                if self._veil.found:
                    self.repeated = True
                    return
            if self._decoder.dead or self._decoder.whole:
                self._raw.feed(part)
        self.repeated = self.repeated or self._raw.found or self._decoder.large


class Cover:
    """The body of one answer. Without secrets everything passes as it is."""

    __slots__ = ("_decoder", "_matcher", "_spoken", "_streams", "_veil", "packed")

    def __init__(self) -> None:
        self._matcher: Matcher | None = None
        self._veil: Veil | None = None
        self._decoder: Decoder | None = None
        self._spoken: SpokenVeil | None = None
        self._streams = False
        self.packed: PackedVeil | None = None

    @classmethod
    def of(
        cls, issued: Matcher, response: http.Response, headers: Mapping[str, str], *, unpacked: bool, messages: bool
    ) -> Cover:
        """For an answer whose head has come; `headers` as they came, names in lower case.

        unpacked  no coding of its goes on to the client
        messages  in whose streams a secret may be told in several events; the alias in its place has another length
        """
        cover = cls()
        if not issued:
            return cover
        cover._matcher, encoding = issued, headers.get("content-encoding", "")
        if not codings(encoding) or Decoder(encoding).blind:
            cover._veil, cover._streams = Veil(issued), messages
            if messages and is_stream(headers) and response.headers.pop("content-length", None) is not None:
                response.headers["transfer-encoding"] = "chunked"
        elif unpacked:
            cover._veil, cover._decoder = Veil(issued), Decoder(response.headers.pop("content-encoding"))
            cover._streams = messages
        else:
            cover.packed = PackedVeil(issued, encoding)
        return cover

    def opened(self, headers: Mapping[str, str]) -> None:
        """The head as the client gets it, names in lower case."""
        if self._streams and self._matcher is not None and is_stream(headers):
            self._spoken = SpokenVeil(self._matcher)

    def read(self, data: bytes, translation: Bytes | None) -> bytes:
        """The upstream's bytes, as far as they can leave, in Claude's form."""
        if self._decoder is not None:
            data = self._decoder.feed(data)
        if self._veil is not None:
            data = self._veil.feed(data)
        if translation is not None:
            data = translation.feed(data)
        return data if self._spoken is None or not data else self._spoken.feed(data)

    def read_end(self, translation: Bytes | None) -> bytes:
        """The rest, when the upstream's answer is whole."""
        tail = b"" if self._veil is None else self._veil.end()
        if translation is not None:
            tail = (translation.feed(tail) if tail else b"") + translation.end()
        return tail if self._spoken is None else self._spoken.feed(tail) + self._spoken.end()
