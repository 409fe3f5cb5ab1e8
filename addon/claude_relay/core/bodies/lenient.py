"""Reading JSON that others wrote, when a wrong type must not raise.

    >>> parse_object(b'{"usage": {"input_tokens": -1}}')
    {'usage': {'input_tokens': -1}}
    >>> count(-1), count(True), count("7"), count(7)
    (None, None, None, 7)

Everything here answers with an empty value instead of an exception. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from msgspec import Raw

MAX_COUNT = 10**12
"""Larger counts are taken for nonsense. Sums over a table of them still fit the 64-bit integers of SQLite."""

# msgspec raises DecodeError (a ValueError) on bad JSON, UnicodeDecodeError (another) on bad UTF-8, and RecursionError
# on nesting that is too deep.
BAD_JSON = (ValueError, RecursionError)

BOM = b"\xef\xbb\xbf"
ABSENT = Raw(b"null")

_ERROR_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Answer(msgspec.Struct):
    """The top-level members of an answer that anything looks at, still raw; see `value`."""

    type: Raw = ABSENT
    error: Raw = ABSENT
    model: Raw = ABSENT
    usage: Raw = ABSENT
    stop_reason: Raw = ABSENT
    content: Raw = ABSENT

    @property
    def is_error(self) -> bool:
        """An error in Claude's shape, or one without `type`, as other servers send it with a 200."""
        kind = value(self.type)
        return kind == "error" or (kind is None and bool(value(self.error)))


class _Block(msgspec.Struct, frozen=True):
    type: str = ""


class _Begun(msgspec.Struct, frozen=True):
    """A `content_block_start` as far as anything looks at it: the results of a provider's tools come to megabytes in it."""

    content_block: _Block = _Block()


_decode_first = json.JSONDecoder().raw_decode
_decode_answer = msgspec.json.Decoder(Answer).decode
_decode_begun = msgspec.json.Decoder(_Begun).decode


def parse_answer(data: bytes) -> Answer | None:
    """The answer in `data`; None when it is no JSON object. Its content is checked and skipped: 1 to 3 ms a megabyte."""
    try:
        return _decode_answer(data.removeprefix(BOM))
    except BAD_JSON:
        return None


def block_type(data: bytes) -> str:
    """The type of the content block that a `content_block_start` begins; empty when it names none."""
    try:
        return _decode_begun(data).content_block.type
    except BAD_JSON:
        return ""


def last_member(data: bytes, name: str) -> object:
    """The value of the last member of that name in a part of a JSON text, on whatever level; None where there is none.

    >>> last_member(b'text"}], "usage": {"input_tokens": 5}}', "usage")
    {'input_tokens': 5}
    """
    key = b'"%s"' % name.encode()
    place = data.rfind(key)
    if place < 0:
        return None
    after = data[place + len(key) :].decode("utf-8", "replace").lstrip()
    try:
        return _decode_first(after[1:].lstrip())[0] if after.startswith(":") else None
    except ValueError:
        return None


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`, whole; {} when it is none, is broken or is something else."""
    return mapping(value(data.removeprefix(BOM)))


def value(data: bytes | Raw) -> object:
    """The JSON value in `data`, whole; None when it is broken."""
    try:
        return msgspec.json.decode(data)
    except BAD_JSON:
        return None


def mapping(value: object) -> dict[str, Any]:
    """The value if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """The value if it is a string with something in it, else None."""
    return value if isinstance(value, str) and value else None


def count(value: object) -> int | None:
    """The value if it is a whole number from 0 to MAX_COUNT, else None. True and False are no numbers here."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def error_name(error: object) -> str:
    """The `type` of an error object, if it can stand in a log and a table; otherwise "error"."""
    name = text(mapping(error).get("type"))
    return name if name is not None and _ERROR_NAME.fullmatch(name) else "error"
