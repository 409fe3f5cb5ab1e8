"""What is sent to the proxy itself, outside of any tunnel or at its beginning, and to the status port."""

from __future__ import annotations

from random import Random
from typing import Final

from . import frames, mutate
from .cases import Piece
from .requests import HEADERS, METHODS, head, http1, usual

TARGETS: Final = (
    *(
        "api.anthropic.com:443",
        "api.anthropic.com:80",
        "api.anthropic.com",
        "127.0.0.1:443",
        "@BASE@",
        "@PROXY@",
        "@STATUS@",
        "localhost:1",
    ),
    *(
        "127.1:443",
        "0x7f000001:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "LOCALHOST:443",
        "api.anthropic.com:99999",
        ":443",
        "",
        "\xff:1",
    ),
    *(
        "a" * 300 + ":443",
        "api.anthropic.com.:443",
        "user@api.anthropic.com:443",
        "api.anthropic.com:443:443",
        "example.com:443",
    ),
)
HELLO: Final = bytes.fromhex(
    "160301006a0100006603030000000000000000000000000000000000000000000000000000000000000000000004130113020100003900"
    "00001600140000116170692e616e7468726f7069632e636f6d000a000400020017000d000a00080403080408050401002b00030203040033000000"
).decode("latin-1")
"""The beginning of TLS, more or less."""


def to_proxy(chance: Random, part: str) -> list[Piece]:
    """CONNECT and what may follow, requests with a whole URL, and what is no HTTP at all."""
    how = chance.randrange(5)
    if how == 0:
        return http1(chance, part)
    if how == 1:
        target = chance.choice(
            (
                "http://api.anthropic.com/v1/messages",
                "https://api.anthropic.com/v1/messages",
                "http://@BASE@/v1/messages",
            )
        )
        return mutate.pieces([head("POST", target, [*usual(), ("Content-Length", "2")]), "{}"], chance)
    if how == 2:
        return [
            chance.choice(
                (chance.randbytes(chance.choice((1, 8, 300))), b"\x05\x01\x00", b"\x04\x01", *mutate.TOKENS)
            ).decode("latin-1")
        ]
    found: list[Piece] = [head("CONNECT", chance.choice(TARGETS), [("Host", chance.choice(TARGETS))])]
    found += [{"wait": 0.05}] if chance.random() < 0.5 else []
    found += [
        chance.choice((HELLO, mutate.text(HELLO, chance, 3), "GET / HTTP/1.1\r\n\r\n", [2000, "A"], frames.PREFACE))
    ]
    return mutate.pieces(found, chance) if chance.random() < 0.5 else found


def to_status(chance: Random, part: str) -> list[Piece]:
    """Requests to /metrics, /healthz and nowhere."""
    path = chance.choice(
        ("/metrics", "/healthz", "/", "/metrics?x", "/" + "a" * 9000, "/%00", "*", "http://evil.example/metrics")
    )
    headers = [("Host", chance.choice(("127.0.0.1", "localhost", "evil.example", "", "[::1]", "x" * 500)))]
    headers += [chance.choice(HEADERS) for _ in range(chance.choice((0, 1, 3)))]
    found: list[Piece] = [head(chance.choice((*METHODS, "GET", "GET", "GET")), path, headers)]
    return mutate.pieces(found, chance) if chance.random() < 0.6 else found
