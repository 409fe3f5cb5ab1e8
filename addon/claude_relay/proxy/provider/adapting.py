"""One attempt at a provider that is asked, or answers, otherwise than its client knows it: in another format, by another model's name.

    Renamed | Readdressed | Translated    made by `translating` for one attempt
    ◄── open(response)                    the answer's head as the client is to see it, and what turns its bytes into that form
    ◄── problem(outcome)                  an error answer in Claude's words

Everything behind it (gate, meter, ledger, client) sees Claude's form only. It must not know keys, routes or cooldowns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import msgspec
from mitmproxy import http

from claude_relay.core.accounting.batches import fetched_here
from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.lenient import parse_object
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.exchange import Outcome
from claude_relay.core.formats.base import Format, Sent
from claude_relay.core.formats.claude.bodies import ModelBack
from claude_relay.core.formats.translation import Translation
from claude_relay.core.formats.writer import Writer
from claude_relay.proxy.messages.wire import lower_headers

JSON, SSE = b"application/json", b"text/event-stream; charset=utf-8"
COUNT_LIMIT = 1024 * 1024
BATCHES_LIMIT = 8 * 1024 * 1024


class Bytes(Protocol):
    """Turns the bytes of a good answer into Claude's form."""

    @property
    def served_model(self) -> str | None:
        """The model that the provider names in it."""

    @property
    def moves(self) -> int | None:
        """How often the answer has moved on, beyond signs of life; None: as what `feed` returns does."""

    @property
    def quiet(self) -> bool:
        """Whether the provider may say nothing for long now."""

    def feed(self, data: bytes) -> bytes:
        """The next bytes; returns what can leave."""

    def end(self) -> bytes:
        """The answer is whole; returns the rest."""


class Adaptation(Protocol):
    """How one attempt differs from what the client asked."""

    def open(self, response: http.Response) -> Bytes | None:
        """A good answer begins: bring its head into Claude's form. None: its bytes pass as they are."""

    def problem(self, outcome: Outcome, request_id: str) -> Outcome:
        """An error answer in Claude's form."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """A provider of Claude's format that knows the model under another name: the client gets its own back.

    stream  whether the answer is one, where its head does not say
    """

    model: str
    stream: bool

    def open(self, response: http.Response) -> Bytes | None:
        """Only the model's name changes, and with it a length that was announced."""
        headers = response.headers
        if headers.get("content-encoding", "identity") not in ("", "identity"):
            return None  # asked for otherwise; what cannot be read passes as it is
        stream = is_stream(headers) or (self.stream and "json" not in headers.get("content-type", ""))
        if stream and "content-length" in headers:
            return None
        if "content-length" in headers:
            headers["content-length"] = "0"  # until it is known
        return ModelBack(self.model, stream=stream)

    def problem(self, outcome: Outcome, request_id: str) -> Outcome:
        """Errors are in Claude's form already."""
        return outcome


@dataclass(frozen=True, slots=True)
class Readdressed:
    """Batches for a client that knows the relay by its base URL: it fetches their results there, too, where the key is that made them."""

    base: str

    def open(self, response: http.Response) -> Bytes | None:
        """Only the address of the results changes, and so may the length."""
        headers = response.headers
        if headers.get("content-encoding", "identity") not in ("", "identity"):
            return None
        if headers.pop("content-length", None) is not None:
            headers["transfer-encoding"] = "chunked"
        return ResultsHere(self.base)

    def problem(self, outcome: Outcome, request_id: str) -> Outcome:
        """Errors name no address."""
        return outcome


class ResultsHere:
    """The bytes of such an answer."""

    served_model: str | None = None
    quiet = False

    def __init__(self, base: str) -> None:
        self._base = base
        self._body = bytearray()
        self.moves: int | None = 0

    def feed(self, data: bytes) -> bytes:
        """Nothing leaves before it is whole, unless it is larger than any list of batches."""
        self._body += data
        self.moves = len(self._body)
        return self.end() if len(self._body) > BATCHES_LIMIT else b""

    def end(self) -> bytes:
        """All of it."""
        body = bytes(self._body)
        self._body.clear()
        return fetched_here(body, self._base)


@dataclass(frozen=True, slots=True)
class Translated:
    """A provider of another format.

    model           as the client named it
    provider_model  as the provider is asked for it
    seed            unique to the request
    estimate        input tokens that the client is told until the provider says how many there were
    anchor          what is answered (`recalling.anchor`)
    """

    format: Format
    request: Sent
    model: str
    provider_model: str
    seed: str
    stream: bool
    estimate: int
    counts: bool = False
    anchor: str = ""

    def open(self, response: http.Response) -> Bytes | None:
        """Nothing of the provider's own head reaches the client but the id of its answer."""
        theirs = lower_headers(response)
        request_id = theirs.get("x-request-id") or theirs.get("request-id") or self.seed
        fields = [
            (b"content-type", SSE if self.stream else JSON),
            (b"request-id", request_id.encode("utf-8", "replace")),
        ]
        if self.stream:
            fields += [(b"cache-control", b"no-cache"), (b"transfer-encoding", b"chunked")]
        else:
            fields += [(b"content-length", b"0")]  # until it is known
        response.data.http_version = b"HTTP/1.1"
        response.data.headers = http.Headers(fields)
        if self.counts:
            return Counted(self.format, theirs)
        writer = Writer(
            self.model,
            self.seed,
            stream=self.stream,
            names=self.request.names,
            estimate=self.estimate,
            provider_model=self.provider_model,
            anchor=self.anchor,
        )
        return Translation(self.format, writer, theirs, stream=self.stream)

    def problem(self, outcome: Outcome, request_id: str) -> Outcome:
        """As Claude would say it."""
        return self.format.as_claude(outcome, request_id)


class Counted:
    """The answer of a provider that counted tokens."""

    served_model: str | None = None
    quiet = False

    def __init__(self, format: Format, headers: dict[str, str]) -> None:
        self.moves: int | None = 0
        self._counted = format.counted
        self._decoder = Decoder(headers.get("content-encoding", ""))
        self._body = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Nothing leaves before it is whole."""
        if len(self._body) < COUNT_LIMIT:
            self._body += self._decoder.feed(data)
        self.moves = len(self._body)
        return b""

    def end(self) -> bytes:
        """Claude's answer; as it came when it cannot be read, for the gate to judge."""
        body = bytes(self._body)
        answer = parse_object(body)
        if not answer or self._counted is None:
            return body
        return msgspec.json.encode({"input_tokens": self._counted(answer)})
