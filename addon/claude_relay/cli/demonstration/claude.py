"""What the made-up Claude knows and answers: it treats each key as `cast` says, and anything else as the real one would.

    claude = Claude()
    claude.reply(Request("/v1/messages", {"x-api-key": "demo-key-bad"}, b"{}"), now=time.time()).status      # 401

401 without a known key, 404 for a path it does not have. No sockets and no clock in here; `upstream` is the server.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count, cycle

from . import messages
from .cast import COUNT, LIST, MESSAGES, MODELS, Treatment, treatment_of
from .messages import Headers, dump

WINDOW = 2.0
"""Seconds in which the limited key is good for one request."""
THINKING = 0.25
"""Seconds until an answer begins; errors come at once."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. Header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Mapping[str, object]:
        """The body's JSON object, empty when it is none."""
        try:
            found = json.loads(self.raw)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: its body in pieces, a pause between them when it is a stream. `after`: seconds until it begins."""

    status: int
    headers: Headers
    pieces: tuple[bytes, ...]
    stream: bool = False
    after: float = 0.0


@dataclass(slots=True)
class Claude:
    """What it knows, and what it answers. `now`: seconds since the epoch."""

    opens: float = 0.0
    """When the limited key is good for a request again."""
    numbers: count[int] = field(default_factory=lambda: count(1))
    texts: cycle[str] = field(default_factory=lambda: cycle(messages.ANSWERS))
    uses: Counter[str] = field(default_factory=Counter)
    cached: set[tuple[str, str]] = field(default_factory=set)

    def reply(self, request: Request, now: float) -> Reply:
        """The answer to a request."""
        key = request.headers.get("x-api-key", "")
        number = next(self.numbers)
        name = f"req_demo_{number:04}"
        beside = messages.headers(name, messages.CAPACITY - number, now + 60)
        treatment = treatment_of(key)
        if treatment is None or treatment is Treatment.REFUSED:
            return failure(401, "authentication_error", "invalid x-api-key", name, {"request-id": name})
        if request.path == LIST:
            return whole(messages.models(MODELS), beside)
        if request.path not in (MESSAGES, COUNT):
            return failure(404, "not_found_error", f"no such path: {request.path}", name, beside)
        if treatment is Treatment.LIMITED and (left := self.take_turn(now)) > 0:
            return limited(name, now, left)
        if request.path == COUNT:
            return whole({"input_tokens": messages.tokens(len(request.raw))}, beside)
        self.uses[key] += 1
        if treatment is Treatment.OVERLOADED and self.uses[key] % 2:
            return overloaded(name, beside, stream=bool(request.body.get("stream")))
        return self.answer(request, key, name, beside)

    def take_turn(self, now: float) -> float:
        """Seconds until the limited key is good for a request; 0.0: it is, for this one. At first it is not."""
        left = self.opens - now if self.opens else WINDOW
        if left <= 0 or not self.opens:
            self.opens = now + WINDOW
        return max(0.0, left)

    def answer(self, request: Request, key: str, name: str, beside: Headers) -> Reply:
        """A good answer."""
        model, text = str(request.body.get("model")), next(self.texts)
        spent = messages.usage(request.raw, cached=(key, model) in self.cached)
        self.cached.add((key, model))
        stream = bool(request.body.get("stream"))
        found = (
            streamed(messages.events(name, model, text, spent), beside)
            if stream
            else whole(messages.message(name, model, text, spent), beside)
        )
        return replace(found, after=THINKING)


def whole(value: object, beside: Headers, status: int = 200) -> Reply:
    """An answer in one piece."""
    return Reply(status, {"content-type": "application/json", **beside}, (dump(value),))


def streamed(pieces: Iterable[bytes], beside: Headers) -> Reply:
    """A stream of events."""
    return Reply(200, {"content-type": "text/event-stream; charset=utf-8", **beside}, tuple(pieces), stream=True)


def failure(status: int, kind: str, text: str, name: str, beside: Headers) -> Reply:
    """An error in Claude's shape."""
    return whole(messages.error(kind, text, name), beside, status)


def limited(name: str, now: float, left: float) -> Reply:
    """No request is left until the window is over."""
    seconds = math.ceil(left)
    beside = messages.headers(name, 0, now + seconds) | {"retry-after": str(seconds)}
    text = "This request would exceed your organization's rate limit. Please try again later."
    return failure(429, "rate_limit_error", text, name, beside)


def overloaded(name: str, beside: Headers, *, stream: bool) -> Reply:
    """Overloaded: as a status, or as the first event under a status that says all is well."""
    if not stream:
        return failure(529, "overloaded_error", "Overloaded", name, beside)
    return streamed([messages.event("error", messages.error("overloaded_error", "Overloaded", name))], beside)
