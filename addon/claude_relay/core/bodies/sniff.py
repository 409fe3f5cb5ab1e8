r"""What the first bytes of an answer's body make of it.

Headers lie: proxies answer in HTML, providers stream where no stream was asked for.

    >>> sniff(b'event: message_start\n', {}), sniff(b' {"type"', {}), sniff(b"<html>", {}), sniff(b"ev", {})
    (<Shape.SSE: 'sse'>, <Shape.JSON: 'json'>, <Shape.OTHER: 'other'>, None)

Also names events that come without a name. Knows nothing of good and bad answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from .lenient import BOM, parse_object, text
from .sse import Event

SNIFFED = 1024
"""Bytes that are looked at. A body that is still blank after them is OTHER."""

_FIELDS = (b"event", b"data", b"id", b"retry")


class Shape(StrEnum):
    """How a body is written."""

    SSE = "sse"
    JSON = "json"
    OTHER = "other"


def sniff(head: bytes, headers: Mapping[str, str]) -> Shape | None:
    """The shape of a body that begins with `head`; None when more bytes are needed. Header names in lower case."""
    head = head[:SNIFFED]
    if len(head) < len(BOM) and BOM.startswith(head):
        return None
    seen = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if not seen:
        return Shape.OTHER if len(head) == SNIFFED else None
    if seen[:1] in b"{[":
        return Shape.JSON
    if seen[:1] == b"<":
        return Shape.OTHER
    if seen[:1] == b":" or is_stream(headers):
        return Shape.SSE
    return _by_field(seen)


def event_kind(event: Event) -> str:
    """The event's name, else the `type` in its data, else "error" for an object that has one, else "" (such as `[DONE]`)."""
    if event.name:
        return event.name
    data = parse_object(event.data)
    return text(data.get("type")) or ("error" if data.get("error") else "")


def _by_field(seen: bytes) -> Shape | None:
    for field in _FIELDS:
        if seen.startswith(field) and seen[len(field) : len(field) + 1] in (b":", b"\r", b"\n"):
            return Shape.SSE
        if field.startswith(seen):
            return None
    return Shape.OTHER


def is_stream(headers: Mapping[str, str]) -> bool:
    """Whether an answer's head announces a stream; names in lower case."""
    return "text/event-stream" in headers.get("content-type", "").lower()
