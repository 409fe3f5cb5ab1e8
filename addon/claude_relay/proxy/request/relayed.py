"""What is known of one relayed flow, from its first header to its settlement.

`RELAYED` maps each flow that the addon claimed to its `Relayed`; a flow that is not in it is none of ours. The layer in `replay`
reads limits and reports bytes here, the addon puts its decisions here. The entry goes when the request is settled, and with it
every secret. What is so whatever becomes of the request: `requested`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import sys
import time
import weakref
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple

from mitmproxy import http

from claude_relay.core.accounting.cache_misses import Miss
from claude_relay.core.accounting.meter import Meter
from claude_relay.core.accounting.reserve import Reserve
from claude_relay.core.bodies.gate import Gate
from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.clients.admission import Admission
from claude_relay.core.config import OutboundProxy, Trust
from claude_relay.core.config.proxies import USUAL
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import (
    Accepted,
    Attempt,
    Conclusion,
    Endpoint,
    Failure,
    Fault,
    Origin,
    Outcome,
    Refused,
    Renew,
    Step,
    Wait,
    is_own,
)
from claude_relay.core.formats.translation import Translation
from claude_relay.core.routing.story import Route
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.common.process import large_went
from claude_relay.proxy.messages.replies import error_answer
from claude_relay.proxy.messages.wire import Signature, duplicate, lower_headers
from claude_relay.proxy.provider.adapting import Adaptation

from .incoming import MESSAGE_STREAMS, Incoming
from .outgoing import Outgoing
from .patience import Patience
from .records import AttemptRecord, Charged
from .requested import Requested

logger = logging.getLogger(__name__)
BROKEN = frozenset({Failure.RESET, Failure.TIMEOUT, Failure.CUT})
"""Failures of an answer that had begun: the upstream has worked for it."""
DIRECTLY = "direct, not "
"""In the ledger before the name of a proxy that an attempt did without."""
SMALL = 4096
"""Bytes of a body that may as well be kept with what else is known of a request that is over."""


class End(NamedTuple):
    """Why a request is ended in the middle: in the place of a verdict, as it says nothing of a key, and for people."""

    name: str
    why: str


RELAY_ENDS = End("relay_ended", "the relay was ended")
STOPPED = End("client_stopped", "its client was stopped")


@dataclass(slots=True, weakref_slot=True, eq=False)
class Relayed(Requested):
    """The state of one relayed flow: what was asked, its attempts, its answer."""

    # the running attempt
    proxy: OutboundProxy | None = None
    """The outbound proxy on its way."""
    trust: Trust = USUAL
    """Of TLS with its provider."""
    signature: Signature | None = None
    notes: tuple[str, ...] = ()
    """What was left out or changed for its provider."""

    # the attempts
    shown_attempts: list[str] = field(default_factory=list)
    """Ids of the flows that show its failed attempts, where somebody looks."""
    route: Route | None = None
    """Which way it takes, and why."""
    waited: float = 0.0
    """Seconds for which it has been held back since its last attempt."""
    counts: bool = False
    """Whether the ledger gets a row: from the moment that a route is looked for."""
    policy: Generator[Attempt | Wait | Renew, Outcome | None, Conclusion] | None = None
    step: Step | None = None
    """What is decided: the attempt that runs or is about to, or how the request ends. None: nothing is."""
    attempts: list[AttemptRecord] = field(default_factory=list)
    shares: list[AttemptRecord] = field(default_factory=list)
    """Beside the last try: what further models have used for its answer, the results of a batch."""
    reserve: Reserve | None = None
    """What it has reserved under the budgets."""
    admission: Admission | None = None
    """What it has taken of its client's limits."""
    adaptation: Adaptation | None = None
    """How the running attempt differs from what the client asked."""
    dispatched: http.Request | None = None
    """What was sent for the accepted answer, where somebody may want to see it."""
    incoming: Incoming = field(default_factory=Incoming)
    """What has come of the running attempt's answer."""
    outcome: Outcome | None = None

    # the answer
    outgoing: Outgoing = field(default_factory=Outgoing)
    broken: str | None = None
    ended: RelayError | None = None
    """What it gets that has nothing yet, when the relay ends before the request does, or its client is stopped."""
    end: End = RELAY_ENDS
    """Which of both."""
    settled: bool = False
    missed: Miss | None = None
    """What the turn before had left in the prompt cache and the answer did not read there."""
    missed_usd: float | None = None
    """What that cost."""

    # -- the running attempt

    def show_as_it_came(self, flow: http.HTTPFlow) -> None:
        """The last attempt's request has left: the flow shows the client's again. What was sent is kept, where its body is another one."""
        if self.pristine is None or self.settled:
            return
        if self.is_shown and self.rewrites(flow.request) and isinstance(self.step, Accepted):
            self.dispatched = duplicate(flow.request)
        self.pristine.restore(flow.request)

    def sign(self, request: http.Request) -> tuple[http.Request, bytes | None]:
        """Head and body as they go on the wire: a copy with the real credential, never kept."""
        content = request.data.content if self.side_body is None else self.side_body
        return (request if self.signature is None else self.signature.sign(request, content)), content

    def attempt_dispatched(self) -> None:
        """Connected: the attempt's request leaves now."""
        self.outcome = None
        self.attempts[-1].dispatched = True

    @property
    def may_go_directly(self) -> bool:
        """Whether the attempt, whose proxy is down, may do without."""
        return self.proxy is not None and self.proxy.or_direct and not self.gone and self.ended is None

    def went_directly(self) -> None:
        """The attempt does without its proxy."""
        assert self.proxy is not None
        self.attempts[-1].proxy = f"{DIRECTLY}{self.proxy.title}"
        self.proxy = None

    # -- faults

    @property
    def fault(self) -> Fault | None:
        """What the running attempt meets, on purpose."""
        return self.attempts[-1].attempt.fault if self.attempts else None

    @property
    def meant_to_fail(self) -> list[Attempt]:
        """The attempts that met a fault."""
        return [record.attempt for record in self.attempts if record.attempt.fault is not None]

    @property
    def origin(self) -> Origin:
        """What it is in the ledger."""
        return Origin.FAULT if self.meant_to_fail else self.source

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the client is told beside the answer: the faults it met, and what was left out or changed."""
        met = self.meant_to_fail
        return (
            (*(f"fault on attempt {attempt.n}: {attempt.fault}" for attempt in met), *self.notes) if met else self.notes
        )

    # -- the answer

    def open_gate(self, response: http.Response) -> Gate:
        """Begin to judge the answer whose head has arrived."""
        head = self.method == "HEAD"
        issued = self.redaction.issued
        self.incoming = Incoming.of(response, self.facts, self.adaptation, issued, head=head, keep=self.is_shown)
        assert self.incoming.gate is not None
        return self.incoming.gate

    def patience(self) -> Patience:
        """How long an attempt may take."""
        endpoint = self.facts.endpoint
        whole = endpoint in MESSAGE_STREAMS and not self.facts.may_stream
        way = math.inf if self.proxy is None else self.proxy.timeout
        return Patience(self.limits, whole=whole, named=endpoint is not Endpoint.SIDE, way=way)

    @property
    def turned_out_whole(self) -> bool:
        """Whether it was not known what is asked for, and the answer's head says that it is no stream."""
        come = self.incoming
        return come.stream_unknown and self.facts.endpoint in MESSAGE_STREAMS and not is_stream(come.headers)

    @property
    def streams(self) -> bool:
        """Whether a stream was asked for; where that is not known: whether the answer is one."""
        return self.outgoing.sse if self.incoming.stream_unknown else self.facts.stream

    @property
    def moves(self) -> int:
        """How often the running attempt's answer has moved on: grows with everything but signs of life."""
        translation, meter, gate = self.incoming.translation, self.outgoing.meter, self.incoming.gate
        if translation is not None and translation.moves is not None:
            return translation.moves
        if meter is not None:
            return meter.moves
        return 0 if gate is None else gate.moves

    @property
    def quiet(self) -> bool:
        """Whether the model may be silent for long now."""
        translation, meter = self.incoming.translation, self.outgoing.meter
        return (translation is not None and translation.quiet) or (meter is not None and meter.quiet)

    def saw_byte(self) -> None:
        """A byte of the answer's body arrived."""
        if self.attempts and self.attempts[-1].first_byte_at is None:
            self.attempts[-1].first_byte_at = time.monotonic()

    def too_much(self, data: bytes) -> bool:
        """Whether more of the answer has come than may be kept; nothing of it has left."""
        return not self.incoming.takes(len(data), self.runtime.config.limits.answer)

    def found(self, gate: Gate) -> Outcome:
        """What became of the attempt, in Claude's words."""
        outcome = self.redaction.outcome(gate.outcome())
        if self.adaptation is None:
            return outcome
        return self.adaptation.problem(dataclasses.replace(outcome, headers=self.incoming.upstream_headers), self.id)

    def open_meter(self, response: http.Response) -> None:
        """Begin to count what the accepted answer uses."""
        headers = lower_headers(response) if is_own(self.step) else self.incoming.headers
        status, batch = response.status_code, self.batch is not None
        self.outgoing = Outgoing.of(status, headers, self.facts.endpoint, self.method, batch=batch, keep=self.keep_body)

    @property
    def is_last_chunk(self) -> bool:
        """Whether the announced length is reached, and the request not settled yet."""
        return self.outgoing.is_at_its_length and not self.settled

    def meter_chunk(self, data: bytes) -> int | None:
        """Count a chunk; returns where in it the final event begins, if it does."""
        final = self.outgoing.pass_on(data)
        if self.reserve is not None and self.outgoing.size >= self.reserve.look_at:
            assert self.outgoing.meter is not None
            self.top_up(self.reserve, self.outgoing.meter)
        return final

    def top_up(self, reserve: Reserve, meter: Meter) -> None:
        """Reserve more if what has passed comes to more. Never raises: the stream would hang."""
        try:
            reserve.passed(self.outgoing.size, meter.events, meter.usage)
        except Exception:
            reserve.look_at = sys.maxsize
            logger.exception("what %s has reserved could not be changed", self.id)

    def meter_end(self) -> bool:
        """The upstream ended the body; False when the stream was not complete."""
        return self.outgoing.end() or self.settled

    def kept_body(self, response: http.Response) -> bytes | None:
        """The streamed body, for those who look at flows."""
        kept = self.outgoing.kept
        return None if kept is None else self.redaction.for_show(response, b"".join(kept))

    def break_off(self, why: str) -> bytes | None:
        """The upstream broke after content. Returns the bytes that end the stream as an error, or None when nothing can be added."""
        self.broken = why
        instead = self.ended if self.ended is not None and self.end is STOPPED else None
        return self.outgoing.ending(why, self.id, instead)

    def release_reserve(self) -> None:
        """Nothing is reserved under the budgets any more. A second time does nothing."""
        if self.reserve is not None:
            self.reserve.release()

    def forget(self) -> None:
        """Nobody will ask for it any more: let go of its secrets, and of what it has reserved should its cost never be counted."""
        self.redaction.forget_own()
        self.let_go()

    def let_go(self) -> None:
        """Nothing that it has taken or reserved is its any more."""
        if self.reserve is not None and not self.reserve.over:
            self.reserve.release()
        if self.admission is not None and not self.admission.over:
            self.admission.settle(None, NOW(), time.monotonic())

    def __del__(self) -> None:
        """Should its end never be heard of."""
        if not sys.is_finalizing():
            self.let_go()

    def release(self, flow: http.HTTPFlow) -> None:
        """It is over and written down: let go of all that may be large, for what is left of it lives on in cycles of references."""
        large_went(self.request_bytes + self.outgoing.size)
        self.body, self.side_body, self.conversation = b"", None, None
        if len(self.facts.body) > SMALL:
            self.facts.let_go()
        self.adaptation = self.outcome = self.dispatched = None
        self.incoming.let_go()
        self.outgoing.let_go()
        if self.pristine is not None and len(self.pristine.content or b"") > SMALL:
            self.pristine.content = None
        if not self.is_shown:
            flow.request.data.content = None
            if flow.response is not None:
                flow.response.data.content = None

    # -- the attempts

    def begin_attempt(self, attempt: Attempt) -> None:
        """An attempt starts."""
        self.attempts.append(AttemptRecord(attempt, time.time(), time.monotonic(), waited=self.waited))
        self.waited = 0.0
        self.redaction.issue(attempt.key)

    def discarded(self, held: bytes) -> None:
        """An answer that will not be the client's: what it says of tokens is billed all the same, and so is what it had no time to say."""
        if not self.attempts or not self.incoming.good:
            return
        meter = Meter(self.incoming.headers, endpoint=self.facts.endpoint)
        if held:
            meter.feed(held)
            meter.end()
        broke = self.gone or (self.outcome is not None and self.outcome.failure in BROKEN)
        if held or broke:
            self.count(meter)
        if meter.error and not meter.passed:
            self.attempts[-1].unknown = None  # it said that it could not begin
        elif broke and self.facts.endpoint in MESSAGE_STREAMS:
            self.attempts[-1].unknown = meter.passed

    def count(self, meter: Meter) -> None:
        """What the running attempt has used."""
        translation = self.incoming.translation
        if isinstance(translation, Translation):
            meter.usage_reported(translation.reported_usage, *translation.held)
        named = (
            meter.took_over or self.incoming.served_model or (meter.served_model if self.adaptation is None else None)
        )
        now = self.attempts[-1]
        now.usage, now.served_model, now.terms = meter.usage, named, meter.terms(self.facts.speed)
        now.unknown = meter.unknown if self.incoming.good else None
        own = named or now.attempt.model
        now.charges = [
            Charged(charge.kind, charge.model or own, charge.terms(now.terms), (charge.usage,))
            for charge in meter.charges
        ]

    @property
    def spending(self) -> list[AttemptRecord]:
        """All that used something: a line of the ledger each."""
        return [*self.attempts, *self.shares]

    def refuse(self, error: RelayError) -> http.Response:
        """End the request with an error of the relay's own, whatever was decided before. Returns what the client gets."""
        if self.policy is not None:
            self.policy.close()
        if isinstance(self.step, Accepted):  # by whom nothing is kept open any more
            self.runtime.pools.finished(self.attempts[-1].attempt)
        self.step = Refused(error)
        return error_answer(error, self.id)


RELAYED: weakref.WeakKeyDictionary[http.HTTPFlow, Relayed] = weakref.WeakKeyDictionary()
