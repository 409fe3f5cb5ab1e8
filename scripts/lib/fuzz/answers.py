"""Upstreams' answers, good and odd, in each format, over HTTP/1.1 and HTTP/2; and the well-formed request that gets them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from random import Random
from typing import Any, Final

from . import frames, mutate
from .cases import END_HEADERS, END_STREAM, Piece
from .replies import ERRORS, EVENT_ERRORS, GOOD, Event

STATUSES: Final = (
    *(200,) * 60,
    201,
    204,
    206,
    301,
    304,
    400,
    404,
    408,
    409,
    413,
    422,
    499,
    *(500, 503, 529) * 3,
    599,
    600,
    999,
)
KEY_STATUSES: Final = (401, 402, 403, 429)
"""They put keys out or into cooldown, so they come rarely: with no key left the upstream is not asked any more."""
RARELY: Final = 0.02
"""How often what puts a key out is used all the same, where it was drawn."""
HEADERS: Final[tuple[tuple[str, str], ...]] = (
    *(
        ("content-type", v)
        for v in ("text/html", "", "text/event-stream; charset=\xff", "application/json" * 400, "TEXT/EVENT-STREAM")
    ),
    *(("content-encoding", v) for v in ("gzip", "br", "zstd", "x", "gzip, gzip", "identity")),
    *(
        ("retry-after", v)
        for v in ("0", "-1", "1e400", "Thu, 01 Jan 1970 00:00:00 GMT", "99999999999999999999", "\u00b2", "x" * 400)
    ),
    *(
        (f"anthropic-ratelimit-{n}", v)
        for n in ("requests-reset", "unified-5h-reset", "tokens-remaining")
        for v in ("", "x", "-1", "9" * 400)
    ),
    *(
        ("anthropic-ratelimit-requests-reset", v)
        for v in ("2030-01-01T00:00:00Z", "0000-00-00T00:00:00Z", "+9999999-01-01", "1969")
    ),
    *(
        ("connection", "close"),
        ("connection", "x"),
        ("keep-alive", "timeout=0"),
        ("location", "http://evil.example/"),
        ("x-should-retry", "x"),
    ),
    *(
        ("set-cookie", "k=@KEY@"),
        ("x-echo", "@KEY@"),
        ("x-@KEY@", "1"),
        ("request-id", "req_@KEY@"),
        ("request-id", "x" * 5000),
        ("trailer", "x"),
    ),
    *(
        ("x-" + "n" * 2000, "1"),
        ("x", "\x00"),
        ("", "x"),
        ("x y", "1"),
        ("x-relay-request", "mine"),
        ("server", "\x1b[2J\u202e"[:4]),
    ),
)


def answer(chance: Random, part: str) -> list[Piece]:
    """An answer of a part's format and version of HTTP."""
    form, _, version = part.rpartition("-")
    stream = chance.random() < 0.65
    status = chance.choice(KEY_STATUSES) if chance.random() < 0.004 else chance.choice(STATUSES)
    if status >= 400 or chance.random() < 0.08:
        found = chance.choice(ERRORS)
        while costs_a_key(found) and chance.random() >= RARELY:
            found = chance.choice(ERRORS)
        body, kind = dump(spoiled(found, chance)), "application/json"
    elif stream:
        body, kind = sse(events(form, chance), chance), "text/event-stream"
    else:
        body, kind = dump(spoiled(GOOD[form](False), chance)), "application/json"
    if chance.random() < 0.15:
        body = mutate.data(body.encode("latin-1", "replace"), chance, 3).decode("latin-1")
    headers = [("content-type", kind), ("request-id", "req_1")]
    if chance.random() < 0.12:
        body, encoding = encoded(body, chance)
        headers.append(("content-encoding", encoding))
    headers += [chance.choice(HEADERS) for _ in range(chance.choice((0, 0, 0, 1, 2)))]
    pieces = (over_http1 if version == "h1" else over_http2)(status, headers, body, chance)
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        pieces = mutate.pieces(pieces, chance)
    return pieces


def costs_a_key(answer: Any) -> bool:
    """Whether it says that a key is no good, in its status or in its words."""
    said = str(answer)
    return "api key" in said.lower() or any(f" {status} " in said or f"'{status}'" in said for status in KEY_STATUSES)


def dump(value: Any) -> str:
    """JSON; now and then with the credential in other words."""
    return json.dumps(value)


def spoiled(value: Any, chance: Random) -> Any:
    """The value, or one with something in it changed."""
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        value = mutate.value(value, chance)
    return value


def events(form: str, chance: Random) -> list[Event]:
    """The events of a stream: some gone, doubled, out of order, spoiled, or an error among them."""
    found: list[Event] = list(GOOD[form](True))
    for _ in range(chance.choice((0, 0, 1, 2, 3))):
        at = chance.randrange(len(found)) if found else 0
        how = chance.randrange(7)
        if not found or how == 0:
            found.insert(at, chance.choice(EVENT_ERRORS))
        elif how == 1:
            del found[at]
        elif how == 2:
            found[at:at] = [found[at]] * chance.choice((1, 3, 500))
        elif how == 3:
            other = chance.randrange(len(found))
            found[at], found[other] = found[other], found[at]
        elif how == 4:
            del found[at:]
        else:
            found[at] = (found[at][0], spoiled(found[at][1], chance))
    return found


def sse(found: Sequence[Event], chance: Random) -> str:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html, with what it allows and what it does not."""
    end = chance.choice(("\n", "\n", "\n", "\r\n", "\r"))
    text = ""
    for name, value in found:
        data = value if isinstance(value, str) else json.dumps(value)
        text += f"event: {name}{end}" if name else ""
        text += f"data: {data}{end}{end}"
        if chance.random() < 0.02:
            text += chance.choice(
                (f":{end}", f"retry: 1{end}{end}", f"id: \x00{end}", f"data{end}{end}", "data: {}" + end, "\ufeff"[:0])
            )
    if chance.random() < 0.03:
        text = chance.choice(("\u00ef\u00bb\u00bf", ": " + "x" * 100_000, "\n" * 5000)) + text
    return text if chance.random() < 0.9 else text.rstrip()


def encoded(body: str, chance: Random) -> tuple[str, str]:
    """A compressed body, rarely a broken one or a bomb. Words between @ are not filled in inside."""
    data = body.encode("latin-1", "replace")
    packed, name = chance.choice(
        (
            (gzip.compress(data, mtime=0), "gzip"),
            (zlib.compress(data), "deflate"),
            (gzip.compress(b" " * 20_000_000, mtime=0), "gzip"),
        )
    )
    if chance.random() < 0.3:
        packed = mutate.data(packed, chance)
    return packed.decode("latin-1"), name


def over_http1(status: int, headers: Sequence[tuple[str, str]], body: str, chance: Random) -> list[Piece]:
    """Head and body, in some framing."""
    reason = chance.choice(("OK", "OK", "OK", "", "@KEY@", "x" * 300, "\xff"))
    found: list[Piece] = []
    if chance.random() < 0.05:
        found.append(
            chance.choice(
                (
                    "HTTP/1.1 100 Continue\r\n\r\n",
                    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
                    "\r\n",
                    "HTTP/1.1 199 \r\n\r\n",
                )
            )
        )
    how = chance.randrange(10)
    fields = [*headers]
    chunked: list[Piece] = [body]
    if how < 5:
        fields.append(("transfer-encoding", "chunked"))
        size = chance.choice((len(body) or 1, 512, 7 if len(body) < 2000 else 512))
        chunked = [f"{filled(part):x}\r\n{part}\r\n" for part in frames.pieces(body, size) if "@KEY@" not in part]
        chunked.append(
            chance.choice(
                (
                    "0\r\n\r\n",
                    "0\r\n\r\n",
                    "0\r\n\r\n",
                    "0\r\nx-t: @KEY@\r\n\r\n",
                    "",
                    "0\r\n",
                    "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                )
            )
        )
    elif how < 8:
        fields.append(("content-length", str(filled(body) + chance.choice((0, 0, 0, 0, 1, -1, 1000)))))
    elif how == 8:
        fields += [("content-length", "3"), ("transfer-encoding", "chunked")]
    else:
        fields.append(("connection", "close"))
        chunked.append({"end": "close"})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    if chance.random() < 0.03:
        return [
            *found,
            f"HTTP/1.1 {status} {reason}\r\n{head}",
            "x-long: ",
            [chance.choice((70_000, 400_000)), "a"],
            "\r\n\r\n",
            *chunked,
        ]
    if chance.random() < 0.02:
        return [
            *found,
            f"HTTP/1.1 {status} {reason}\r\n{head}",
            [chance.choice((300, 5000)), "x-many: 1\r\n"],
            "\r\n",
            *chunked,
        ]
    return [
        *found,
        f"{chance.choice(('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/2'))} {status} {reason}\r\n{head}\r\n",
        *chunked,
    ]


def filled(text: str) -> int:
    """Its length with the words filled in."""
    return len(text.replace("@MODEL@", "m" * 12).replace("@KEY@", "k" * KEY_LENGTH))


KEY_LENGTH: Final = 40


def over_http2(status: int, headers: Sequence[tuple[str, str]], body: str, chance: Random) -> list[Piece]:
    """Frames of stream 1; the upstream puts in the number of the stream that asked."""
    fields = [[":status", str(status)], *([name, value] for name, value in headers)]
    if chance.random() < 0.08:
        fields.insert(chance.randrange(len(fields) + 1), chance.choice(ODD_FIELDS))
    found = frames.message(1, fields, body, chance)
    if chance.random() < 0.05:
        found[:0] = [frames.frame("HEADERS", 1, END_HEADERS, fields=[[":status", chance.choice(("100", "103"))]])]
    if chance.random() < 0.15:
        at = chance.randrange(len(found) + 1)
        found[at:at] = frames.trouble(chance)
    if chance.random() < 0.05:
        found.append(frames.frame("HEADERS", 1, END_HEADERS | END_STREAM, fields=[["x-t", "@KEY@"]]))
    return found


ODD_FIELDS: Final = (
    *(
        [":status", "abc"],
        [":status", ""],
        [":path", "/"],
        ["", ""],
        ["Upper", "1"],
        ["content-length", "1"],
        ["content-length", "x"],
    ),
    *(
        ["connection", "close"],
        ["transfer-encoding", "chunked"],
        ["x", "a\r\nb: c"],
        ["x", "\x00"],
        ["x-long", "a" * 20_000],
    ),
)
