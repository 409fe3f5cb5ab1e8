r"""Decompressing a body piece by piece, to look at it; what goes on stays as it came.

    >>> packed = zlib.compress(b"event: ping")
    >>> decoder = Decoder("deflate")
    >>> decoder.feed(packed[:5]) + decoder.feed(packed[5:])
    b'event: ping'

Codings (RFC 9110, section 8.4): gzip, deflate (zlib, RFC 1950, or raw, RFC 1951: both are sent), br, zstd, identity,
and up to three of them stacked. A few bytes can unfold into gigabytes, so output comes in pieces of bounded size and
only as far as the caller asks for them. Knows nothing of HTTP messages or of what the bytes mean. Never raises.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # ships no types

from .zstd import zstd

PIECE = 64 * 1024
"""Output of one step, in bytes."""

OUTPUT_LIMIT = 16 * 1024 * 1024
"""What one call may unfold to, in bytes: 256 times a chunk of 64 KiB. Text in a stream that is flushed event by event stays far below."""

SLICE = 16 * 1024
"""Bytes of input that a codec is given at once: what it has not used yet is copied with every step."""

MAX_STACKED = 3

MAX_MEMBERS = 100_000
"""Gzip members or Zstandard frames of one body. Empty ones unfold to nothing and yet take their time."""

# RFC 9659: over HTTP a window is at most 8 MiB.
_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class TooLarge(Exception):
    """A coding unfolds to more than it may, or takes too long to."""


class Codec(Protocol):
    """One content coding being undone."""

    @property
    def whole(self) -> bool:
        """Whether the body's end was seen."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` adds to the output. Raises TooLarge or one of BROKEN."""


BROKEN = (zlib.error, brotli.error, zstd.ZstdError)


class _Zlib:
    """gzip and deflate. What follows a gzip member is another one or, as browsers see it, padding to be ignored."""

    def __init__(self, wbits: int, next_member: bytes = b"") -> None:
        self._wbits = wbits
        self._next_member = next_member
        self._inflate = zlib.decompressobj(wbits)
        self._over = False
        self._members = 1

    @property
    def whole(self) -> bool:
        return self._over or self._inflate.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        full = False
        while (data or full) and self._goes_on(data):
            piece = self._inflate.decompress(data, PIECE)
            full = len(piece) == PIECE
            data = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                yield piece

    def _goes_on(self, data: bytes) -> bool:
        if self._inflate.eof and data:
            self._over = self._over or not self._next_member or data[:1] != self._next_member
            self._inflate = zlib.decompressobj(self._wbits)
            self._members += 1
            if self._members > MAX_MEMBERS:
                raise TooLarge
        return not self._over


class _Deflate:
    """`deflate` with or without the zlib wrapper; its first two bytes tell. No sensible raw stream begins like a wrapper."""

    def __init__(self) -> None:
        self._head = b""
        self._codec: _Zlib | None = None

    @property
    def whole(self) -> bool:
        return self._codec is not None and self._codec.whole

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._codec is None:
            self._head += data
            if len(self._head) < 2:
                return
            wrapped = self._head[0] & 0x0F == 8 and int.from_bytes(self._head[:2], "big") % 31 == 0
            self._codec = _Zlib(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
            data, self._head = self._head, b""
        yield from self._codec.pieces(data)


class _Brotli:
    """Bytes after the end are an error, as the library has it when they come together with the end."""

    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        return bool(self._brotli.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if data and self._brotli.is_finished():
            raise brotli.error("data after the end")
        # It may take all input and still have output: only an empty piece says that there is none.
        while piece := self._brotli.process(data, output_buffer_limit=PIECE):
            yield piece
            data = b""


class _Zstd:
    """Frames one after the other, skippable ones too."""

    def __init__(self) -> None:
        self._frame = self._new_frame()
        self._frames = 1

    @property
    def whole(self) -> bool:
        return self._frame.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        full = False
        while data or full:
            if self._frame.eof:
                self._frame = self._new_frame()
                self._frames += 1
                if self._frames > MAX_MEMBERS:
                    raise TooLarge
            piece = self._frame.decompress(data, PIECE)
            data = self._frame.unused_data if self._frame.eof else b""
            full = not self._frame.eof and not self._frame.needs_input
            if piece:
                yield piece

    @staticmethod
    def _new_frame() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options=_ZSTD_WINDOW)


_CODECS: dict[str, Callable[[], Codec]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16, next_member=b"\x1f"),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16, next_member=b"\x1f"),
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


class Decoder:
    """Undoes the `Content-Encoding` of one body.

    dead      True: nothing more comes out, because the input is broken or for the reason in `blind`
    blind     True: the coding is unknown, or the body is `large`; nothing is known against the body itself
    large     True: the output passed `limit`, or the body is in more than MAX_MEMBERS pieces
    identity  True: no coding; pieces are what was fed
    """

    def __init__(self, content_encoding: str, *, limit: int = OUTPUT_LIMIT) -> None:
        names = codings(content_encoding)
        self.blind = len(names) > MAX_STACKED or not _CODECS.keys() >= set(names)
        self.dead = self.blind
        self.large = False
        self.identity = not names
        self._limit = limit
        self._codecs = [] if self.dead else [_CODECS[name]() for name in reversed(names)]

    @property
    def whole(self) -> bool:
        """Whether all that was fed came to its end, as its coding has it."""
        return not self.dead and all(codec.whole for codec in self._codecs)

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the output: at most `limit` bytes. b"" once dead."""
        output = b"".join(self.pieces(data))
        return b"" if self.dead else output

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """As `feed`, in pieces. A caller that has seen enough stops asking, and the rest is never unfolded; it must not feed again then."""
        if self.dead:
            return
        if self.identity:
            yield data
            return
        # What lies between two codings is never kept, but has to be worked through.
        left = [self._limit + PIECE] * (len(self._codecs) - 1) + [self._limit]
        try:
            for start in range(0, len(data), SLICE):
                yield from _through(self._codecs, data[start : start + SLICE], left)
        except TooLarge:
            self.large = self.blind = self.dead = True
        except BROKEN:
            self.dead = True


def codings(content_encoding: str) -> list[str]:
    """The codings of a `Content-Encoding`, in the order in which they were applied; without those that change nothing."""
    if not content_encoding:  # nearly always
        return []
    names = (part.strip().lower() for part in content_encoding.split(","))
    return [name for name in names if name not in ("", "identity")]


def _through(codecs: Sequence[Codec], data: bytes, left: list[int], level: int = 0) -> Iterator[bytes]:
    """`left`: how much each coding may still unfold to."""
    if level == len(codecs):
        yield data
        return
    for piece in codecs[level].pieces(data):
        left[level] -= len(piece)
        if left[level] < 0:
            raise TooLarge
        yield from _through(codecs, piece, left, level + 1)
