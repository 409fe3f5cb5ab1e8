"""The HTTP layer that can replay a flow in place.

One relayed request walks through `RelayStream` like this:

    state_consume_request_body   the body is whole: the `request` hook chooses an upstream, and the attempt leaves (`dispatching`)
    state_wait_for_response_headers ─► state_gate     a `Gate` holds the answer's start until it is known to be good
        the connection had died unseen ─► resend()   the same attempt on a fresh one, once
        FAIL  ─► failed()   the `relay_attempt` hook decides ─┬─► replay()    back to the top, nothing has reached the client
                                                              └─► the error, or an answer of the relay's own, is sent
        PASS  ─► accept()   the `responseheaders` hook, then
    state_stream_response_body   bytes leave as they come; the final event leaves after the `relay_settle` hook
        cut   ─► break_off()   a Claude `error` event ends the stream

Flows that the addon did not claim (nothing in `RELAYED`) take mitmproxy's own path. This module knows mitmproxy's
internals and nothing of keys, routes or cooldowns; tests/proxy/test_contract.py says which of those internals it stands on.
"""

from __future__ import annotations

import collections
import logging
import math
import time
from dataclasses import dataclass
from typing import Final

from mitmproxy import http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    RequestEndOfMessage,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpRequestHook,
    HttpResponseHeadersHook,
)

from claude_relay.core.bodies.gate import Decision
from claude_relay.core.exchange import Attempt, Failure, Outcome, is_own
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.log.plain import unquoted
from claude_relay.proxy.messages.wire import own_response
from claude_relay.proxy.mitm.alerts import alert_of
from claude_relay.proxy.mitm.connections import Commands, Garbled, GetConnection, Unanswered
from claude_relay.proxy.request.incoming import Incoming
from claude_relay.proxy.request.intake import size_in_words, stalled
from claude_relay.proxy.request.relayed import RELAYED, Relayed
from claude_relay.proxy.request.room import crowded

from .answering import Ended, Expired, HeldEnough, RelaySettleHook
from .dispatching import ConnectExpired, DispatchingStream
from .receiving import Stalled

logger = logging.getLogger(__name__)

HOLD_SECONDS: Final = 2.0
"""How long the start of a stream is held after `message_start`, waiting for content."""
RESPONSE_EVENTS: Final = (ResponseHeaders, ResponseData, ResponseTrailers, ResponseEndOfMessage, ResponseProtocolError)


@dataclass
class RelayAttemptHook(commands.StartHook):
    """An attempt failed before anything reached the client; `Relayed.outcome` says how. The addon decides what follows."""

    flow: http.HTTPFlow


class RelayStream(DispatchingStream):
    """One request and its answer, through as many attempts as it takes."""

    replaced: bool = False
    """Whether the attempt has had a dead connection replaced."""

    def handle_event(self, event: events.Event) -> Commands[None]:
        return self.client_leaves(event) if isinstance(event, RequestProtocolError) else super().handle_event(event)

    def client_leaves(self, event: RequestProtocolError) -> Commands[None]:
        """The client closed its connection or reset its stream: whatever the request waits for is over."""
        event.message = unquoted(event.message)
        relayed = self.relayed or RELAYED.get(self.flow)  # it may also wait before its body is there
        if relayed is not None:
            relayed.client_left()
        if self.relayed is not None and self.server_state == self.state_gate:
            self.relayed.discarded(b"".join(self.held))
        self.release()
        yield from super().handle_event(event)
        if self._paused and isinstance(self._paused.command, GetConnection):
            yield from self.http_layer.notify(self, Ended(self.stream_id, event.message, event.code))

    def check_killed(self, emit_error_hook: bool) -> Commands[bool]:
        """Nothing that waits: nobody has left."""
        return self.check_left(emit_error_hook) if self._paused_event_queue else super().check_killed(emit_error_hook)

    def check_left(self, emit_error_hook: bool) -> Commands[bool]:
        """A whole request whose client has left before anything was decided is looked at all the same: its row says what it was."""
        if self.client_state == self.state_wait_for_request_headers and (relayed := RELAYED.get(self.flow)) is not None:
            left = [
                type(e) for e in self._paused_event_queue if isinstance(e, (RequestEndOfMessage, RequestProtocolError))
            ]
            if left[:2] == [RequestEndOfMessage, RequestProtocolError]:
                relayed.client_left()
                return False
        return (yield from super().check_killed(emit_error_hook))

    def passthrough(self, event: events.Event) -> Commands[None]:
        """What ends one side of a tunnel is the end of a connection to the layers inside, which know nothing of HTTP."""
        if isinstance(event, RequestProtocolError):
            event = events.ConnectionClosed(self.context.client)
        elif isinstance(event, ResponseProtocolError):
            event = events.ConnectionClosed(self.context.server)
        yield from super().passthrough(event)

    # -- the request

    def try_once(self) -> Commands[None]:
        """One attempt: ask the addon where to, connect, send."""
        assert self.relayed is not None
        self.held = []
        self.relayed.incoming = Incoming()
        self.server_state = self.state_wait_for_response_headers
        yield HttpRequestHook(self.flow)
        if (yield from self.client_is_gone()):
            return
        if self.flow.response is not None:
            yield from self.send_own_answer()
            return
        self.patience, self.replaced = self.relayed.patience(), False
        if self.relayed.fault is not None:
            self.http_layer.disturb(self)
        yield from self.connect_and_send(self.relayed)

    # -- the start of the answer

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> Commands[None]:
        kept = event.response
        event.response = own_response(kept)  # the connection keeps its own, by which it may end or go on
        if self.relayed is None:
            yield from super().state_wait_for_response_headers(event)
            return
        self.flow.response = event.response
        self.relayed.redaction.hide_in_head(self.flow.response)
        if (why := invalid_head(kept)) and self.context.options.validate_inbound_headers:
            why = self.relayed.redaction.text(why)
            yield from self.abandon(why)
            yield from self.failed(
                Outcome(event.response.status_code, failure=Failure.GARBAGE, message=why), whole=False
            )
            return
        gate = self.relayed.open_gate(self.flow.response)
        self.server_state = self.state_gate
        if self.relayed.turned_out_whole and gate.decision is Decision.HOLD:
            self.patience.whole(time.monotonic())
            yield from self.watch()
        yield from self.act_on(gate.decision, whole=False)

    def state_gate(self, event: events.Event) -> Commands[None]:
        """Nothing has reached the client yet, and nothing does until the gate says so."""
        assert self.relayed is not None
        assert self.relayed.incoming.gate is not None
        gate = self.relayed.incoming.gate
        if isinstance(event, ResponseData):
            self.relayed.saw_byte()
            if self.relayed.too_much(event.data):
                yield from self.overflow(self.relayed)
                return
            data = self.relayed.incoming.read(event.data)
            if data:
                self.held.append(data)
            was_started = gate.started
            decision = gate.feed(data) if data else gate.decision
            if self.relayed.incoming.translation is None and crowded(self.relayed.incoming.size, len(event.data)):
                decision = gate.let_go()
            now = self.note_bytes(self.relayed)
            if decision is Decision.HOLD:
                if gate.started and not was_started:
                    self.hold_until = now + HOLD_SECONDS
                yield from self.watch()
            yield from self.act_on(decision, whole=False)
        elif isinstance(event, ResponseTrailers):
            self.note_trailers(event)
        else:
            if tail := self.relayed.incoming.read_end():
                self.held.append(tail)
                gate.feed(tail)
            yield from self.act_on(gate.end(), whole=True)

    def overflow(self, relayed: Relayed) -> Commands[None]:
        """More of an answer than can be kept until it is known to be good, or brought into Claude's form."""
        limit = relayed.runtime.config.limits.answer
        why = f"the answer is larger than {size_in_words(limit)} and cannot go on before it is complete"
        rejected(Reason.ANSWER, "an upstream's answer was given up: it is larger than %s", size_in_words(limit))
        self.held = []
        yield from self.abandon(why)
        yield from self.failed(Outcome(failure=Failure.OVERSIZED, message=why), whole=True)

    def act_on(self, decision: Decision, *, whole: bool) -> Commands[None]:
        """`whole`: the answer has been read to its end."""
        assert self.relayed is not None
        if decision is Decision.PASS:
            assert self.relayed.incoming.gate is not None
            self.relayed.outcome = self.relayed.found(self.relayed.incoming.gate)
            yield from self.accept(whole=whole)
        elif decision is Decision.FAIL:
            assert self.relayed.incoming.gate is not None
            outcome = self.relayed.found(self.relayed.incoming.gate)
            if outcome.failure is not None and not whole:
                yield from self.abandon(outcome.message)
            yield from self.failed(outcome, whole=whole)

    def accept(self, *, whole: bool) -> Commands[None]:
        """This answer is the client's, be it good or an error that is passed on."""
        assert self.flow.response is not None
        self.deadline = None
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.client_is_gone(running=not whole)):
            return
        if self.relayed is not None and is_own(
            self.relayed.step
        ):  # the hook failed, and said so in an answer of its own
            if not whole:
                yield from self.abandon("answered otherwise")
            yield from self.send_response()
            return
        body = b"".join(self.held)
        self.held = []
        if whole:
            yield from self.send_whole(body)
            return
        assert self.relayed is not None
        self.hold_until = math.inf
        yield from self.start_response_stream()
        if body:
            yield from self.deliver(self.relayed, body)
            self.note_bytes(self.relayed)
        if self.server_state == self.state_stream_response_body:
            yield from self.watch()

    # -- failure and replay

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> Commands[None]:
        relayed = self.relayed
        if relayed is not None:
            event.message = relayed.redaction.text(event.message)  # it may quote what the upstream sent
        if isinstance(event, Stalled):
            yield from self.stop_upload(stalled(event.message))
        elif relayed is None and isinstance(event, Ended) and self.client_state == self.state_consume_request_body:
            self.client_state = self.state_done  # the rest of the upload goes nowhere
            yield from self.send_own_answer()
        elif relayed is None or isinstance(event, RequestProtocolError) or self.client_state == self.state_errored:
            yield from super().handle_protocol_error(event)
        elif self.server_state == self.state_stream_response_body:
            yield from self.stop(event)
            yield from self.break_off(event.message)
        elif self.server_state == self.state_gate:
            yield from self.gate_broke(relayed, event)
        elif self.server_state == self.state_wait_for_response_headers:
            if isinstance(event, Unanswered) and not (self.fresh or self.replaced or relayed.goes_through):
                yield from self.resend(relayed, event.message)
                return
            yield from self.stop(event)
            alert = alert_of(self.flow.server_conn)
            failure = Failure.TLS if alert else failure_of(event)
            yield from self.failed(Outcome(failure=failure, message=alert or event.message), whole=False)
        elif self.server_state not in (self.state_attempt_over, self.state_done):
            yield from super().handle_protocol_error(event)

    def stop(self, error: ResponseProtocolError) -> Commands[None]:
        """End the upstream exchange, if it is not over by itself."""
        if isinstance(error, Expired):
            yield from self.give_up(error.message)
        elif isinstance(error, Ended):
            yield from self.abandon(error.message)

    def resend(self, relayed: Relayed, why: str) -> Commands[None]:
        """The connection had died since it was last used, and nobody had noticed: the same attempt goes again on a fresh one."""
        logger.info("%s: the connection was dead (%s); the request goes again on a fresh one", relayed.id, why)
        self.replaced = True
        self.forget_answers()
        yield from self.connect_and_send(relayed, since=self.handed_over_at)

    def gate_broke(self, relayed: Relayed, event: ResponseProtocolError) -> Commands[None]:
        assert relayed.incoming.gate is not None
        if isinstance(event, HeldEnough):
            yield from self.act_on(relayed.incoming.gate.expire(), whole=False)
            return
        yield from self.stop(event)
        relayed.incoming.gate.cut(failure_of(event), event.message)
        yield from self.failed(relayed.found(relayed.incoming.gate), whole=True)

    def failed(self, outcome: Outcome, *, whole: bool) -> Commands[None]:
        """`whole`: nothing more of this attempt's answer is to come."""
        assert self.relayed is not None
        resume, self.server_state = self.server_state, self.state_attempt_over
        self.deadline = None
        self.relayed.outcome = outcome
        self.relayed.discarded(b"".join(self.held))
        if (yield from self.client_is_gone(running=resume == self.state_gate and not whole)):
            return
        yield RelayAttemptHook(self.flow)
        if (yield from self.client_is_gone(running=resume == self.state_gate and not whole)):
            return
        if isinstance(self.relayed.step, Attempt):
            if resume == self.state_gate and not whole:
                yield from self.abandon("another attempt follows")
            yield from self.replay()
        elif is_own(self.relayed.step):
            if resume == self.state_gate and not whole:
                yield from self.abandon("answered otherwise")
            yield from self.send_own_answer()
        else:
            self.server_state = resume
            yield from self.accept(whole=whole)

    def replay(self) -> Commands[None]:
        """The same flow once more from its whole request, as the client sent it."""
        assert self.relayed is not None
        self.forget_answers()
        self.relayed.restore_request(self.flow)
        self.flow.response = self.flow.error = None
        yield from self.try_once()

    def forget_answers(self) -> None:
        """What has come, or is still to come, belongs to an exchange that is over."""
        self._paused_event_queue = collections.deque(
            e for e in self._paused_event_queue if not isinstance(e, RESPONSE_EVENTS)
        )
        self.http_layer.forget_attempt(self.stream_id, self.context.server)


def invalid_head(response: http.Response) -> str | None:
    """Why mitmproxy would refuse this answer's head, if it would."""
    try:
        validate_headers(response)
    except ValueError as e:
        return f"invalid answer: {e}"
    return None


def failure_of(event: ResponseProtocolError) -> Failure:
    """The kind of failure that a protocol error stands for."""
    if isinstance(event, (Expired, ConnectExpired)):
        return Failure.TIMEOUT
    if isinstance(event, Garbled):
        return Failure.GARBAGE
    if event.code is ErrorCode.CONNECT_FAILED:
        if "timed out" in event.message:
            return Failure.TIMEOUT
        return Failure.TLS if any(w in event.message for w in ("TLS", "ertificate", "SSL")) else Failure.CONNECT
    return Failure.RESET


__all__ = ["RelayAttemptHook", "RelaySettleHook", "RelayStream"]
