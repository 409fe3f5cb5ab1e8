r"""What the results of a batch of messages have used, counted while they pass.

    >>> meter = BatchMeter({})
    >>> meter.feed(b'{"custom_id": "a", "result": {"type": "succeeded", "message": {"model": "m", "usage": {"output_tokens": 3}}}}\n')
    >>> meter.end()
    >>> meter.used["m"][0].output_tokens, meter.complete
    (3, True)
    >>> fetched_here(b'{"results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_01/results"}', "http://127.0.0.1:8082")
    b'{"results_url": "http://127.0.0.1:8082/v1/messages/batches/msgbatch_01/results"}'

Results are one JSON object a line; only those that succeeded are billed. A batch is billed when it runs, not when somebody fetches its
results, so whoever counts must count each batch once. The price of a long context holds for a result, not for the sum of many: so what was
used is kept in portions, none of them longer than SHORT but those that hold a single longer result.
Knows nothing of requests, keys or the ledger.

https://docs.claude.com/en/api/retrieving-message-batch-results
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
from msgspec import Raw

from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.lenient import ABSENT, BAD_JSON, text, value
from claude_relay.core.exchange import Endpoint

from .meter import Meter, terms_of
from .terms import Terms
from .tokens import Tally, Usage

LONGEST_LINE = 32 * 1024 * 1024
"""Bytes of one result; a longer one makes the sum unknown."""
UNFOLDED = 1 << 40
"""Bytes that a chunk may unfold to: results are as large as they are."""

SHORT = 100_000
"""Input tokens for which no list has a price of its own for long contexts."""

_PLACE = re.compile(r"/v1/messages/batches/([A-Za-z0-9_-]{1,128})/results")
_BATCHES = re.compile(r"/v1/messages/batches(?:/[A-Za-z0-9_-]{1,128}(?:/cancel)?)?")
_RESULTS_URL = re.compile(rb'("results_url"\s*:\s*")[^"\\]*?(/v1/messages/batches/[^"/]+/results")')


class _Message(msgspec.Struct):
    model: Raw = ABSENT
    usage: Raw = ABSENT
    stop_reason: Raw = ABSENT


class _Result(msgspec.Struct):
    message: _Message | None = None


class _Line(msgspec.Struct):
    result: _Result


_decode_line = msgspec.json.Decoder(_Line).decode


def batch_of(path: str) -> str | None:
    """The batch whose results a path asks for."""
    found = _PLACE.fullmatch(path.partition("?")[0])
    return found[1] if found else None


def lists_batches(path: str) -> bool:
    """Whether what a path asks for is batches, and not their results."""
    return _BATCHES.fullmatch(path.partition("?")[0]) is not None


def fetched_here(answer: bytes, base: str) -> bytes:
    """An answer that tells of batches, with `base` in the place of the provider's address where their results are to be fetched."""
    return _RESULTS_URL.sub(lambda found: found[1] + base.encode() + found[2], answer)


class Part(NamedTuple):
    """What is alike in price within a batch: results of one model at the same terms, and what is billed beside them.

    kind    of such a charge; its model may be another one
    beside  the results that such a charge belongs to; None: the results themselves
    """

    model: str
    terms: Terms
    kind: str = ""
    beside: Part | None = None


class BatchMeter(Meter):
    """The meter of a batch's results.

    parts     what was used, in portions
    complete  whether every line was read to the end of the answer
    """

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(headers, endpoint=Endpoint.RESOURCE)
        self._decoder = Decoder(headers.get("content-encoding", ""), limit=UNFOLDED)
        self.parts: dict[Part, list[Usage]] = {}
        self._line = bytearray()
        self._lost = False

    @property
    def used(self) -> Mapping[str, Sequence[Usage]]:
        """What the results themselves have used, by the model that answered, in portions."""
        found: dict[str, list[Usage]] = {}
        for part, used in self.parts.items():
            if part.beside is None:
                found.setdefault(part.model, []).extend(used)
        return found

    def feed(self, data: bytes) -> None:
        """Count the next bytes; there is no final event."""
        self._pieces += 1
        for piece in self._decoder.pieces(data):
            first, *others = piece.split(b"\n")
            self._line += first
            for following in others:
                self._take()
                self._line += following
            if len(self._line) > LONGEST_LINE:
                self._lost = True
                self._line.clear()

    def end(self) -> None:
        """The transport says that the body is whole."""
        self._take()
        self.complete = not self._lost and not self._decoder.dead

    def _take(self) -> None:
        line = bytes(self._line)
        self._line.clear()
        if not line.strip():
            return
        try:
            message = _decode_line(line).result.message
        except BAD_JSON:
            self._lost = True
            return
        if message is not None:
            self._count(message)

    def _count(self, message: _Message) -> None:
        tally = Tally()
        tally.absorb(value(message.usage))
        model, usage = tally.served or text(value(message.model)) or "", tally.usage
        terms = replace(terms_of(tally, text(value(message.stop_reason))), tier="")  # that of a batch is known without
        results = Part(model, terms)
        self._add(results, usage)
        for charge in tally.charges:
            beside = Part(charge.model or model, charge.terms(terms), charge.kind, results)
            self._add(beside, charge.usage)

    def _add(self, part: Part, usage: Usage) -> None:
        portions = self.parts.setdefault(part, [])
        if portions and _input(portions[-1]) + _input(usage) <= SHORT:
            portions[-1] = Usage.total((portions[-1], usage))
        else:
            portions.append(usage)


def portions(usage: Usage) -> Iterator[Usage]:
    """The sum of many short results in portions that are short again."""
    count = max(1, -(-_input(usage) // SHORT))
    for place in range(count):
        shares = ((name, number) for name, number in usage.columns().items() if number is not None)
        yield Usage(**{name: number * (place + 1) // count - number * place // count for name, number in shares})


def _input(usage: Usage) -> int:
    counts = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens)
    return sum(number or 0 for number in counts)
