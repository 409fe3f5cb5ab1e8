r"""Requests that are nearly JSON, read as the more patient of the upstreams read them.

    >>> read_leniently(msgspec.json.decode, b'\xef\xbb\xbf{"model": "m", "x": "\\ud800"}')[1]["model"]
    'm'
    >>> legible(b'{"x": NaN, "y": "a\tb"}')
    b'{"x": 0  , "y": "a b"}'

Read are: a byte order mark, UTF-16 and UTF-32, bytes that are no UTF-8 within strings and names, half surrogate pairs, control
characters in strings, NaN and Infinity, numbers of any size. Everything else that RFC 8259 does not have is broken JSON.

What is legible is as long as what it was made of, byte for byte: so readers tell places in it, and what is changed is changed in the
body as it came. It must not know what a request says.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Raw

from .lenient import BAD_JSON, BOM

# A byte order mark, or else where the zeros are in the first two characters, which are ASCII in JSON (RFC 4627, section 3). Longer first.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS: dict[tuple[bool, ...], str] = {
    (True, True, True, False): "utf-32-be",
    (True, False, True, False): "utf-16-be",
    (False, True, True, True): "utf-32-le",
    (False, True, False, True): "utf-16-le",
}
_BYTE_ORDERS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_AS_IT_IS = "surrogatepass"

# A string that never ends is taken to the end, so that nothing in it is looked at twice.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])', re.DOTALL)
_ODD = re.compile(rb"[\x00-\x1f]|\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_BLANKS = bytes.maketrans(bytes(range(32)), b" " * 32)
_HALF_PAIR = rb"\ufffd"

_check = msgspec.json.Decoder(Raw).decode


def read_leniently[T](decode: Callable[[bytes], T], body: bytes) -> tuple[bytes, T]:
    """What `decode` makes of a body in UTF-8, and the legible text in which it found it. Raises one of BAD_JSON when that is none."""
    try:
        return body, decode(body)
    except BAD_JSON:
        text = _in_utf8(body)
    if text is not body:
        try:
            return text, decode(text)
        except BAD_JSON:
            pass
    text = _mended(text)
    return text, decode(text)


def whole(body: bytes) -> tuple[Any, bool]:
    """All that a body in UTF-8 says, control characters included, and whether it is JSON without leniency; NaN and Infinity are null.

    Raises one of BAD_JSON when it is no JSON.
    """
    try:
        return msgspec.json.decode(body), True
    except BAD_JSON:
        read_leniently(_check, body)
    text = _mended(_in_utf8(body), keep=True).decode()
    return _patient.decode(text), False


def legible(body: bytes) -> bytes:
    """A body in UTF-8 as strict readers take it, as long as it was; what cannot be mended stays broken."""
    return _mended(_in_utf8(body))


# -- how characters are written


def utf8(body: bytes) -> bytes:
    """The body in UTF-8, which it nearly always is; see `written_as`."""
    head = body[:4]
    if b"\0" not in head and head[:2] not in _BYTE_ORDERS:  # as nearly always, and so without a call more
        return body
    charset = _charset(body)
    if charset is None:
        return body
    try:
        return body.decode(charset, _AS_IT_IS).encode("utf-8", _AS_IT_IS)
    except UnicodeError:
        return body


def written_as(body: bytes, text: bytes) -> bytes:
    """The text, which is `utf8(body)` with something changed, in the characters of the body."""
    charset = _charset(body)
    if charset is None or utf8(body) is body:
        return text
    return text.decode("utf-8", _AS_IT_IS).encode(charset, _AS_IT_IS)


def _charset(body: bytes) -> str | None:
    """None: UTF-8, as far as the first bytes tell."""
    head = body[:4]
    if b"\0" not in head and head[:2] not in _BYTE_ORDERS:
        return None
    for mark, charset in _MARKS:
        if head.startswith(mark):
            return charset
    return _ZEROS.get(tuple(byte == 0 for byte in head))


def _in_utf8(body: bytes) -> bytes:
    """Without a byte order mark, and with a question mark for each byte that belongs to no character. The same object where all is well."""
    if body.startswith(BOM):
        body = b" " * len(BOM) + body[len(BOM) :]
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode("utf-8", "surrogateescape").encode("utf-8", "replace")
    return body


# -- what stands in strings, and in the place of numbers


def _mended(text: bytes, *, keep: bool = False) -> bytes:
    """`keep`: control characters and words for numbers stay, for readers who take them."""
    pieces, done = [], 0
    for start, end, new in _amends(text, keep):
        pieces += [text[done:start], new]
        done = end
    return b"".join([*pieces, text[done:]]) if pieces else text


def _amends(text: bytes, keep: bool) -> Iterator[tuple[int, int, bytes]]:
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found[0] != 0x22:
            if not keep:
                yield token.start(), token.end(), b"0".ljust(len(found))
        elif _ODD.search(found):
            paired = _ESCAPE.sub(_without_half, found)
            yield token.start(), token.end(), paired if keep else paired.translate(_BLANKS)


def _without_half(escape: re.Match[bytes]) -> bytes:
    return _HALF_PAIR if escape[1] else escape[0]


def _whole_number(digits: str) -> int | float:
    """A float where it is more than any other reader takes: 64 bits."""
    number = int(digits) if len(digits) <= 20 else 1 << 64
    return number if -(1 << 63) <= number < 1 << 64 else float(digits)


_patient = json.JSONDecoder(strict=False, parse_int=_whole_number, parse_constant=lambda _: None)
