"""Attempts that fail on purpose: what a fault makes happen, as if an upstream did it.

    an answer, refused, reset, silence    nothing is sent; the events of such an upstream come from here
    stall, cut, split, …                  the attempt is a real one, and what comes of its answer goes through a `Disturbance` first

    connect_and_send ─► steps: events and pauses ─► proceed ─► RelayStream, which knows no difference
                          ▲                            │ a pause: an alarm of the layer's, as for limits
         upstream's events ╯                           ╰─► Due ─► proceed

A stream becomes one of these with its first such attempt (`RelayLayer.disturb`). It must not know rules: that is `core/faults`.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mitmproxy import http
from mitmproxy.connection import Server
from mitmproxy.proxy import events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
)

from claude_relay.core.bodies.sniff import is_stream
from claude_relay.core.disturbance import Disturbance, Ending, Pause
from claude_relay.core.exchange import Fault
from claude_relay.core.faults import answer
from claude_relay.proxy.messages.wire import lower_headers
from claude_relay.proxy.mitm.connections import Commands, Unanswered
from claude_relay.proxy.request.relayed import Relayed

from .answering import Ended, Expired
from .replay import RESPONSE_EVENTS, RelayStream

REFUSED: Final = "Connect call failed: connection refused"
BROKEN: Final = "peer closed connection"
NOW: Final = Pause(0.0)
"""Nothing happens within the hook that chose the attempt: each comes by itself, as from a socket."""


@dataclass
class Due(Expired):
    """A pause is over."""


class Send(Enum):
    """A step: the request leaves after all."""

    NOW = "now"


type Step = events.Event | Pause | Ending | Send


class FaultingStream(RelayStream):
    """A stream with attempts that fail on purpose, and others."""

    steps: deque[Step]
    """What is still to happen of the running attempt."""
    due: float = math.inf
    """Monotonic time at which the pause is over."""
    pauses: bool = False
    disturbance: Disturbance | None = None
    """What the running attempt's answer goes through, once its head is there."""

    @property
    def fault(self) -> Fault | None:
        """What the running attempt meets."""
        return None if self.relayed is None else self.relayed.fault

    # -- the attempt

    def connect_and_send(self, relayed: Relayed, *, since: float = 0.0) -> Commands[None]:
        """`since`: once more, for its connection was dead."""
        self.steps, self.due, self.pauses, self.disturbance = deque(), math.inf, False, None
        fault = relayed.fault
        if fault is None or since or (fault.dispatched and fault.kind != "silence"):
            yield from super().connect_and_send(relayed, since=since)
            return
        request = self.flow.request
        self.context.server = self.flow.server_conn = Server(address=(request.host, request.port))
        relayed.outcome, self.fresh, self.hold_until, self.moves = None, True, math.inf, 0
        self.patience.handed_over(time.monotonic())
        self.steps.extend(self.in_place_of_answer(relayed, fault))
        yield from self.proceed()

    def in_place_of_answer(self, relayed: Relayed, fault: Fault) -> Iterator[Step]:
        """What happens to a request that does not leave."""
        match fault.kind:
            case "refuse":
                yield from (NOW, ResponseProtocolError(self.stream_id, REFUSED, ErrorCode.CONNECT_FAILED))
            case "reset":
                yield from (NOW, Unanswered(self.stream_id, BROKEN, ErrorCode.GENERIC_SERVER_ERROR))
            case "silence":
                yield from (Pause(math.inf if fault.lasts is None else fault.lasts), Send.NOW)
            case _:
                said = answer(fault, self.form, now=time.time(), id=self.answer_id)
                head = http.Response.make(said.status, said.body, dict(said.headers))
                head.content = None
                yield from (NOW, ResponseHeaders(self.stream_id, head, False))
                yield from (ResponseData(self.stream_id, said.body), ResponseEndOfMessage(self.stream_id))

    @property
    def form(self) -> str:
        """The format of the provider."""
        assert self.relayed is not None
        return self.relayed.runtime.config.providers[self.relayed.attempts[-1].attempt.provider].format

    @property
    def answer_id(self) -> str:
        """What the provider calls the answer: as the relay calls the request."""
        assert self.relayed is not None
        return f"{self.relayed.id.replace('relay', 'fault')}_{len(self.relayed.attempts)}"

    # -- steps

    def _handle_event(self, event: events.Event) -> Commands[None]:
        """The upstream's events wait for the steps before them; all others are none of this."""
        if isinstance(event, Due):
            self.pauses, self.due = False, math.inf
            yield from self.proceed()
        elif self.fault is None or not isinstance(event, RESPONSE_EVENTS) or isinstance(event, (Expired, Ended)):
            yield from super()._handle_event(event)
        else:
            self.steps.extend(self.disturbed(event))
            if not self.pauses:
                yield from self.proceed()

    def disturbed(self, event: events.Event) -> Iterator[Step]:
        """What comes of an upstream's event."""
        if isinstance(event, ResponseHeaders):
            assert self.fault is not None
            stream = is_stream(lower_headers(event.response))
            self.disturbance = Disturbance(self.fault, stream=stream, form=self.form, id=self.answer_id)
        if self.disturbance is None or self.fault is None or not self.fault.dispatched:
            yield event
        elif isinstance(event, ResponseData):
            for step in self.disturbance.feed(event.data):
                yield ResponseData(self.stream_id, step) if isinstance(step, bytes) else step
        elif not self.disturbance.over:
            yield event

    def proceed(self) -> Commands[None]:
        """One step after the other, up to a pause. A step may end the attempt, and begin another one with steps of its own."""
        steps = self.steps
        while steps and steps is self.steps:
            step = steps.popleft()
            if isinstance(step, Pause):
                self.pauses, self.due = True, time.monotonic() + step.seconds
                yield from self.watch()
                return
            if isinstance(step, Ending):
                yield from self.end(step)
            elif isinstance(step, Send):
                assert self.relayed is not None
                yield from super().connect_and_send(self.relayed)
            else:
                yield from super()._handle_event(step)

    def end(self, ending: Ending) -> Commands[None]:
        """The rest of the upstream's answer is not wanted; for the stream it breaks, or is over."""
        state = self.server_state
        yield from self.abandon(ending.value)
        self.server_state = state
        if ending is Ending.CUT:
            yield from super()._handle_event(
                ResponseProtocolError(self.stream_id, BROKEN, ErrorCode.GENERIC_SERVER_ERROR)
            )
        else:
            yield from super()._handle_event(ResponseEndOfMessage(self.stream_id))

    # -- time

    def watch(self) -> Commands[None]:
        """The end of a pause is watched for, too."""
        yield from super().watch()
        if self.deadline is not None and self.due < self.deadline:
            self.deadline = self.due
            yield from self.http_layer.alarm_for(self.due)

    def rings(self, now: float) -> Expired | None:
        """A pause is over before a limit is."""
        if now >= self.due:
            return Due(self.stream_id, "due", ErrorCode.GENERIC_SERVER_ERROR)
        over = super().rings(now)
        if over is None and self.deadline is not None:
            self.deadline = min(self.deadline, self.due)
        return over
