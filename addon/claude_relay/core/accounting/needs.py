"""What a request may use, before anything of its answer is known.

    need_of(facts)                  -> Need((Part("", input_tokens=1200, most=64),))
    need_of_batch(body)             -> Need((Part("claude-opus-4-5", input_tokens=900, most=1024, requests=3), …), batch=True)
    outputs = Outputs()
    outputs.learn("anthropic", "claude-opus-4-5", 812)
    outputs.expected("anthropic", "claude-opus-4-5")     -> tokens of output: more than 95 of 100 answers have had

It must not know prices or budgets.
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from claude_relay.core.bodies.legible import read_leniently, utf8
from claude_relay.core.bodies.lenient import ABSENT, BAD_JSON, count, text, value
from claude_relay.core.estimate import estimate_tokens
from claude_relay.core.exchange import Facts

UNKNOWN = 4_000
"""Tokens of output that are expected of a model without history."""
ENOUGH = 20
"""Answers that make a history: of fewer nobody knows what 95 of 100 have."""
KEPT = 200
MODELS = 512
"""Answers of a model, and models, that are remembered; clients choose the names."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """Requests that are alike. `model` empty: as the route says; `most`: tokens of output at most, None: not known."""

    model: str
    input_tokens: int
    most: int | None
    requests: int = 1


class Need(msgspec.Struct, frozen=True):
    """What is to be paid for: one part, or the parts of a batch."""

    parts: tuple[Part, ...]
    batch: bool = False


def need_of(facts: Facts) -> Need:
    """Of a message, or of a text completion."""
    return Need((Part("", facts.input_estimate, facts.most),))


class _Params(msgspec.Struct):
    model: Raw = ABSENT
    max_tokens: Raw = ABSENT


class _Request(msgspec.Struct):
    params: Raw = ABSENT


class _Batch(msgspec.Struct):
    requests: list[_Request]


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_params = msgspec.json.Decoder(_Params).decode


def need_of_batch(body: bytes) -> Need:
    """Of a new batch of messages, the requests of each model taken together. Never raises; 1 to 3 ms a megabyte.

    https://docs.claude.com/en/api/creating-message-batches
    """
    tokens: dict[str, list[int]] = {}
    body = utf8(body)
    for model, size, most in _requests(body):
        sums = tokens.setdefault(model, [0, 0, 0])
        sums[0] += 1
        sums[1] += size
        sums[2] += UNKNOWN if most is None else most
    if not tokens:
        return Need((Part("", estimate_tokens(body), None),), batch=True)
    parts = (Part(model, into // many, out // many, many) for model, (many, into, out) in tokens.items())
    return Need(tuple(parts), batch=True)


def _requests(body: bytes) -> Iterator[tuple[str, int, int | None]]:
    """Model, input tokens and `max_tokens` of each request that can be read."""
    try:
        requests = read_leniently(_decode_batch, body)[1].requests
    except BAD_JSON:
        return
    for request in requests:
        try:
            params = _decode_params(request.params)
        except BAD_JSON:
            continue
        yield text(value(params.model)) or "", estimate_tokens(bytes(request.params)), count(value(params.max_tokens))


@dataclass(slots=True)
class _History:
    """The latest answers."""

    latest: deque[int] = field(default_factory=deque)
    sorted: list[int] = field(default_factory=list)

    def add(self, tokens: int) -> int:
        """Returns the 95th percentile, by nearest rank; UNKNOWN as long as there are fewer than ENOUGH."""
        if len(self.latest) >= KEPT:
            self.sorted.remove(self.latest.popleft())
        self.latest.append(tokens)
        insort(self.sorted, tokens)
        many = len(self.sorted)
        return self.sorted[-(-95 * many // 100) - 1] if many >= ENOUGH else UNKNOWN


class Outputs:
    """How long the answers of models were so far; a model is its name at a provider."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[str, str], _History] = OrderedDict()
        self.high: dict[tuple[str, str], int] = {}
        """What is expected of each, whatever it is asked for; UNKNOWN of the others."""

    def learn(self, provider: str, model: str, tokens: int) -> None:
        """An answer was whole, and so long."""
        history = self._of.setdefault((provider, model), _History())
        self.high[provider, model] = history.add(tokens)
        self._of.move_to_end((provider, model))
        if len(self._of) > MODELS:
            place, _ = self._of.popitem(last=False)
            del self.high[place]

    def expected(self, provider: str, model: str, most: int | None = None) -> int:
        """Tokens that 95 of 100 answers do not exceed; UNKNOWN as long as fewer than ENOUGH are known. Never more than `most`."""
        found = self.high.get((provider, model), UNKNOWN)
        return found if most is None or found < most else most
