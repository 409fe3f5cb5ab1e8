"""Requests, good and odd, as clients might send them: over HTTP/1.1 and over HTTP/2."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from . import frames, mutate
from .cases import ANSWER_PARTS, END_HEADERS, END_STREAM, Piece

PATHS: Final = (
    *("/v1/messages", "/v1/messages?beta=true", "/api/v1/messages", "//v1//messages/", "/v1/%6dessages"),
    *(
        "/v1/messages/count_tokens",
        "/v1/models",
        "/v1/models/claude-x",
        "/v1/complete",
        "/v1/files",
        "/v1/files/f_1/content",
    ),
    *(
        "/v1/messages/batches",
        "/v1/messages/batches/b_1/results",
        "/",
        "*",
        "",
        "/v1/messages/../oauth/token",
        "/v1/messages;a=b",
    ),
    *(
        "/health",
        "/oauth/token",
        "/relay/x",
        "/v1/metrics",
        "/v1/\xff\xfe",
        "/v1/messages#x",
        "http://api.anthropic.com/v1/messages",
    ),
    *(
        "http://@BASE@/v1/messages",
        "https://127.0.0.1/v1/messages",
        "/v1/messages%0d%0aX-Evil:%201",
        "/" + "a/" * 3000,
        "/v1/%",
    ),
)
METHODS: Final = (
    "POST",
    "GET",
    "HEAD",
    "OPTIONS",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "post",
    "P\x00ST",
    "",
    "X" * 300,
)
VERSIONS: Final = ("HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.1 ", "http/1.1", "HTTP/1", "")
HEADERS: Final[tuple[tuple[str, str], ...]] = (
    *(
        ("Transfer-Encoding", v)
        for v in ("chunked", "gzip, chunked", "identity", "chunked, chunked", " chunked", "xchunked")
    ),
    *(("Content-Length", v) for v in ("0", "-1", "+3", "3, 3", "99999999999", "0x10", "", "\u00b2")),
    *(("Content-Encoding", v) for v in ("gzip", "br", "zstd", "deflate", "gzip, br", "x" * 50)),
    *(("Connection", v) for v in ("close", "keep-alive", "Upgrade", "x-api-key, content-length", "te")),
    *(
        ("Host", v)
        for v in (
            "",
            "evil.example",
            "127.0.0.1:1@evil.example",
            "[::1",
            "x" * 2000,
            "api.anthropic.com, b",
            "localhost",
        )
    ),
    *(("Accept-Encoding", v) for v in ("gzip, br, zstd", "identity;q=0", "*")),
    *(
        ("Expect", "100-continue"),
        ("Upgrade", "websocket"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Trailer", "x-api-key"),
    ),
    *(
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Access-Control-Request-Method", "POST"),
    ),
    *(
        ("x-api-key", ""),
        ("Authorization", "Bearer sk-ant-oat01-placeholder"),
        ("Authorization", "Basic eDp5"),
        ("Authorization", "\xff"),
    ),
    *(
        ("anthropic-beta", "x," * 2000),
        ("anthropic-version", "9"),
        ("x-relay-session", "s" * 5000),
        ("Forwarded", "for=127.0.0.1"),
    ),
    *(
        ("X-Forwarded-For", "127.0.0.1"),
        ("Cookie", "a=b; c"),
        ("x a", "1"),
        ("x-\x00", "1"),
        ("", "1"),
        ("x" * 3000, "1"),
    ),
    *(
        ("X-Claude-Code-Session-Id", "\x00"),
        ("Content-Type", "text/html"),
        ("Content-Type", "application/json; charset=utf-7"),
    ),
)
TOOL: Final = {
    "name": "look",
    "description": "d",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}
PNG: Final = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def body(chance: Random, model: str) -> dict[str, Any]:
    """A good body of a `messages` request; now and then with everything in it that there is."""
    found: dict[str, Any] = {
        "model": model,
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": chance.random() < 0.5,
    }
    if chance.random() < 0.5:
        return found
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"path": "/"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "a"}, {"type": "image", "source": PNG}],
    }
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    found["messages"] += [
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "Let me look."}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "and?", "cache_control": {"type": "ephemeral"}}]},
    ]
    return found | {
        "system": [{"type": "text", "text": "You are a test.", "cache_control": {"type": "ephemeral"}}],
        "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
        "tool_choice": chance.choice(
            ({"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "look"}, {"type": "none"})
        ),
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "metadata": {"user_id": '{"session_id": "s"}'},
        "stop_sequences": ["x"],
        "temperature": 0.5,
    }


def json_body(chance: Random, model: str, spoil: float = 0.6) -> bytes:
    """A body as bytes, spoiled with that probability."""
    found: Any = body(chance, model)
    if chance.random() >= spoil:
        return json.dumps(found).encode()
    for _ in range(chance.choice((1, 1, 2, 5))):
        found = mutate.value(found, chance)
    data = json.dumps(found).encode()
    how = chance.randrange(12)
    if how == 0:
        return mutate.data(data, chance, 3)
    if how == 1:
        return b"\xef\xbb\xbf" + data
    if how == 2:
        return chance.choice(
            (gzip.compress(data, mtime=0), zlib.compress(data), gzip.compress(data, mtime=0)[:-4], b"[" * 30_000, b"")
        )
    return data


def model_of(chance: Random, part: str) -> str:
    """A model that leads to some provider; @MODEL@ names the case."""
    lead = part if part in ANSWER_PARTS else chance.choice(ANSWER_PARTS)
    return f"{lead}-@MODEL@"


def http1(chance: Random, part: str) -> list[Piece]:
    """One or more requests on a connection."""
    found = [text for _ in range(chance.choice((1, 1, 1, 2, 4))) for text in one(chance, part)]
    for _ in range(chance.choice((0, 0, 1, 2))):
        found = mutate.pieces(found, chance)
    return found


def good_http1(chance: Random, part: str, spoil: float = 0.0) -> list[Piece]:
    """A well-formed request to the model of a case."""
    data = json_body(chance, model_of(chance, part), spoil).decode("latin-1")
    return [head("POST", "/v1/messages", [*usual(), ("Content-Length", str(length(data)))]), data]


def one(chance: Random, part: str) -> list[Piece]:
    """A request with some oddities."""
    method = chance.choice(METHODS) if chance.random() < 0.3 else "POST"
    path = chance.choice(PATHS) if chance.random() < 0.5 else "/v1/messages"
    version = chance.choice(VERSIONS) if chance.random() < 0.15 else "HTTP/1.1"
    headers = [*usual(), *(chance.choice(HEADERS) for _ in range(chance.choice((0, 1, 1, 2, 5))))]
    if chance.random() < 0.03:
        headers += [(f"x-{n}", "1") for n in range(chance.choice((150, 300, 3000)))]
    data = json_body(chance, model_of(chance, part)).decode("latin-1")
    if chance.random() < 0.25:
        return [head(method, path, [*headers, ("Transfer-Encoding", "chunked")], version), *chunks(data, chance)]
    if chance.random() < 0.05:
        return [
            head(method, path, headers, version)[:-2],
            "x-long: ",
            [chance.choice((9_000, 70_000, 300_000)), "a"],
            "\r\n\r\n",
        ]
    return [head(method, path, [*headers, ("Content-Length", str(length(data)))], version), data]


def usual() -> list[tuple[str, str]]:
    """What nearly all requests have."""
    return [("Host", "@HOST@"), ("User-Agent", "@UA@"), ("x-api-key", "@CLIENT@"), ("Content-Type", "application/json")]


def head(method: str, path: str, headers: Sequence[tuple[str, str]], version: str = "HTTP/1.1") -> str:
    """As HTTP/1.1 has it."""
    return "\r\n".join([f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers), "", ""])


def length(data: str) -> int:
    """Bytes on the wire, with the words filled in: all names of cases have the same length (`campaign`)."""
    return len(data.replace("@MODEL@", "m" * MODEL_LENGTH))


MODEL_LENGTH: Final = 12


def chunks(data: str, chance: Random) -> list[Piece]:
    """A chunked body, rarely a good one. A word between @ is not cut: each piece is filled in by itself."""
    parts = data.split("@MODEL@")
    found = [
        f"{length(part):x}{chance.choice(('', '', ';a=b', ';' + 'x' * 300))}\r\n{part}\r\n"
        for part in (*(p for part in parts[:-1] for p in (part, "@MODEL@")), parts[-1])
        if part
    ]
    return [
        *found,
        chance.choice(
            ("0\r\n\r\n", "0\r\nx-t: 1\r\n\r\n", "0\r\nContent-Length: 1\r\n\r\n", "0\r\n", "zz\r\n", "-1\r\n")
        ),
    ]


# -- HTTP/2


def fields(chance: Random, *, odd: bool = True) -> list[list[str]]:
    """The fields of a request."""
    found = [[":method", "POST"], [":scheme", "https"], [":authority", "@HOST@"], [":path", "/v1/messages"]]
    found += [[name.lower(), value] for name, value in usual()[1:]]
    if not odd:
        return found
    if chance.random() < 0.4:
        found[3][1] = chance.choice(PATHS)
    if chance.random() < 0.2:
        found[0][1] = chance.choice(METHODS)
    found += [
        [chance.choice((n, n.lower())), v]
        for n, v in (chance.choice(HEADERS) for _ in range(chance.choice((0, 0, 1, 3))))
    ]
    if chance.random() < 0.2:
        found.insert(chance.randrange(len(found)), chance.choice(ODD_FIELDS))
    if chance.random() < 0.1:
        chance.shuffle(found)
    return found


ODD_FIELDS: Final = (
    *(
        [":path", "/"],
        [":method", "CONNECT"],
        [":protocol", "websocket"],
        [":scheme", "ftp"],
        [":authority", ""],
        [":status", "200"],
    ),
    *(
        [":", ""],
        ["", ""],
        ["connection", "close"],
        ["transfer-encoding", "chunked"],
        ["Upper", "1"],
        ["x", "a\r\nb: c"],
        ["x", "\x00"],
    ),
    *(["cookie", "a=1"], ["content-length", "5"], ["content-length", "-1"], ["host", "other.example"], ["te", "gzip"]),
)


def http2(chance: Random, part: str) -> list[Piece]:
    """Some streams on a connection, and what else frames can do."""
    found: list[Piece] = [frames.PREFACE, frames.settings(chance)]
    for number in range(chance.choice((1, 1, 2, 4))):
        data = json_body(chance, model_of(chance, part)).decode("latin-1")
        found += frames.message(2 * number + 1, fields(chance), data, chance)
    for _ in range(chance.choice((0, 0, 1, 2))):
        found[2:2] = frames.trouble(chance)
    for _ in range(chance.choice((0, 0, 1, 2))):
        found[1:] = mutate.pieces(found[1:], chance)
    return found


def good_http2(chance: Random, part: str, spoil: float = 0.0) -> list[Piece]:
    """A well-formed request to the model of a case."""
    data = json_body(chance, model_of(chance, part), spoil).decode("latin-1")
    message = [
        frames.frame("HEADERS", 1, END_HEADERS, fields=fields(chance, odd=False)),
        frames.frame("DATA", 1, END_STREAM, data[: frames.LARGEST - 100]),
    ]
    return [frames.PREFACE, *frames.WIDE, *message]
