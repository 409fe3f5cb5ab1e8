"""The made-up Claude of the demo: it treats each key as `cast` says, and anything else as the real one would.

    with FakeClaude() as claude:
        claude.url                  # http://127.0.0.1:40123, a `base_url` for relay.yaml

    Claude().reply(Request("/v1/messages", {"x-api-key": "demo-key-bad"}, b"{}"), now=time.time()).status      # 401

401 without a known key, 404 for a path it does not have; streams come a few letters at a time.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, cycle

from claude_relay.cli.fake import messages, server
from claude_relay.cli.fake.answers import LIMITED, Answer, failure, streamed, whole
from claude_relay.cli.fake.messages import CAPACITY, Headers

from .cast import COUNT, LIST, MESSAGES, MODELS, Treatment, treatment_of

WINDOW = 2.0
"""Seconds in which the limited key is good for one request."""
THINKING = 0.25
"""Seconds until an answer begins; errors come at once."""
PACE = 0.02
"""Seconds between two events of a stream."""
PIECE = 7
"""Characters of an event."""
CACHED_TOKENS = 8421
"""What system prompt and tools of a coding assistant come to, roughly; the first request with a key writes them to the cache."""

ANSWERS = (
    "The first key was not accepted, the second one was at its limit and the third one was overloaded for a moment.",
    "The next one that is ready. They take turns.",
    "Nothing of the failed try has reached you, so it was simply made again.",
    "Only this upstream. Everybody else has seen an alias.",
    "In pieces, as they are made.",
    "Then it is held until it is complete, because only then is it clear that it is good.",
    "At the second it named, and not before.",
    "No. It has asked once and got one answer.",
    "Its tokens, its tries and its times, before the last byte of the answer leaves.",
    "With a table.",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. Header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    raw: bytes

    @classmethod
    def read(cls, head: bytes, body: bytes) -> Request:
        """The request with this head. Raises ValueError for one without a path."""
        first, *lines = head.decode("latin-1").split("\r\n")
        _, path, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return cls(path.partition("?")[0], {name.lower(): value.strip() for name, _, value in pairs}, body)

    @property
    def body(self) -> Mapping[str, object]:
        """The body's JSON object, empty when it is none."""
        try:
            found = json.loads(self.raw)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def stream(self) -> bool:
        """Whether a stream is asked for."""
        return bool(self.body.get("stream"))


@dataclass(slots=True)
class Claude:
    """What it knows, and what it answers. `now`: seconds since the epoch. `pace` stretches its pauses; 0.0: none."""

    pace: float = 1.0
    opens: float = 0.0
    """When the limited key is good for a request again."""
    numbers: count[int] = field(default_factory=lambda: count(1))
    texts: cycle[str] = field(default_factory=lambda: cycle(ANSWERS))
    uses: Counter[str] = field(default_factory=Counter)
    cached: set[tuple[str, str]] = field(default_factory=set)

    def reply(self, request: Request, now: float) -> Answer:
        """The answer to a request."""
        key = request.headers.get("x-api-key", "")
        number = next(self.numbers)
        name = f"req_demo_{number:04}"
        beside = messages.headers(name, remaining=CAPACITY - number, reset=messages.moment(int(now + 60)))
        treatment = treatment_of(key)
        if treatment is None or treatment is Treatment.REFUSED:
            return failure(401, "authentication_error", "invalid x-api-key", {"request-id": name})
        if request.path == LIST:
            return whole(messages.models(*MODELS), beside)
        if request.path not in (MESSAGES, COUNT):
            return failure(404, "not_found_error", f"no such path: {request.path}", beside)
        if treatment is Treatment.LIMITED and (left := self.take_turn(now)) > 0:
            return limited(name, now, left)
        if request.path == COUNT:
            return whole({"input_tokens": tokens(len(request.raw))}, beside)
        self.uses[key] += 1
        if treatment is Treatment.OVERLOADED and self.uses[key] % 2:
            # As a status, or as the first event under a status that says all is well.
            overloaded = failure(529, "overloaded_error", "Overloaded", beside)
            return streamed([messages.error_event()], beside) if request.stream else overloaded
        return self.answer(request, key, beside)

    def take_turn(self, now: float) -> float:
        """Seconds until the limited key is good for a request; 0.0: it is, for this one. At first it is not."""
        left = self.opens - now if self.opens else WINDOW
        if left <= 0 or not self.opens:
            self.opens = now + WINDOW
        return max(0.0, left)

    def answer(self, request: Request, key: str, beside: Headers) -> Answer:
        """A good answer."""
        model, text = str(request.body.get("model")), next(self.texts)
        spent = usage(request.raw, text, cached=(key, model) in self.cached)
        self.cached.add((key, model))
        said = messages.message(text, model=model, usage=spent, id=beside["request-id"].replace("req", "msg", 1))
        found = streamed(messages.streamed(said, piece=PIECE), beside) if request.stream else whole(said, beside)
        return replace(found, after=THINKING * self.pace, pause=PACE * self.pace)


def limited(name: str, now: float, left: float) -> Answer:
    """No request is left until the window is over."""
    seconds = math.ceil(left)
    beside = messages.headers(name, remaining=0, reset=messages.moment(int(now + seconds)))
    return failure(429, "rate_limit_error", LIMITED, beside | {"retry-after": str(seconds)})


def usage(question: bytes, text: str, *, cached: bool) -> dict[str, object]:
    """What a request costs."""
    written = 0 if cached else CACHED_TOKENS
    return {
        "input_tokens": tokens(len(question)),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": CACHED_TOKENS if cached else 0,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": tokens(len(text)),
        "service_tier": "standard",
    }


def tokens(length: int) -> int:
    """About how many tokens so many bytes of text are."""
    return max(1, length // 4)


class FakeClaude(server.Serving):
    """Its server, for as long as a `with` block lasts."""

    def __init__(self, pace: float = 1.0, texts: Sequence[str] = ANSWERS) -> None:
        claude = Claude(pace, texts=cycle(texts))
        super().__init__(lambda opened: _Connection(opened, claude))


class _Connection(server.Connection):
    """Somebody who asks."""

    def __init__(self, opened: set[server.Open], claude: Claude) -> None:
        super().__init__(opened)
        self.claude = claude

    def request_received(self, head: bytes, body: bytes) -> None:
        """Answer."""
        self.say(self.claude.reply(Request.read(head, body), time.time()))
