"""Upstreams that repeat the key which they were sent: in every place of an answer, in every form in which servers write such things."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping

from . import claude, foreign, steps
from .upstream import Exchange, Step, _Answer1

KEY = "sk-ant-api03-REPEATED/SECRET+1&2-" + "aB3_" * 10 + "AA"
"""With a character for each way of writing that has exceptions."""

FORMS: Mapping[str, Callable[[str], str]] = {
    "as it is": str,
    "json": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "JSON": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "some json": lambda key: key.replace("-", "\\u002d").replace("/", "\\/"),
    "url": lambda key: urllib.parse.quote(key, safe=""),
    "URL": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "url twice": lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
    "html": lambda key: html.escape(key.replace("-", "&#45;")).replace("&amp;#45;", "&#x2D;"),
    "html numbers": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 of more": lambda key: base64.b64encode(f"a{key}!".encode()).decode(),
    "base64 of a header": lambda key: base64.b64encode(f"ab{key}!".encode()).decode(),
    "base64url": lambda key: base64.urlsafe_b64encode(f"x-api-key: {key}".encode()).decode().rstrip("="),
    "base64 in json": lambda key: base64.b64encode(f"user:{key}".encode()).decode().replace("/", "\\/"),
}


def undone(text: str) -> set[str]:
    """The text with whatever is escaped in it undone, and what is Base64 in it decoded."""
    seen = {text}
    for _ in range(3):
        for one in list(seen):
            seen |= {urllib.parse.unquote(one), html.unescape(one), one.replace("\\/", "/")}
            seen.add(re.sub(r"\\+u00([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), one))
    for one in list(seen):
        for run in re.findall(r"[A-Za-z0-9+/_-]{40,}", one):
            for start in range(4):
                packed = run[start:][: (len(run) - start) // 4 * 4].replace("-", "+").replace("_", "/")
                seen.add(base64.b64decode(packed).decode("latin-1"))
    return seen


def holds(data: bytes, key: str = KEY) -> bool:
    """Whether the key, or most of it, is in there."""
    most = key[len(key) // 8 : -len(key) // 8]
    return any(most in one for one in undone(data.decode("latin-1")))


def exactly(data: bytes, key: str = KEY) -> str | None:
    """In which of the forms the key is in there; for files of any size."""
    return next((name for name, form in FORMS.items() if form(key)[:-4].rstrip("=").encode() in data), None)


def _raw(value: object) -> bytes:
    """JSON whose strings are written as they are: the form of a key has the escapes already."""
    return json.dumps(value).replace("\\\\", "\\").encode()


def whole(format: str, said: str) -> bytes:
    """A good answer."""
    match format:
        case "openai-chat":
            choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            return _raw(
                {
                    "id": said,
                    "object": said,
                    "model": said,
                    "system_fingerprint": said,
                    "choices": [choice],
                    "usage": {"prompt_tokens": 2, "completion_tokens": 3},
                }
            )
        case "openai-responses":
            item = {
                "type": "message",
                "id": said,
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": said, "annotations": []}],
            }
            return _raw(
                {
                    "id": said,
                    "object": "response",
                    "model": said,
                    "status": "completed",
                    "output": [item],
                    "usage": {"input_tokens": 2, "output_tokens": 3},
                }
            )
        case "gemini":
            part = {"text": said, "thoughtSignature": said}
            return _raw(
                {
                    "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 2, "candidatesTokenCount": 3},
                    "modelVersion": said,
                    "responseId": said,
                }
            )
    return _raw(claude.message(said, model=said, id=said, stop_reason=said, container={"id": said, "expires_at": said}))


def stream(format: str, said: str) -> bytes:
    """The same as a stream."""
    event = lambda value: b"data: " + _raw(value) + b"\n\n"  # noqa: E731
    match format:
        case "openai-chat":
            head = {"id": said, "model": said}
            return (
                b"".join(
                    event(head | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
                    for delta, finish in (({"role": "assistant", "content": said}, None), ({}, "stop"))
                )
                + foreign.CHAT_USAGE
                + foreign.DONE
            )
        case "openai-responses":
            item = {
                "type": "message",
                "id": said,
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": said, "annotations": []}],
            }
            end = {
                "id": said,
                "model": said,
                "status": "completed",
                "output": [item],
                "usage": {"input_tokens": 2, "output_tokens": 3},
            }
            parts = (
                {"type": "response.created", "response": {"id": said, "model": said, "status": "in_progress"}},
                {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
                {
                    "type": "response.output_text.delta",
                    "output_index": 0,
                    "content_index": 0,
                    "item_id": said,
                    "delta": said,
                },
                {"type": "response.output_item.done", "output_index": 0, "item": item},
                {"type": "response.completed", "response": end},
            )
            return b"".join(map(event, parts))
        case "gemini":
            return b"data: " + whole(format, said) + b"\n\n"
    begin = claude.message(content=[], model=said, id=said, container={"id": said, "expires_at": said})
    named = lambda name, value: f"event: {name}\n".encode() + event(value)  # noqa: E731
    return b"".join(
        (
            named("message_start", {"type": "message_start", "message": begin}),
            claude.BLOCK_START,
            named(
                "content_block_delta",
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": said}},
            ),
            claude.BLOCK_STOP,
            named(
                "message_delta",
                {"type": "message_delta", "delta": {"stop_reason": said}, "usage": {"output_tokens": 3}},
            ),
            claude.STOP,
        )
    )


def error(format: str, said: str) -> bytes:
    if format == "gemini":
        return _raw({"error": {"code": 400, "message": said, "status": said}})
    if format.startswith("openai"):
        return _raw({"error": {"message": said, "type": said, "code": said, "param": said}})
    return _raw({"type": "error", "error": {"type": said, "message": said}, "request_id": said})


def answer(
    status: int,
    body: bytes,
    said: str,
    *,
    kind: str = "application/json",
    size: int = 1 << 30,
    encoding: str | None = None,
) -> Step:
    """With the key in reason, names, values and trailers as well; the body in pieces of `size` bytes."""
    token = re.sub(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]", "%2F", said)

    async def run(exchange: Exchange) -> None:
        assert isinstance(exchange, _Answer1)
        packed = (
            b"".join(part for part in steps.pack_parts([body], encoding) if isinstance(part, bytes))
            if encoding
            else body
        )
        lines = [f"HTTP/1.1 {status} {said}", f"content-type: {kind}", "transfer-encoding: chunked", "trailer: x-late"]
        lines += [
            f"request-id: {said}",
            f"x-echo: you sent {said}!",
            f"{token}: 1",
            f"set-cookie: k={said}",
            f"anthropic-ratelimit-odd: {said}",
        ]
        lines += [f"content-encoding: {encoding}"] if encoding else []
        exchange.chunked = True
        await exchange.raw("\r\n".join([*lines, "", ""]).encode())
        for at in range(0, len(packed), size):
            await exchange.send(packed[at : at + size])
        await exchange.end([("x-late", said), (token, "late")])

    return Step(run)


def broken(said: str) -> Iterator[Step]:
    """Answers that are none."""
    yield steps.raw(f"HTTP/1.1 200 OK\r\nx-echo {said}\r\n\r\n".encode())
    yield steps.raw(
        f"HTTP/1.1 200 OK\r\n{said}: 1\r\nx{said} : 1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    )
    yield steps.raw(f"{said}\r\n\r\n".encode())
    yield steps.raw(f"HTTP/1.1 200 {said}\r\nx-echo: {said}".encode())
    yield steps.raw(f"HTTP/1.1 200 {said}\r\ncontent-length: 900\r\n\r\n{said}".encode())
    yield steps.raw(f"HTTP/1.1 200 {said}\r\ntransfer-encoding: chunked\r\n\r\n{said}\r\n".encode())
    yield steps.raw(f"HTTP/1.1 {said}\r\n\r\n".encode())
    yield steps.raw(f"HTTP/1.1 200 OK\r\ncontent-type: text/html; {said}\r\n\r\n<html>{said}</html>".encode())
