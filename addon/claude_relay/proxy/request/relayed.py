"""What is known of one relayed flow, from its first header to its settlement.

`RELAYED` maps each flow that the addon claimed to its `Relayed`; a flow that is not in it is none of ours. The layer in `replay`
reads limits and reports bytes here, the addon puts its decisions here. The entry goes when the request is settled, and with it
every secret.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
import time
import weakref
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from mitmproxy import http

from claude_relay.core.accounting.batches import BatchMeter, batch_of
from claude_relay.core.accounting.meter import Meter, Usage
from claude_relay.core.accounting.passed import Passed
from claude_relay.core.accounting.pricing import Priced
from claude_relay.core.accounting.reserve import Reserve
from claude_relay.core.accounting.terms import ORDINARY, Terms
from claude_relay.core.bodies.facts import asks_both
from claude_relay.core.bodies.gate import Gate
from claude_relay.core.bodies.resources import LONGEST_ANSWER
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.config import OutboundProxy
from claude_relay.core.endpoints import Page, normalise_path
from claude_relay.core.errors import BudgetError, RelayError, error_object
from claude_relay.core.exchange import Attempt, Conclusion, Endpoint, Facts, Failure, Outcome, Verdict, Wait
from claude_relay.core.formats.conversation import Conversation
from claude_relay.core.formats.translation import Translation
from claude_relay.proxy.common.process import large_went
from claude_relay.proxy.messages.hop_by_hop import onward
from claude_relay.proxy.messages.wire import Pristine, Signature, lower_headers, mask_trailers
from claude_relay.proxy.provider.adapting import Adaptation, Bytes, Translated
from claude_relay.proxy.provider.cover import Cover
from claude_relay.proxy.provider.redaction import Redaction
from claude_relay.proxy.running.runtime import ANY_SIZE, Limits, Runtime, Sizes

from .patience import Patience

logger = logging.getLogger(__name__)
MESSAGE_STREAMS = (Endpoint.MESSAGES, Endpoint.COMPLETE)
BROKEN = frozenset({Failure.RESET, Failure.TIMEOUT, Failure.CUT})
"""Failures of an answer that had begun: the upstream has worked for it."""
SMALL = 4096
"""Bytes of a body that may as well be kept with what else is known of a request that is over."""
KEPT_BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of a streamed answer that are kept for mitmweb to show."""


@dataclass(slots=True)
class Charged:
    """What is billed beside an attempt's own model. `usage`: in portions, each priced by itself."""

    kind: str
    model: str
    terms: Terms
    usage: Sequence[Usage]
    priced: Priced | None = None


@dataclass(slots=True)
class Try:
    """One attempt as the ledger will know it. `started_at` is in Unix seconds, the other times are those of the monotonic clock."""

    attempt: Attempt
    started_at: float
    began_at: float
    first_byte_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    verdict: str = ""
    error: str = ""
    usage: Usage | None = None
    """What the upstream has told of tokens, also in an answer that was discarded or broken off."""
    served_model: str | None = None
    terms: Terms = ORDINARY
    priced: Priced | None = None
    sent: bool = False
    """Whether its request has left."""
    unknown: Passed | None = None
    """What it has answered, where the upstream did not come to tell what that used."""
    estimated: bool = False
    """Whether the output, or more, was not told but estimated."""
    charges: list[Charged] = field(default_factory=list)
    """What is billed beside the answer's own model."""


@dataclass(slots=True, weakref_slot=True, eq=False)
class Relayed:
    """The state of one relayed flow."""

    id: str
    facts: Facts
    runtime: Runtime
    limits: Limits
    started_at: float
    """Unix seconds."""
    began_at: float = field(default_factory=time.monotonic)
    """The same moment by the monotonic clock, by which everything is measured."""
    method: str = "POST"
    base: str | None = None
    """The relay's own address, for a client that uses it as its base URL."""
    page: Page | None = None
    """The page of the relay's own that it asks for."""
    local: bool = False
    """Whether the client is a program on this machine, to which the pool's keys may be lent."""
    proxy: OutboundProxy | None = None
    """The outbound proxy of the running attempt."""
    keep_body: bool = False
    is_shown: bool = False
    """Whether the flow is kept for somebody to look at, who lets go of its bodies in time."""
    turned_away: RelayError | None = None
    """Why it gets nothing at all, and its body is not read."""
    sizes: Sizes = ANY_SIZE
    goes_through: bool = False
    """Its body is not kept, but goes on as it comes: there is one attempt."""

    # the request
    pristine: Pristine | None = None
    client_signature: Signature | None = None
    redaction: Redaction = field(default_factory=Redaction, repr=False)
    placeholder_only: bool = False
    signature: Signature | None = None
    request_bytes: int = 0
    body: bytes | None = b""
    """The request's body uncompressed, as all who read it have it; None: it cannot be uncompressed."""
    conversation: Conversation | None = None
    """What the client asked, once a provider of another format is to be asked."""
    notes: tuple[str, ...] = ()
    """What was left out or changed for the provider of the running attempt."""
    side_body: bytes | None = None
    """The body of a side call, which no flow shows."""

    # the attempts
    counts: bool = False
    """Whether the ledger gets a row: from the moment that a route is looked for."""
    policy: Generator[Attempt | Wait, Outcome | None, Conclusion] | None = None
    next_attempt: Attempt | None = None
    conclusion: Conclusion | None = None
    refusal: RelayError | None = None
    tries: list[Try] = field(default_factory=list)
    shares: list[Try] = field(default_factory=list)
    """Beside the last try: what further models have used for its answer, the results of a batch."""
    reserve: Reserve | None = None
    """What it has reserved under the budgets."""
    no_room: BudgetError | None = None
    """Why the next attempt may not be paid for."""
    adaptation: Adaptation | None = None
    """How the running attempt differs from what the client asked."""
    translation: Bytes | None = None
    """What brings the running attempt's answer into Claude's form."""
    gate: Gate | None = None
    kept_back: int = 0
    """Bytes of the running attempt's answer, as long as none of them has left."""
    answered_well: bool = False
    """Whether the running attempt's answer has a good status, whatever follows it."""
    outcome: Outcome | None = None
    again: bool = False
    own_answer: bool = False
    response_headers: dict[str, str] = field(default_factory=dict)
    stream_unknown: bool = False
    """Whether a stream was asked for is not known, also by what was seen of the answer."""
    """Of the answer as the client gets it."""
    upstream_headers: dict[str, str] = field(default_factory=dict)
    """Of the answer as it came."""
    cover: Cover = field(default_factory=Cover)
    """Takes what was lent for the running attempt out of its answer's body."""

    # the answer
    meter: Meter | None = None
    sse: bool = False
    can_append: bool = False
    length: int | None = None
    first_byte_at: float | None = None
    response_bytes: int = 0
    kept: list[bytes] | None = None
    brought: list[bytes] | None = None
    """The answer to a request that makes something (a file, a batch), for the id in it."""
    last_bytes: bytes = b""
    broken: str | None = None
    ended: RelayError | None = None
    """What it gets that has nothing yet, when the relay ends before the request does."""
    settled: bool = False

    # the client
    gone: bool = False
    waker: asyncio.Event | None = None

    # -- the request

    def keep_request(self, request: http.Request, body: bytes) -> None:
        """The request is whole: remember it as the client sent it."""
        request.timestamp_end = time.time()
        request.data.content = b"" if self.facts.endpoint is Endpoint.SIDE else body
        self.side_body = body if self.facts.endpoint is Endpoint.SIDE else None
        mask_trailers(request)
        self.request_bytes = len(body)
        self.body = body
        self.pristine = Pristine.of(request)

    def restore_request(self, flow: http.HTTPFlow) -> None:
        """Undo what an attempt changed in the flow's request."""
        assert self.pristine is not None
        self.pristine.restore(flow.request)

    def sign(self, request: http.Request) -> tuple[http.Request, bytes | None]:
        """Head and body as they go on the wire: a copy with the real credential, never kept."""
        content = request.data.content if self.side_body is None else self.side_body
        return (request if self.signature is None else self.signature.sign(request, content)), content

    def attempt_sent(self) -> None:
        """Connected: the attempt's request leaves now."""
        self.outcome = None
        self.tries[-1].sent = True

    # -- the answer

    def open_gate(self, response: http.Response) -> Gate:
        """Begin to judge the answer whose head has arrived."""
        self.kept_back = 0
        self.upstream_headers = lower_headers(response)
        told = response.data.headers.fields
        response.data.headers.fields = onward(told)
        adaptation, good = self.adaptation, 200 <= response.status_code < 300
        unpacked, messages = good and isinstance(adaptation, Translated), self.facts.endpoint in MESSAGE_STREAMS
        self.cover = Cover.of(
            self.redaction.issued, response, self.upstream_headers, unpacked=unpacked, messages=messages
        )
        self.translation = adaptation.open(response) if adaptation is not None and good else None
        self.answered_well = good
        same = response.data.headers.fields is told
        self.response_headers = self.upstream_headers if same else lower_headers(response)
        self.stream_unknown = self.facts.stream_unknown or (good and self.contradicts(self.response_headers))
        self.gate = Gate(
            response.status_code,
            self.response_headers,
            endpoint=self.facts.endpoint,
            stream=self.facts.stream or self.stream_unknown,
            head=self.method == "HEAD",
        )
        self.cover.opened(self.response_headers)
        return self.gate

    def patience(self) -> Patience:
        """How long an attempt may take."""
        endpoint = self.facts.endpoint
        whole = endpoint in MESSAGE_STREAMS and not self.facts.may_stream
        return Patience(self.limits, whole=whole, named=endpoint is not Endpoint.SIDE)

    @property
    def turned_out_whole(self) -> bool:
        """Whether it was not known what is asked for, and the answer's head says that it is no stream."""
        return self.stream_unknown and self.facts.endpoint in MESSAGE_STREAMS and not is_stream(self.response_headers)

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for; where that is not known: whether the answer is one."""
        return self.sse if self.stream_unknown else self.facts.stream

    def contradicts(self, headers: Mapping[str, str]) -> bool:
        """Whether an answer is of the other kind than was understood, and the request can be understood so, too."""
        if self.facts.endpoint not in MESSAGE_STREAMS or is_stream(headers) is self.facts.stream:
            return False
        return asks_both(self.facts.body)

    @property
    def moves(self) -> int:
        """How often the running attempt's answer has moved on: grows with everything but signs of life."""
        if self.translation is not None and self.translation.moves is not None:
            return self.translation.moves
        if self.meter is not None:
            return self.meter.moves
        return 0 if self.gate is None else self.gate.moves

    @property
    def quiet(self) -> bool:
        """Whether the model may be silent for long now."""
        return (self.translation is not None and self.translation.quiet) or (
            self.meter is not None and self.meter.quiet
        )

    def saw_byte(self) -> None:
        """A byte of the answer's body arrived."""
        if self.tries and self.tries[-1].first_byte_at is None:
            self.tries[-1].first_byte_at = time.monotonic()

    def too_much(self, data: bytes) -> bool:
        """Whether more of the answer has come than may be kept; nothing of it has left."""
        self.kept_back += len(data)
        return self.kept_back > self.runtime.config.limits.answer

    def read(self, data: bytes) -> bytes:
        """The upstream's bytes in Claude's form, as far as they can leave."""
        return self.cover.read(data, self.translation)

    def read_end(self) -> bytes:
        """The rest, when the upstream's answer is whole."""
        return self.cover.read_end(self.translation)

    def found(self, gate: Gate) -> Outcome:
        """What became of the attempt, in Claude's words."""
        outcome = self.redaction.outcome(gate.outcome())
        if self.adaptation is None:
            return outcome
        return self.adaptation.problem(dataclasses.replace(outcome, headers=self.upstream_headers), self.id)

    def open_meter(self, response: http.Response) -> None:
        """Begin to count what the accepted answer uses."""
        headers = lower_headers(response) if self.own_answer else self.response_headers
        good = response.status_code < 400
        results = self.method == "GET" and response.status_code == 200 and self.batch is not None
        self.meter = BatchMeter(headers) if results else Meter(headers, endpoint=self.facts.endpoint)
        self.sse = good and self.facts.endpoint in MESSAGE_STREAMS and is_stream(headers)
        self.can_append = self.sse and "content-length" not in headers and not encoded(headers)
        length = headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() and not self.sse else None
        self.kept = [] if self.keep_body else None
        self.brought = [] if good and self.method == "POST" and self.facts.endpoint is Endpoint.RESOURCE else None

    @property
    def batch(self) -> str | None:
        """The batch whose results the request asks for."""
        return batch_of(self.path) if self.facts.endpoint is Endpoint.RESOURCE else None

    @property
    def path(self) -> str:
        """What the client asked for, normalised; with its query."""
        return normalise_path(self.pristine.path.decode("utf-8", "replace")) if self.pristine is not None else ""

    @property
    def is_last_chunk(self) -> bool:
        """Whether the announced length is reached. Other bodies end with an event or with their framing, which wait by themselves."""
        return self.length is not None and self.response_bytes >= self.length and not self.settled

    def meter_chunk(self, data: bytes) -> int | None:
        """Count a chunk; returns where in it the final event begins, if it does."""
        assert self.meter is not None
        self.response_bytes += len(data)
        if self.kept is not None and self.response_bytes <= KEPT_BODY_LIMIT:
            self.kept.append(data)
        if self.brought is not None and self.response_bytes <= LONGEST_ANSWER:
            self.brought.append(data)
        if self.can_append:
            self.last_bytes = (self.last_bytes + data)[-4:] if len(data) < 4 else data[-4:]
        final = self.meter.feed(data)
        if self.reserve is not None and self.response_bytes >= self.reserve.look_at:
            self.top_up(self.reserve, self.meter)
        return final

    def top_up(self, reserve: Reserve, meter: Meter) -> None:
        """Reserve more if what has passed comes to more. Never raises: the stream would hang."""
        try:
            reserve.passed(self.response_bytes, meter.events, meter.usage)
        except Exception:
            reserve.look_at = sys.maxsize
            logger.exception("what %s has reserved could not be changed", self.id)

    def meter_end(self) -> bool:
        """The upstream ended the body; False when the stream was not complete."""
        assert self.meter is not None
        self.meter.end()
        return self.settled or not self.sse or self.meter.complete or self.meter.error is not None

    def kept_body(self, response: http.Response) -> bytes | None:
        """The streamed body, for those who look at flows."""
        return None if self.kept is None else self.redaction.for_show(response, b"".join(self.kept))

    def break_off(self, why: str) -> bytes | None:
        """The upstream broke after content. Returns the bytes that end the stream as an error, or None when nothing can be added."""
        self.broken = why
        if not self.can_append:
            return None
        between = self.last_bytes.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))
        message = f"{why}; what arrived until then is incomplete. Send the request again."
        data = json_bytes(error_object(502, message, self.id))
        return (b"" if between else b"\n\n") + b"event: error\ndata: " + data + b"\n\n"

    def release(self, flow: http.HTTPFlow) -> None:
        """It is over and written down: let go of all that may be large, for what is left of it lives on in cycles of references."""
        large_went(self.request_bytes + self.response_bytes)
        self.body, self.side_body, self.conversation = b"", None, None
        if len(self.facts.body) > SMALL:
            self.facts.let_go()
        self.adaptation = self.translation = self.gate = self.outcome = None
        self.kept = self.brought = None
        if self.meter is not None:
            self.meter.let_go()
        if self.pristine is not None and len(self.pristine.content or b"") > SMALL:
            self.pristine.content = None
        if not self.is_shown:
            flow.request.data.content = None
            if flow.response is not None:
                flow.response.data.content = None

    # -- the client

    def client_left(self) -> None:
        """The client closed its connection or reset its stream: end every wait."""
        self.gone = True
        if self.waker is not None:
            self.waker.set()

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until the client leaves."""
        self.waker = asyncio.Event()
        if self.gone:
            return
        try:
            async with asyncio.timeout(seconds):
                await self.waker.wait()
        except TimeoutError:
            pass
        finally:
            self.waker = None

    # -- the attempts

    def begin_try(self, attempt: Attempt) -> None:
        """An attempt starts."""
        self.again = self.own_answer = False
        self.tries.append(Try(attempt, time.time(), time.monotonic()))
        self.redaction.issue(attempt.key)

    def discarded(self, held: bytes) -> None:
        """An answer that will not be the client's: what it says of tokens is billed all the same, and so is what it had no time to say."""
        if not self.tries or not self.answered_well:
            return
        meter = Meter(self.response_headers, endpoint=self.facts.endpoint)
        if held:
            meter.feed(held)
            meter.end()
        broke = self.gone or (self.outcome is not None and self.outcome.failure in BROKEN)
        if held or broke:
            self.count(meter)
        if meter.error and not meter.passed:
            self.tries[-1].unknown = None  # it said that it could not begin
        elif broke and self.facts.endpoint in MESSAGE_STREAMS:
            self.tries[-1].unknown = meter.passed

    def count(self, meter: Meter) -> None:
        """What the running attempt has used."""
        if isinstance(self.translation, Translation):
            meter.told_apart(self.translation.told, *self.translation.held)
        translation = self.translation.served_model if self.translation is not None else None
        named = meter.took_over or translation or (meter.served_model if self.adaptation is None else None)
        now = self.tries[-1]
        now.usage, now.served_model, now.terms = meter.usage, named, meter.terms(self.facts.speed)
        now.unknown = meter.unknown if self.answered_well else None
        own = named or now.attempt.model
        now.charges = [
            Charged(charge.kind, charge.model or own, charge.terms(now.terms), (charge.usage,))
            for charge in meter.charges
        ]

    @property
    def spending(self) -> list[Try]:
        """All that used something: a line of the ledger each."""
        return [*self.tries, *self.shares]

    def end_try(self, outcome: Outcome, verdict: Verdict | None) -> None:
        """The running attempt is over, or accepted."""
        now = self.tries[-1]
        now.status = outcome.status
        now.error = outcome.message
        now.verdict = verdict.name if verdict is not None else ""


def encoded(headers: dict[str, str]) -> bool:
    """Whether a body is compressed."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def json_bytes(value: object) -> bytes:
    """Compact JSON as UTF-8."""

    return msgspec.json.encode(value)


RELAYED: weakref.WeakKeyDictionary[http.HTTPFlow, Relayed] = weakref.WeakKeyDictionary()
