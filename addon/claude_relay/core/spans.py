r"""Where the members of a large JSON object are, found in small steps.

    >>> list(members(b'{"model": "m", "messages": [1]}'))
    [('model', 10, 13), ('messages', 27, 30)]

A decoder takes a millisecond for a megabyte and lets nobody else work meanwhile, also in a thread of its own. Here no step takes longer
than a fraction of a millisecond, and others may work between them. What stands within the members is passed over, not checked: only where
brackets and strings end counts. Raises ValueError for what is no such object. It must not know what a request says.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import msgspec

HUGE = 4 * 1024 * 1024
"""Bytes of a body above which it is worth it."""
STEP = 256 * 1024
"""Bytes that are looked at before others may work."""

_BLANKS = re.compile(rb"[ \t\r\n]*+")
_INSIDE = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# All but brackets: texts and whole strings.
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_SCALAR = re.compile(rb'[^][{}," \t\r\n]++')
_DEPTHS = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}

_decode_name = msgspec.json.Decoder(str).decode


def members(body: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of the value of each member of an object in UTF-8, in order and with duplicates."""
    at = _expect(body, 0, b"{")
    while body[at : at + 1] != b"}":
        end = _end_of_string(body, at)
        name = _decode_name(body[at:end])
        start = _expect(body, end, b":")
        end = end_of_value(body, start)
        yield name, start, end
        at = _after_blanks(body, end)
        if body[at : at + 1] == b",":
            at = _after_blanks(body, at + 1)
        elif body[at : at + 1] != b"}":
            raise ValueError("no object")
    if _after_blanks(body, at + 1) != len(body):
        raise ValueError("something follows the object")


def first_element(body: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the first element of a list is that is at this place; None: it is empty, or no list."""
    if body[start : start + 1] != b"[":
        return None
    at = _after_blanks(body, start + 1)
    return None if body[at : at + 1] == b"]" else (at, min(end, end_of_value(body, at)))


def elements(body: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Start and end of each element of the list that is at this place; none, where there is no list."""
    if body[start : start + 1] != b"[":
        return
    at = _after_blanks(body, start + 1)
    while body[at : at + 1] not in (b"]", b""):
        end = end_of_value(body, at)
        yield at, end
        at = _after_blanks(body, end)
        if body[at : at + 1] == b",":
            at = _after_blanks(body, at + 1)


def end_of_value(body: bytes, start: int) -> int:
    """Where the value at this place ends."""
    first = body[start : start + 1]
    if first == b'"':
        return _end_of_string(body, start)
    if first not in (b"{", b"["):
        scalar = _SCALAR.match(body, start)
        if scalar is None:
            raise ValueError("no value")
        return scalar.end()
    at, depth, looked = start, 0, start
    while at < len(body):
        if at - looked > STEP:
            looked = at
            yield_thread()
        mark = body[at]
        if mark in _DEPTHS:
            depth += _DEPTHS[mark]
            at += 1
            if depth == 0:
                return at
            continue
        flat = _FLAT.match(body, at, at + STEP)
        assert flat is not None
        at = flat.end() if flat.end() > at else _end_of_string(body, at)
    raise ValueError("a bracket is not closed")


def _end_of_string(body: bytes, start: int) -> int:
    if body[start : start + 1] != b'"':
        raise ValueError("no string")
    at = start + 1
    while inside := _INSIDE.match(body, at, at + STEP):
        if body[inside.end() : inside.end() + 1] == b'"':
            return inside.end() + 1
        if inside.end() == at:
            break
        at = inside.end()
        yield_thread()
    raise ValueError("a string does not end")


def _expect(body: bytes, at: int, mark: bytes) -> int:
    at = _after_blanks(body, at)
    if body[at : at + 1] != mark:
        raise ValueError("no object")
    return _after_blanks(body, at + 1)


def _after_blanks(body: bytes, at: int) -> int:
    while (blanks := _BLANKS.match(body, at, at + STEP)) and blanks.end() == at + STEP:
        at = blanks.end()
        yield_thread()
    return blanks.end() if blanks else at


def yield_thread() -> None:
    """Let others work."""
    time.sleep(0)


def holds(body: bytes, needle: bytes) -> bool:
    """Whether it is in the body."""
    return find(body, needle) >= 0


def find(body: bytes, needle: bytes, start: int = 0) -> int:
    """As `bytes.find`, in steps."""
    if len(body) - start <= HUGE:
        return body.find(needle, start)
    step = 16 * STEP
    while start < len(body):
        found = body.find(needle, start, start + step + len(needle) - 1)
        if found >= 0:
            return found
        start += step
        yield_thread()
    return -1


def slices(body: bytes, start: int, end: int) -> Iterator[bytes]:
    """A part of a body in pieces: to copy a large one takes long, to join pieces hinders nobody."""
    if end - start <= HUGE:
        yield body[start:end]
        return
    for at in range(start, end, STEP):
        yield body[at : min(end, at + STEP)]
