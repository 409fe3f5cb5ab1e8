r"""Typed netstrings, in which mitmproxy writes flows: https://docs.mitmproxy.org, after https://tnetstrings.info.

    >>> list(values(b"11:3:key;2:42#}"))
    [{'key': 42}]

Values: `,` bytes, `;` text, `#` integer, `^` float, `!` truth, `~` nothing, `]` list, `}` dictionary. Raises ValueError for what is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

DIGITS: Final = 12
"""Of a length."""
DEEPEST: Final = 64


def values(data: bytes) -> Iterator[Any]:
    """One after the other, to the end of the data."""
    at = 0
    view = memoryview(data)
    while at < len(data):
        value, at = _value(view, at, 0)
        yield value


def _value(data: memoryview, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise ValueError("values within values, too deep")
    head = bytes(data[at : at + DIGITS + 1])
    length, colon, _ = head.partition(b":")
    if not colon or not length.isdigit():
        raise ValueError(f"there is no length at byte {at}")
    start = at + len(length) + 1
    end = start + int(length)
    if end >= len(data):
        raise ValueError("it ends in the middle of a value")
    return _typed(data, start, end, depth), end + 1


def _typed(data: memoryview, start: int, end: int, depth: int) -> Any:
    kind = chr(data[end])
    if kind == "]":
        return list(_items(data, start, end, depth))
    if kind == "}":
        items = list(_items(data, start, end, depth))
        return dict(zip(items[::2], items[1::2], strict=True))
    text = bytes(data[start:end])
    match kind:
        case ",":
            return text
        case ";":
            return text.decode("utf-8", "replace")
        case "#":
            return int(text)
        case "^":
            return float(text)
        case "!":
            return text == b"true"
        case "~":
            return None
    raise ValueError(f"no value ends with {kind!r}")


def _items(data: memoryview, start: int, end: int, depth: int) -> Iterator[Any]:
    at = start
    while at < end:
        value, at = _value(data[:end], at, depth + 1)
        yield value
