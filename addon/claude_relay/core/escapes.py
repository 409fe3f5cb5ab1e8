r"""Reads what JSON, URLs and HTML say of characters by escapes: `\u0041`, `%41`, `&#65;`.

    >>> list(plainer(b"a%2Db &amp;amp; c"))
    [b'a-b &amp; c', b'a-b & c']
    >>> [plain for plain, _ in readings(b"%2D")]
    [b'%2D', b'-']

Only printable ASCII is read, escapes within escapes NESTED deep. All of it is linear in the text. Must not know what is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

NESTED: Final = 3
"""Escapes within escapes that are undone: JSON in JSON, a URL within a URL."""
LONGEST_ESCAPE: Final = 12

ESCAPE: Final = re.compile(
    rb"%(?P<url>[0-9A-Fa-f]{2})"
    rb'|\\{1,7}(?:u00(?P<json>[0-9A-Fa-f]{2})|(?P<short>["\\/]))'
    rb"|&(?:#0{0,5}(?P<dec>\d{1,3})|#[xX]0{0,6}(?P<hex>[0-9A-Fa-f]{1,2})|(?P<name>amp|lt|gt|quot|apos));"
)
BEGUN: Final = re.compile(
    rb"(?:%[0-9A-Fa-f]?|\\{1,7}(?:u0{0,2}|u00[0-9A-Fa-f])?|&(?:#(?:\d{0,8}|[xX][0-9A-Fa-f]{0,8})|[a-z]{0,4}))\Z"
)
"""An escape of which the rest may still come."""
INTRODUCERS: Final = (b"%", b"&", b"\\u00", b"\\/")
QUOTED: Final = (b'\\"', b"\\\\")
"""Escapes that are in every second text: looked for only where a literal has what they stand for."""
OF_ESCAPES: Final = frozenset(b"%\\&#;uxX0123456789abcdefABCDEFamplgtquos")
NAMED: Final = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


@cache
def _from(code: int) -> bytes | None:
    return bytes((code,)) if 0x20 <= code < 0x7F else None


READ: Final[dict[str, Callable[[bytes], bytes | None]]] = {
    "url": lambda said: _from(int(said, 16)),
    "json": lambda said: _from(int(said, 16)),
    "hex": lambda said: _from(int(said, 16)),
    "dec": lambda said: _from(int(said)),
    "short": lambda said: said,
    "name": NAMED.get,
}


def unescaped(found: re.Match[bytes]) -> bytes:
    """What an ESCAPE stands for; itself where that is nothing printable."""
    kind = found.lastgroup
    assert kind is not None
    return READ[kind](found[kind]) or found[0]


def may_be_escaped(text: bytes) -> bool:
    """Whether some character of it may be written as an escape."""
    return any(text.find(introducer) >= 0 for introducer in INTRODUCERS + QUOTED)


def plainer(text: bytes, may_be: Callable[[bytes], bool] = may_be_escaped) -> Iterator[bytes]:
    """The text without its escapes, and without those within them, as long as that changes it.

    may_be  whether some character of a text may be written as an escape
    """
    for _ in range(NESTED):
        if not may_be(text):
            return
        plain = ESCAPE.sub(unescaped, text)
        if plain == text:
            return
        yield plain
        text = plain


def readings(
    text: bytes, may_be: Callable[[bytes], bool] = may_be_escaped
) -> Iterator[tuple[bytes, Sequence[int] | None]]:
    """The text, then without its escapes, and so on; with where each byte stands in it, and where its end is. None: where it is."""
    yield text, None
    places: Sequence[int] = range(len(text) + 1)
    for _ in range(NESTED):
        if not may_be(text):
            return
        plain, inner = _with_places(text)
        if plain == text:
            return
        places = [places[at] for at in inner]
        text = plain
        yield text, places


def _with_places(text: bytes) -> tuple[bytes, list[int]]:
    """The text without its escapes, and where each byte of it stands; one more place for the end."""
    parts: list[bytes] = []
    places: list[int] = []
    over = 0
    for found in ESCAPE.finditer(text):
        parts += (text[over : found.start()], plain := unescaped(found))
        places += range(over, found.start())
        places += range(found.start(), found.end()) if plain == found[0] else (found.start(),)
        over = found.end()
    return b"".join((*parts, text[over:])), [*places, *range(over, len(text) + 1)]
