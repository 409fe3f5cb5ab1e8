"""Exchanges as an HTTP archive: http://www.softwareishard.com/blog/har-12-spec. What is no text is Base64.

har([exchange, …], version="0.1.0")       bytes of JSON
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from claude_relay.core.times import iso

from .redactor import Exchange, Fields


def har(exchanges: Iterable[Exchange], version: str) -> bytes:
    """`version`: the relay's."""
    log = {
        "version": "1.2",
        "creator": {"name": "Claude Relay", "version": version},
        "pages": [],
        "entries": [_entry(exchange) for exchange in exchanges],
    }
    return msgspec.json.format(msgspec.json.encode({"log": log}), indent=1) + b"\n"


def _entry(exchange: Exchange) -> dict[str, Any]:
    timings = {
        "blocked": -1,
        "dns": -1,
        "connect": -1,
        "ssl": -1,
        "send": _between(exchange.began, exchange.uploaded),
        "wait": _between(exchange.uploaded, exchange.answered),
        "receive": _between(exchange.answered, exchange.ended),
    }
    entry: dict[str, Any] = {
        "startedDateTime": iso(exchange.began),
        "time": round(sum(value for value in timings.values() if value > 0), 3),
        "request": _request(exchange),
        "response": _response(exchange),
        "cache": {},
        "timings": timings,
    }
    if exchange.note:
        entry["comment"] = exchange.note
    if exchange.facts:
        entry["_relay"] = dict(exchange.facts)
    return entry


def _request(exchange: Exchange) -> dict[str, Any]:
    query = parse_qsl(urlsplit(exchange.url).query, keep_blank_values=True)
    request: dict[str, Any] = {
        "method": exchange.method,
        "url": exchange.url,
        "httpVersion": exchange.version,
        "cookies": [],
        "headers": _headers(exchange.fields),
        "queryString": [{"name": name, "value": value} for name, value in query],
        "headersSize": -1,
        "bodySize": -1 if exchange.body is None else len(exchange.body),
    }
    if exchange.body:
        text, encoding = _text(exchange.body)
        request["postData"] = {"mimeType": _kind(exchange.fields), "params": [], "text": text} | encoding
    return request


def _response(exchange: Exchange) -> dict[str, Any]:
    body = exchange.answer or b""
    text, encoding = _text(body)
    response: dict[str, Any] = {
        "status": exchange.status or 0,
        "statusText": exchange.reason,
        "httpVersion": exchange.version if exchange.status else "",
        "cookies": [],
        "headers": _headers(exchange.answer_fields),
        "content": {"size": len(body), "mimeType": _kind(exchange.answer_fields) or "x-unknown", "text": text}
        | encoding,
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": -1 if exchange.answer is None else len(body),
    }
    if exchange.error:
        response["_error"] = exchange.error
    return response


def _headers(fields: Fields) -> list[dict[str, str]]:
    return [{"name": name.decode("latin-1"), "value": value.decode("utf-8", "replace")} for name, value in fields]


def _kind(fields: Fields) -> str:
    return next((value.decode("latin-1") for name, value in fields if name.lower() == b"content-type"), "")


def _text(body: bytes) -> tuple[str, dict[str, str]]:
    try:
        return body.decode(), {}
    except UnicodeDecodeError:
        return b64encode(body).decode(), {"encoding": "base64"}


def _between(begin: float | None, end: float | None) -> float:
    """Milliseconds."""
    return 0.0 if begin is None or end is None else round(max(0.0, end - begin) * 1000, 3)
