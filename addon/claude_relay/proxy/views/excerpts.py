r"""Bodies as far as a page needs them: JSON that is cut off, broken or huge; streams of events.

    >>> value(mended(b'{"model": "m", "messages": [{"role": "us'))
    {'model': 'm', 'messages': [{'role': 'us'}]}

Of what has more than SHOWN bytes the beginning is read, and of a list in it also the end, where the newest turns are: an object of up to
SKIMMED bytes is looked through for its members, which costs 0.3 ms a megabyte; of a larger one two windows are read. Nothing here raises on
any bytes. It must not know what a body means.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Raw

from claude_relay.core.bodies.lenient import BAD_JSON, BOM, mapping, text, value
from claude_relay.core.bodies.sse import Event, SseParser

SHOWN: Final = 256 * 1024
SKIMMED: Final = 1280 * 1024
LOOKED_BACK: Final = 2 * 1024 * 1024
"""How far from its end the newest turn of a larger one is looked for."""
TAIL: Final = 8 * 1024
"""Bytes at the end of a large stream that are read."""
DENSE: Final = 12_000
"""Commas in SHOWN bytes. Of what has more (it is no text), less is read."""
MOST_EVENTS: Final = 2500
PIECE: Final = 8 * 1024
MOST_SURROGATES: Final = 4000
"""Escapes of halves of characters that are looked at."""
LEVELS: Final = 64
"""Of brackets that are closed at a cut."""

_BLANKS: Final = bytes.maketrans(bytes(range(32)), b" " * 32)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))
_CLOSING: Final = bytes.maketrans(b"{[", b"}]")
_SURROGATES = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")
_WORD: Final = string.ascii_letters.encode() + string.digits.encode() + b".+-"
_END: Final = 64
"""Bytes at a cut within a text that are looked at."""
_BROKEN_AT = re.compile(r"\(byte (\d+)\)")
_TURN = re.compile(rb'\{\s*"(?:role|content|parts)"\s*:')
"""How an entry of a conversation begins in all formats. Within a text its quotes would be escaped."""

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_items = msgspec.json.Decoder(list[Raw]).decode
_check = msgspec.json.Decoder(Raw).decode
_json = msgspec.json.Decoder().decode
_array_in = json.JSONDecoder(strict=False).raw_decode


# -- JSON


def read_json(data: bytes) -> object:
    """What a JSON text says, of a long, cut or broken one as much as can be known; None: it is none."""
    data = data.removeprefix(BOM)
    most = _readable(data)
    if most == len(data) and (found := _decoded(data)) is not None:
        return found
    return value(mended(data[:most]))


def read_item(raw: Raw) -> object:
    """An item of a list whole, however large a picture is in it; one that is made of many small values only as far as is readable."""
    if len(raw) <= PIECE:
        return value(raw)
    data = bytes(raw)
    return value(data) if data.count(b",") <= DENSE else read_json(data)


def mended(begun: bytes) -> bytes:
    """The beginning of a JSON text, closed where it is cut off or broken; b"" when nothing comes of it."""
    source = _legible(begun)
    return _closed(source[: _fault(source)])


def _decoded(data: bytes) -> object:
    try:
        return _json(data)
    except BAD_JSON:
        return value(_legible(data))


def _readable(data: bytes) -> int:
    """How many bytes of it are read."""
    most = min(len(data), SHOWN)
    while data.count(b",", 0, most) > DENSE:
        most //= 2
    return most


def _legible(data: bytes) -> bytes:
    """In UTF-8, without control characters and halves of surrogate pairs, which strict readers do not take."""
    data = data.decode("utf-8", "replace").encode().translate(_BLANKS)
    if b"\\ud" in data or b"\\uD" in data:
        return _SURROGATES.sub(lambda found: found[1] or rb"\ufffd", data, MOST_SURROGATES)
    return data


def _fault(source: bytes) -> int:
    """Where a JSON text breaks, which may be at its end."""
    try:
        _check(source)
    except msgspec.DecodeError as fault:
        if found := _BROKEN_AT.search(str(fault)):
            return int(found[1])
    except BAD_JSON:
        return 0
    return len(source)


def _closed(source: bytes) -> bytes:
    """With what is missing at its end; b"" when that does not make it whole."""
    closers, in_string = _open_at_end(source)
    if closers is None:
        return b""
    if in_string:
        if (half := _HALF_ESCAPE.search(source[-_END:])) and half[1]:
            source = source[: -len(half[1])]
        ends = [source + b'"', source + b'":null', source[: source.rfind(b'"')].rstrip(b" ,")]
    else:
        bare = source.rstrip()
        cut = bare.rstrip(_WORD)
        ends = [bare, bare.rstrip(b","), bare + b"null", bare + b":null", cut + b"null", cut.rstrip(b" ,")]
    for end in ends:
        whole = end + closers
        try:
            _check(whole)
        except BAD_JSON:
            continue
        return whole
    return b""


def _open_at_end(source: bytes) -> tuple[bytes | None, bool]:
    """The brackets that close what is open at its end, and whether that is within a string. None: more than LEVELS, or nonsense."""
    parts = source.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    brackets = b"".join(parts[::2]).translate(None, _NO_BRACKETS)
    for _ in range(LEVELS):
        fewer = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(fewer) == len(brackets):
            break
        brackets = fewer
    if len(brackets) > LEVELS or brackets.strip(b"{["):
        return None, False
    return brackets[::-1].translate(_CLOSING), len(parts) % 2 == 0


# -- objects with a long list


@dataclass(frozen=True, slots=True)
class Listed:
    """An object with a list in it.

    members  the others, as they stand in the text; the list too, where it has no items or is none
    first    items from the list's beginning; `last`: those at its end, when something between is not read
    skipped  bytes between them
    size     of the whole text, in bytes
    """

    members: Mapping[str, Raw]
    first: Sequence[Raw]
    last: Sequence[Raw] = ()
    skipped: int = 0
    size: int = 0

    @property
    def items(self) -> Sequence[Raw]:
        """Those that are known."""
        return [*self.first, *self.last]


def listed(data: bytes, name: str) -> Listed | None:
    """The object in `data` and its list `name`; None when it is no object."""
    size, data = len(data), data.removeprefix(BOM)
    members = _members_of(data) if len(data) <= SKIMMED and not _is_dense(data) else None
    if members is None and len(data) <= SHOWN:
        members = _members_of(mended(data[: _readable(data)]))
    if members is None:
        return _windows(data, name)
    items = _items_of(members.get(name))
    return Listed(_without(members, name) if items else members, items, size=size)


def _is_dense(data: bytes) -> bool:
    """Whether it consists of many small values, as far as some places in it tell."""
    places = range(0, len(data), max(1, len(data) // 4))
    return any(data.count(b",", at, at + PIECE * 4) > DENSE // 8 for at in places)


def _windows(data: bytes, name: str) -> Listed | None:
    """What the beginning and the end of a large text say."""
    begun = data[: _readable(data) // 2]
    members = _members_of(mended(begun))
    if members is None:
        return None
    start = max(len(begun), len(data) - _readable(data[-SHOWN:]) // 2)
    if (
        not _TURN.search(data, start)
        and (turn := data.rfind(b'{"role":', max(len(begun), len(data) - LOOKED_BACK))) >= 0
    ):
        start = turn
    last, later = _end_of_list(data[start:])
    kept = sum(map(len, last)) + sum(map(len, later.values()))
    found = _without(members, name) | later
    return Listed(found, _items_of(members.get(name)), last, max(0, len(data) - len(begun) - kept), len(data))


def _end_of_list(tail: bytes) -> tuple[Sequence[Raw], dict[str, Raw]]:
    """The last items of a list whose beginning is not there, and the members after it."""
    source = tail.decode("latin-1")
    for found, _ in zip(_TURN.finditer(tail), range(4), strict=False):
        try:
            _, end = _array_in("[" + source[found.start() :])
            items = _items(b"[" + tail[found.start() : found.start() + end - 1])
        except BAD_JSON:
            continue
        after = tail[found.start() + end - 1 :].lstrip()
        return items, _members_of(b"{" + after.removeprefix(b",")) or {}
    return (), {}


def _members_of(data: bytes) -> dict[str, Raw] | None:
    try:
        return _members(data)
    except UnicodeDecodeError:
        return _members_of(_legible(data)) if len(data) <= SHOWN else None
    except BAD_JSON:
        return None


def _items_of(raw: Raw | None) -> Sequence[Raw]:
    try:
        return _items(raw) if raw is not None else ()
    except BAD_JSON:
        return ()


def _without(members: dict[str, Raw], name: str) -> dict[str, Raw]:
    return {key: raw for key, raw in members.items() if key != name}


# -- streams


@dataclass(frozen=True, slots=True)
class Stream:
    """Events of a stream: name and data of each.

    events   those at its beginning; `ending`: those at its end, when something between is not read
    skipped  bytes between them
    size     of all, in bytes
    """

    events: Sequence[tuple[str, dict[str, Any]]]
    ending: Sequence[tuple[str, dict[str, Any]]] = field(default=())
    skipped: int = 0
    size: int = 0

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """All that are known."""
        yield from self.events
        yield from self.ending


def read_stream(data: bytes) -> Stream:
    """The events in `data`, the last one also when it is cut off. `[DONE]` and the like are left out."""
    parser, found, fed = SseParser(), list[Event](), 0
    most = len(data) if len(data) <= SHOWN + TAIL else SHOWN
    while fed < most and len(found) < MOST_EVENTS:
        found += parser.feed(data[fed : fed + PIECE])
        fed += PIECE
    if fed >= len(data):
        return Stream(_with_data([*found, *parser.end()]), size=len(data))
    start = max(fed, len(data) - TAIL)
    blank = data.find(b"\n\n", start)
    begin = start if blank < 0 else blank + 2
    parser = SseParser()
    ending = parser.feed(data[begin:])[:MOST_EVENTS]
    return Stream(_with_data(found), _with_data([*ending, *parser.end()]), begin - fed, len(data))


def _with_data(events: Sequence[Event]) -> Sequence[tuple[str, dict[str, Any]]]:
    events = [event for event in events if event.data.startswith(b"{") or event.data.lstrip().startswith(b"{")]
    try:  # all at once takes half as long
        values = msgspec.json.decode(b"[" + b",".join([event.data for event in events]) + b"]")
    except BAD_JSON:
        values = ()
    if len(values) != len(events):
        values = [value(event.data) for event in events]
        values[-1:] = [read_json(event.data) for event in events[-1:]]
    return [(event.name or _kind(one), one) for event, one in zip(events, map(mapping, values), strict=True)]


def _kind(data: Mapping[str, object]) -> str:
    """The kind of an event without a name."""
    return text(data.get("type")) or ("error" if data.get("error") else "")
