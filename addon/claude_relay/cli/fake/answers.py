"""Whole answers as values, and the faults by name: what a day with several keys brings.

    whole(message("Hello!")), streamed(events())
    FAULTS["overloaded"], FAULTS["cut_late"]

Who plays them: `server`, and tests/wire/steps over HTTP/2 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from . import messages
from .messages import Headers, dump


class End(Enum):
    """What comes after the last piece."""

    WHOLE = "the answer is over, the connection stays"
    CLOSE = "the connection is closed, whatever is missing"
    RESET = "the connection is reset"
    SILENCE = "nothing more comes"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    status  0: not even a head
    pieces  of the body; those of a stream are sent one by one
    after   seconds until it begins
    pause   seconds between the pieces of a stream
    """

    status: int = 0
    headers: Headers = field(default_factory=dict)
    pieces: tuple[bytes, ...] = ()
    stream: bool = False
    end: End = End.WHOLE
    after: float = 0.0
    pause: float = 0.0


def whole(value: object, beside: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """JSON in one piece. `beside`: headers in the place of the usual ones."""
    return Answer(status, {"Content-Type": "application/json", **_usual(beside)}, (dump(value),))


def streamed(pieces: Iterable[bytes], beside: Mapping[str, str] | None = None, end: End = End.WHOLE) -> Answer:
    """Server-sent events."""
    kind = {"Content-Type": "text/event-stream; charset=utf-8"}
    return Answer(200, kind | _usual(beside), tuple(pieces), stream=True, end=end)


def failure(status: int, kind: str, text: str, beside: Mapping[str, str] | None = None) -> Answer:
    """An error in Claude's shape."""
    usual = _usual(beside)
    return whole(messages.error(kind, text, usual["request-id"]), usual, status)


def _usual(beside: Mapping[str, str] | None) -> Headers:
    return messages.headers() if beside is None else dict(beside)


NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
LIMITED = "This request would exceed your organization's rate limit. Please try again later."

FAULTS: Final[Mapping[str, Answer]] = {
    "unauthorized": failure(401, "authentication_error", "invalid x-api-key"),
    "no_credit": failure(400, "invalid_request_error", NO_CREDIT),
    "rate_limited": failure(429, "rate_limit_error", LIMITED, messages.headers() | {"retry-after": "1"}),
    "unexplained_429": failure(429, "rate_limit_error", LIMITED),
    "api_error": failure(500, "api_error", "Internal server error"),
    "overloaded": failure(529, "overloaded_error", "Overloaded"),
    "bad_gateway": Answer(502, {"Content-Type": "text/html", "Server": "cloudflare"}, (messages.HTML_502,)),
    "page": Answer(200, {"Content-Type": "text/html"}, (b"<html><body>Please stand by</body></html>",)),
    "empty": Answer(200, {"Content-Type": "application/json", **messages.headers()}, (b"",)),
    "error_in_200": whole(messages.error("api_error", "Internal server error")),
    "error_first": streamed([messages.error_event()]),
    "cut_early": streamed([messages.start(), messages.PING], end=End.CLOSE),
    "cut_late": streamed([messages.start(), messages.BLOCK_START, messages.delta("word 0 ")], end=End.CLOSE),
    "stall_late": streamed([messages.start(), messages.BLOCK_START, messages.delta("word 0 ")], end=End.SILENCE),
    "reset": Answer(end=End.RESET),
    "close": Answer(end=End.CLOSE),
    "silence": Answer(end=End.SILENCE),
}
