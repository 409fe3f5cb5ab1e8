"""What a client got: whether it is a whole answer, and all that can be read in it, behind header compression and encodings too."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import hpack

from .cases import END_STREAM, FRAMES

KINDS: Final = {number: name for name, number in FRAMES.items()}
LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
CHUNK: Final = re.compile(rb"\r?\n[0-9a-fA-F]{1,8}\r\n")
ESCAPE: Final = re.compile(rb"\\u00([0-9a-fA-F]{2})")
PACKED: Final = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x9c\xda]")
LARGEST: Final = 4_000_000


@dataclass(slots=True)
class Received:
    """`data`: all bytes of the connection, within TLS. `ended`: the other side closed. `seconds`: from the last byte sent to the end."""

    data: bytearray = field(default_factory=bytearray)
    ended: bool = False
    seconds: float = 0.0
    refused: str = ""
    """Why there was no connection to send anything over."""


def is_whole(data: bytes, requests: int = 1) -> bool:
    """Whether so many answers of HTTP/1.1 are there; rather no than yes."""
    for _ in range(requests):
        head, blank, rest = data.partition(b"\r\n\r\n")
        if not blank:
            return False
        if head.split(b" ", 2)[1:2] in ([b"100"], [b"103"]):
            return is_whole(rest, requests)
        if head.split(b" ", 2)[1:2] in ([b"204"], [b"304"]):
            data = rest
        elif length := LENGTH.search(head):
            if len(rest) < int(length[1]):
                return False
            data = rest[int(length[1]) :]
        elif CHUNKED.search(head):
            body, end, data = rest.partition(b"0\r\n\r\n")
            if not end or (body and not body.endswith(b"\r\n")):
                return rest.endswith(b"\r\n0\r\n\r\n") and requests == 1
        else:
            return False
    return True


def status(data: bytes) -> int:
    """Of the first answer; 0: there is none."""
    words = data[:20].split(b" ")
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def frames_of(data: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    """Kind, flags, stream and payload of each whole frame."""
    at = 0
    while at + 9 <= len(data):
        length = int.from_bytes(data[at : at + 3])
        if at + 9 + length > len(data):
            return
        kind, flags = KINDS.get(data[at + 3], "?"), data[at + 4]
        yield kind, flags, int.from_bytes(data[at + 5 : at + 9]) & 0x7FFFFFFF, data[at + 9 : at + 9 + length]
        at += 9 + length


def is_over(data: bytes, streams: int) -> bool:
    """Whether so many streams have ended, or the connection is given up."""
    over = 0
    for kind, flags, _, _ in frames_of(data):
        if kind == "GOAWAY":
            return True
        over += kind == "RST_STREAM" or (kind in ("DATA", "HEADERS") and bool(flags & END_STREAM))
    return over >= streams


def texts(data: bytes, *, framed: bool) -> Iterator[bytes]:
    """What was received, in every form in which somebody might read a key in it."""
    whole = b"".join(unframed(data)) if framed else data
    yield data
    yield whole
    body = CHUNK.sub(b"", whole) if not framed else whole
    yield body
    yield ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), body)
    for start in list(PACKED.finditer(body))[:3]:
        yield unpacked(body[start.start() :])


def unframed(data: bytes) -> Iterator[bytes]:
    """The contents of frames: header fields as lines, DATA as it is."""
    decoder = hpack.Decoder(max_header_list_size=1_000_000)
    for kind, flags, _, payload in frames_of(data):
        if kind == "DATA":
            yield payload
        elif kind == "HEADERS":
            block = payload[5 if flags & 0x20 else 0 :]
            try:
                for name, value in decoder.decode(block, raw=True):
                    yield b"%b: %b\r\n" % (bytes(name), bytes(value))
            except (hpack.HPACKError, ValueError, IndexError):
                yield block


def unpacked(data: bytes) -> bytes:
    """As far as it can be read."""
    reader = zlib.decompressobj(47)
    try:
        return reader.decompress(data, LARGEST)
    except (zlib.error, gzip.BadGzipFile):
        return b""
