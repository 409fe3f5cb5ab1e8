"""Requests in an HTTP archive, as browsers, proxies and mitmproxy write it: http://www.softwareishard.com/blog/har-12-spec.

    for recorded in requests(data, "agent.har"): ...           Recorded, or the Unusable that one of them is

Bodies in it are text, uncompressed, whatever the head says.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from typing import Final

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON

from .recorded import Recorded, Unusable

PACKED: Final = "content-encoding"


class _Header(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Body(msgspec.Struct):
    text: str = ""
    encoding: str = ""


class _Request(msgspec.Struct):
    method: str = ""
    url: str = ""
    headers: list[_Header] = []
    postData: _Body | None = None


class _Entry(msgspec.Struct):
    request: _Request


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _Archive(msgspec.Struct):
    log: _Log


def requests(data: bytes, name: str) -> Iterator[Recorded | Unusable]:
    """In their order. Raises Unusable for what is no archive."""
    try:
        archive = msgspec.json.decode(data, type=_Archive)
    except BAD_JSON as error:
        raise Unusable(f"{name}: it is JSON, but no HTTP archive ({error})") from None
    for number, entry in enumerate(archive.log.entries, 1):
        yield _request(f"{name} {number}", entry.request)


def _request(name: str, request: _Request) -> Recorded | Unusable:
    fields = [
        (header.name.encode("utf-8", "replace"), header.value.encode("utf-8", "replace"))
        for header in request.headers
        if header.name.lower() != PACKED
    ]
    try:
        return Recorded.of(name, request.method, request.url, fields, _body(request.postData))
    except ValueError as error:
        return error if isinstance(error, Unusable) else Unusable(f"{name}: its body is no Base64")


def _body(data: _Body | None) -> bytes:
    if data is None:
        return b""
    return (
        b64decode(data.text, validate=True) if data.encoding == "base64" else data.text.encode("utf-8", "surrogatepass")
    )
