"""HTTP/2 frames, good and odd, in the order of a message, and the ways in which they make trouble."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from .cases import END_HEADERS, END_STREAM, Piece

PREFACE: Final = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST: Final = 16_384


def frame(kind: str, stream: int = 0, flags: int = 0, payload: str = "", **more: Any) -> dict[str, Any]:
    """A frame as a piece of a case."""
    return {"frame": kind, "stream": stream, "flags": flags, "payload": payload} | more


WIDE: Final = (
    frame("SETTINGS", payload="\x00\x04\x7f\xff\xff\xff"),
    frame("WINDOW_UPDATE", payload="\x7f\xff\x00\x00"),
)
"""The beginning of a client that takes any amount at once."""


def settings(chance: Random) -> Piece:
    """The first frame of either side; rarely an odd one."""
    if chance.random() < 0.8:
        return frame("SETTINGS")
    pairs = [
        (chance.choice((1, 2, 3, 4, 5, 6, 8, 99)), chance.choice((0, 1, 100, 65_535, LARGEST, 2**24, 2**31, 2**32 - 1)))
    ]
    payload = b"".join(number.to_bytes(2) + value.to_bytes(4) for number, value in pairs * chance.choice((1, 1, 50)))
    return frame("SETTINGS", payload=payload.decode("latin-1"))


def message(stream: int, fields: Sequence[Sequence[str]], body: str, chance: Random) -> list[Piece]:
    """HEADERS and DATA, in one piece or in several."""
    alone = not body or chance.random() < 0.1
    flags = END_HEADERS | END_STREAM if alone else END_HEADERS
    found: list[Piece] = [frame("HEADERS", stream, flags, fields=[list(field) for field in fields])]
    if alone:
        return found
    parts = pieces(body, chance.choice((LARGEST, LARGEST, 100, 7)))
    found += [frame("DATA", stream, 0, part) for part in parts[:199]]
    ends = chance.random() < 0.9
    found.append(frame("DATA", stream, END_STREAM if ends else 0, parts[199] if len(parts) > 199 else ""))
    if not ends and chance.random() < 0.5:
        found.append(frame("HEADERS", stream, END_HEADERS | END_STREAM, fields=[["x-trailer", "1"]]))
    return found


def pieces(body: str, size: int) -> list[str]:
    """The text in parts; a word between @ stays whole."""
    found, rest = [], body
    while rest:
        cut = size if size < len(rest) else len(rest)
        word = rest.find("@MODEL@", max(0, cut - 6), cut + 6)
        cut = word + 7 if 0 <= word < cut else cut
        found.append(rest[:cut])
        rest = rest[cut:]
    return found


def trouble(chance: Random) -> list[Piece]:
    """What a connection may suffer from, in small doses and in large ones."""
    times = chance.choice((1, 5, 200, 2000))
    kinds: tuple[list[Piece], ...] = (
        [frame("PING", payload="12345678", times=times)],
        [frame("SETTINGS", times=times)],
        [frame("PRIORITY", chance.choice((0, 1, 7)), payload="\x00\x00\x00\x01\x10", times=times)],
        [
            frame(
                "WINDOW_UPDATE",
                chance.choice((0, 1, 9)),
                payload=chance.choice(("\0\0\0\0", "\x7f\xff\xff\xff", "\0\0\0\x01")),
                times=times,
            )
        ],
        [frame("RST_STREAM", chance.choice((0, 1, 3, 99)), payload="\0\0\0\x08", times=times)],
        [frame("GOAWAY", payload=chance.choice(("\0\0\0\0\0\0\0\0", "\x7f\xff\xff\xff\0\0\0\x01debug")))],
        [
            frame(
                "DATA",
                chance.choice((0, 1, 2, 99)),
                chance.randrange(16),
                "x" * chance.choice((0, 1, 1000)),
                times=times,
            )
        ],
        [frame("DATA", 1, 8, "\xff" + "x" * 10)],
        [frame("PUSH_PROMISE", 1, 4, "\0\0\0\x02")],
        [frame("CONTINUATION", chance.choice((0, 1)), 0, "x" * chance.choice((0, 100)), times=times)],
        [frame("HEADERS", 1, 0, fields=[["x", "y"]]), frame("CONTINUATION", 1, 0, times=times)],
        [
            frame(
                "HEADERS",
                1,
                5,
                payload=chance.choice(("\xff\xff\xff\xff\xff\x0f", "\x3f\xe1\xff\xff\xff\x0f", "\x80", "\x40")),
            )
        ],
        rapid_resets(chance.choice((5, 100, 500))),
    )
    return chance.choice(kinds)


def rapid_resets(times: int) -> list[Piece]:
    """Streams that are opened and reset at once."""
    fields = [
        [":method", "GET"],
        [":scheme", "https"],
        [":authority", "@HOST@"],
        [":path", "/v1/models"],
        ["x-api-key", "@CLIENT@"],
    ]
    one = [frame("HEADERS", 1001, 5, fields=fields), frame("RST_STREAM", 1001, payload="\0\0\0\x08")]
    return [{"repeat": times, "step": 2, "of": one}]
