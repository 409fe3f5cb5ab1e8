"""Spoils what was made well: JSON values, lists of pieces, bytes. All by the given source of randomness."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from .cases import Piece

ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, -(2**63), 2**64, 10**40, 1e308, -0.0, 0.1),
    *("", " ", "a", "null", "\x00", "\ud800", "é", "\u202e", "😀", "x" * 300, "x" * 70_000, "../../etc/passwd", "%00"),
    *([], {}, [[]], [None], {"": ""}, {"type": None}, {"type": "text"}, ["text"], [{}] * 50),
)
"""Values of every kind at the edge of what a reader may expect."""
TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\x00",
        b"\xff",
        b" ",
        b"\t",
        b":",
        b";",
        b",",
        b"\r\n\r\n",
        b"\r\n ",
        b"0\r\n\r\n",
        b"%00",
    ),
    *(
        b"HTTP/1.1",
        b"HTTP/9.9",
        b"chunked",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 0\r\n",
        b"\xef\xbb\xbf",
    ),
    *(
        b"Content-Length: 99999999999999999999\r\n",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"FFFFFFFFFFFFFFFF\r\n",
    ),
    *(
        b"data: ",
        b"event: ",
        b"[DONE]",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\ud800",
        b"1e999",
        b"NaN",
        b"-0",
        b"\x1b[2J",
    ),
)


def value(found: Any, chance: Random) -> Any:
    """JSON with one thing in it changed: a value replaced, a member gone, doubled or renamed."""
    found = copy.deepcopy(found)
    place = found
    while isinstance(place, (dict, list)) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.75:
            place = place[key]
            continue
        _change(place, key, chance)
        return found
    return chance.choice(ODD)


def _change(place: Any, key: Any, chance: Random) -> None:
    how = chance.randrange(6)
    if how == 0:
        del place[key]
    elif how == 1 and isinstance(place, list):
        place[key:key] = [place[key]] * chance.choice((1, 2, 40))
    elif how == 2 and isinstance(place, dict):
        place[chance.choice(("", key.upper(), f"{key}\x00", "type", "index"))] = place.pop(key)
    elif how == 3:
        place[key] = deep(chance.choice((3, 20, 40)), place[key])
    else:
        place[key] = copy.deepcopy(chance.choice(ODD))


def deep(levels: int, inside: Any) -> Any:
    """A value in so many lists."""
    for _ in range(levels):
        inside = [inside]
    return inside


def data(found: bytes, chance: Random, times: int = 1) -> bytes:
    """Bytes with a few places changed."""
    result = bytearray(found)
    for _ in range(times):
        at = chance.randrange(len(result) + 1)
        until = min(len(result), at + chance.choice((1, 1, 2, 8, 64)))
        how = chance.randrange(6)
        if how == 0:
            result[at:at] = chance.choice(TOKENS)
        elif how == 1:
            del result[at:until]
        elif how == 2:
            result[at:at] = result[at:until] * chance.choice((1, 2, 30))
        elif how == 3 and result:
            result[at % len(result)] ^= 1 << chance.randrange(8)
        elif how == 4:
            result[at:until] = chance.choice(TOKENS)
        else:
            result[at:at] = chance.randbytes(chance.choice((1, 4, 32)))
    return bytes(result)


def text(found: str, chance: Random, times: int = 1) -> str:
    """The same for a piece's text."""
    return data(found.encode("latin-1", "replace"), chance, times).decode("latin-1")


def pieces(found: Sequence[Piece], chance: Random) -> list[Piece]:
    """A list of pieces with one of them changed, gone, doubled, cut in two by a pause, or with an early end."""
    result = list(copy.deepcopy(tuple(found)))
    if not result:
        return [text("", chance)]
    at = chance.randrange(len(result))
    how = chance.randrange(8)
    if how == 0 and len(result) > 1:
        del result[at]
    elif how == 1:
        result[at:at] = [result[at]] * chance.choice((1, 1, 5))
    elif how == 2:
        other = chance.randrange(len(result))
        result[at], result[other] = result[other], result[at]
    elif how == 3:
        result[at:at] = [{"wait": 0.02}]
    elif how == 4:
        result[at + 1 :] = [{"end": chance.choice(("close", "reset", "half"))}]
    else:
        result[at] = piece(result[at], chance)
    return result


def piece(found: Piece, chance: Random) -> Piece:
    """One piece with something in it changed."""
    if isinstance(found, str):
        return text(found, chance, chance.choice((1, 1, 3)))
    if isinstance(found, list):
        return [max(0, int(found[0]) + chance.choice((-1, 1, 7, -1000))), found[1]]
    if "of" in found:
        return found | {"of": pieces(found["of"], chance)}
    if "frame" not in found:
        return found
    how = chance.choice(("stream", "flags", "frame", "length", "payload", "fields", "times"))
    if how == "fields" and found.get("fields"):
        fields = [list(field) for field in found["fields"]]
        spoiled = chance.choice(fields)
        spoiled[chance.randrange(2)] = text(chance.choice(spoiled), chance)
        return found | {"fields": fields}
    changes = {
        "stream": chance.choice((0, 1, 2, 3, 5, 2**31 - 1, 2**31)),
        "flags": chance.randrange(256),
        "frame": chance.choice((*range(10), 12, 255)),
        "length": chance.choice((0, 1, 4, 5, 9, 16_384, 16_385, 2**24 - 1)),
        "payload": text(str(found.get("payload", "")), chance, 2),
        "times": chance.choice((2, 20)),
    }
    return found | {how if how in changes else "payload": changes.get(how, changes["payload"])}
