"""How the upstream fails when it is asked to: what a day with several keys brings, in a minute.

`choose` picks by the request's key and a random number; a fault then answers in the place of the upstream. What this module must not
know: sockets; it has a `Line` to write on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from . import traffic

JSON: Final = "application/json"


class Line(Protocol):
    """A connection to answer on."""

    transport: asyncio.Transport

    def write(self, status: int, body: bytes, number: int = 0, content_type: str = JSON) -> None:
        """A whole answer."""

    def open_stream(self, number: int, *events: bytes) -> None:
        """The head of a stream and its first events."""


type Fault = Callable[[Line, int], None]


def status(code: int, kind: str) -> Fault:
    """An error in Claude's shape."""
    body = traffic.error(kind, f"made to fail with {code}")
    return lambda line, number: line.write(code, body, number)


def limited(line: Line, number: int) -> None:
    """429 that says when to come again."""
    body = traffic.error("rate_limit_error", "made to wait")
    head = traffic.head(429, JSON, number, f"retry-after: 1\r\nContent-Length: {len(body)}")
    line.transport.write(head + body)


def empty(line: Line, number: int) -> None:
    """200 without a body."""
    line.write(200, b"", number)


def page(line: Line, number: int) -> None:
    """What a middlebox says, with status 200."""
    line.write(200, b"<html><body>Please stand by</body></html>", number, "text/html")


def first_error(line: Line, number: int) -> None:
    """A stream that begins with an error."""
    line.open_stream(
        number, traffic.OPENING, traffic.event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    )
    line.transport.write(traffic.LAST_CHUNK)


def cut_early(line: Line, number: int) -> None:
    """A stream that ends before its content."""
    line.open_stream(number, traffic.OPENING)
    line.transport.close()


def cut_late(line: Line, number: int) -> None:
    """A stream that ends in its content."""
    line.open_stream(number, traffic.OPENING, traffic.BLOCK, traffic.delta(0))
    line.transport.close()


def reset(line: Line, number: int) -> None:
    """TCP reset instead of an answer."""
    line.transport.abort()


def close(line: Line, number: int) -> None:
    """The end of the connection instead of an answer."""
    line.transport.close()


def stall(line: Line, number: int) -> None:
    """Silence."""


FAULTS: Final[tuple[tuple[float, Fault], ...]] = (
    (0.010, status(529, "overloaded_error")),
    (0.010, status(500, "api_error")),
    (0.002, limited),
    (0.005, status(429, "rate_limit_error")),
    (0.005, empty),
    (0.003, page),
    (0.005, first_error),
    (0.010, cut_early),
    (0.010, cut_late),
    (0.005, reset),
    (0.005, close),
    (0.001, stall),
)
"""How likely each fault is."""
REFUSED: Final = traffic.KEY_REFUSED.encode()


def choose(head: bytes, luck: float) -> Fault | None:
    """The fault of a request with this head, if it has one; `luck` is from 0 to 1."""
    if REFUSED in head:
        return status(401, "authentication_error")
    for share, fault in FAULTS:
        if (luck := luck - share) < 0:
            return fault
    return None
