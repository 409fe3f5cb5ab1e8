"""The HTTP layer that can replay a flow in place.

One relayed request walks through `RelayStream` like this:

    state_consume_request_body   the body is whole: the `request` hook chooses an upstream, a signed copy of the head goes out
    state_wait_for_response_headers ─► state_gate     a `Gate` holds the answer's start until it is known to be good
        the connection had died unseen ─► resend()   the same attempt on a fresh one, once
        FAIL  ─► failed()   the `relay_attempt` hook decides ─┬─► replay()    back to the top, nothing has reached the client
                                                              └─► the error, or an answer of the relay's own, is sent
        PASS  ─► accept()   the `responseheaders` hook, then
    state_stream_response_body   bytes leave as they come; the final event leaves after the `relay_settle` hook
        cut   ─► break_off()   a Claude `error` event ends the stream

Flows that the addon did not claim (nothing in `RELAYED`) take mitmproxy's own path untouched. This module knows mitmproxy's
internals and nothing of keys, routes or rests; tests/proxy/test_contract.py says which of those internals it stands on.
"""

from __future__ import annotations

import collections
import copy
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitmproxy import flow, http
from mitmproxy.net.http.validate import validate_headers
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpStream,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)
from mitmproxy.proxy.layers.http._hooks import (
    HttpErrorHook,
    HttpRequestHook,
    HttpResponseHeadersHook,
    HttpResponseHook,
)

from claude_relay.core.exchange import Failure, Outcome
from claude_relay.core.reading.gate import Decision

from .connections import Commands, GetConnection, Unanswered
from .patience import Patience
from .redaction import for_client, for_show, unmasked
from .relayed import RELAYED, Relayed
from .wire import Fields, headers_of

if TYPE_CHECKING:
    from .relay_layer import RelayLayer

logger = logging.getLogger(__name__)

HOLD_SECONDS: Final = 2.0
"""How long the start of a stream is held after `message_start`, waiting for content."""
RESPONSE_EVENTS: Final = (ResponseHeaders, ResponseData, ResponseTrailers, ResponseEndOfMessage, ResponseProtocolError)


@dataclass
class RelayAttemptHook(commands.StartHook):
    """An attempt failed before anything reached the client; `Relayed.outcome` says how. The addon decides what follows."""

    flow: http.HTTPFlow


@dataclass
class RelaySettleHook(commands.StartHook):
    """All but the last event of a stream has left; that one leaves when this hook is done."""

    flow: http.HTTPFlow


@dataclass
class Expired(ResponseProtocolError):
    """A limit of the running attempt has passed."""


@dataclass
class HeldEnough(Expired):
    """The start of a stream has been held long enough."""


@dataclass
class ConnectExpired(ResponseProtocolError):
    """There was no connection in time."""


class RelayStream(HttpStream):
    """One request and its answer, through as many attempts as it takes."""

    relayed: Relayed | None = None
    deadline: float | None = None
    """Monotonic time at which to look whether the running attempt is to be given up, or a held stream let go."""
    patience: Patience
    hold_until: float = math.inf
    moves: int = 0
    """How often the answer had moved on when it was last looked at."""
    sent_at: float = 0.0
    fresh: bool = True
    """Whether the attempt's connection was opened for it."""
    replaced: bool = False
    """Whether the attempt has had a dead connection replaced."""
    held: list[bytes]
    tail: bytes = b""
    """The last byte of a body of announced length; it leaves after the request is settled."""
    http_layer: RelayLayer
    """The layer that owns this stream."""

    def handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, RequestProtocolError) and self.relayed is not None:
            if self.server_state == self.state_gate:
                self.relayed.discarded(b"".join(self.held))
            self.relayed.client_left()
        return super().handle_event(event)

    # -- the request

    def state_consume_request_body(self, event: events.Event) -> Commands[None]:
        if isinstance(event, RequestEndOfMessage) and (relayed := RELAYED.get(self.flow)) is not None:
            self.relayed = relayed
            relayed.keep_request(self.flow.request, bytes(self.request_body_buf))
            self.request_body_buf.clear()
            self.client_state = self.state_done
            yield from self.try_once()
        else:
            yield from super().state_consume_request_body(event)

    def try_once(self) -> Commands[None]:
        """One attempt: ask the addon where to, connect, send."""
        assert self.relayed is not None
        self.held = []
        self.relayed.gate = None
        self.server_state = self.state_wait_for_response_headers
        yield HttpRequestHook(self.flow)
        if (yield from self.client_is_gone()):
            return
        if self.flow.response is not None:
            yield from self.send_own_answer()
            return
        self.patience, self.replaced = self.relayed.patience(), False
        yield from self.connect_and_send(self.relayed)

    def connect_and_send(self, relayed: Relayed, *, since: float = 0.0) -> Commands[None]:
        """`since`: on a connection that was opened after this monotonic time."""
        self.hold_until, self.moves = math.inf, 0
        self.patience.connect(time.monotonic())
        yield from self.watch()
        if not (yield from self.get_connection(since)) or (yield from self.client_is_gone()):
            return
        yield from self.send_request(relayed)
        self.sent_at = time.monotonic()
        self.patience.sent(self.sent_at)
        yield from self.watch()

    def get_connection(self, since: float) -> Commands[bool]:
        """As `make_server_connection`, but for connections that are known to be dead."""
        request, server = self.flow.request, self.flow.server_conn
        wanted = GetConnection(
            (request.host, request.port), request.scheme == "https", server.via, server.transport_protocol
        )
        wanted.lender, wanted.since = self.http_layer, since
        connection, why = yield wanted
        if connection is None:
            kind = ConnectExpired if wanted.expired else ResponseProtocolError
            yield from self.handle_protocol_error(kind(self.stream_id, why, ErrorCode.CONNECT_FAILED))
            return False
        self.fresh = wanted.fresh
        self.context.server = self.flow.server_conn = connection
        return True

    def send_request(self, relayed: Relayed) -> Commands[None]:
        """The flow keeps the alias; what goes on the wire is a signed copy."""
        request, server = self.flow.request, self.context.server
        trailers = request.trailers if server.alpn == b"h2" else None  # mitmproxy cannot write them to HTTP/1
        relayed.attempt_sent()
        head, content = relayed.sign(request)
        yield SendHttp(RequestHeaders(self.stream_id, head, not (content or trailers)), server)
        if content:
            yield SendHttp(RequestData(self.stream_id, content), server)
        if trailers:
            yield SendHttp(RequestTrailers(self.stream_id, trailers), server)
        yield SendHttp(RequestEndOfMessage(self.stream_id), server)

    # -- the start of the answer

    def state_wait_for_response_headers(self, event: ResponseHeaders) -> Commands[None]:
        if self.relayed is None:
            yield from super().state_wait_for_response_headers(event)
            return
        self.flow.response = event.response
        if (why := invalid_head(event.response)) and self.context.options.validate_inbound_headers:
            yield from self.abandon(why)
            yield from self.failed(
                Outcome(event.response.status_code, failure=Failure.GARBAGE, message=why), whole=False
            )
            return
        gate = self.relayed.open_gate(event.response)
        self.server_state = self.state_gate
        yield from self.act_on(gate.decision, whole=False)

    def state_gate(self, event: events.Event) -> Commands[None]:
        """Nothing has reached the client yet, and nothing does until the gate says so."""
        assert self.relayed is not None
        assert self.relayed.gate is not None
        gate = self.relayed.gate
        if isinstance(event, ResponseData):
            self.relayed.saw_byte()
            data = self.relayed.read(event.data)
            self.held.append(data)
            was_started = gate.started
            decision = gate.feed(data) if data else gate.decision
            now = self.note_bytes(self.relayed)
            if decision is Decision.HOLD:
                if gate.started and not was_started:
                    self.hold_until = now + HOLD_SECONDS
                yield from self.watch()
            yield from self.act_on(decision, whole=False)
        elif isinstance(event, ResponseTrailers):
            assert self.flow.response is not None
            self.flow.response.trailers = event.trailers
        else:
            if rest := self.relayed.read_end():
                self.held.append(rest)
                gate.feed(rest)
            yield from self.act_on(gate.end(), whole=True)

    def act_on(self, decision: Decision, *, whole: bool) -> Commands[None]:
        """`whole`: the answer has been read to its end."""
        assert self.relayed is not None
        if decision is Decision.PASS:
            assert self.relayed.gate is not None
            self.relayed.outcome = self.relayed.found(self.relayed.gate)
            yield from self.accept(whole=whole)
        elif decision is Decision.FAIL:
            assert self.relayed.gate is not None
            outcome = self.relayed.found(self.relayed.gate)
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
        if self.relayed is not None and self.relayed.own_answer:  # the hook failed, and said so in an answer of its own
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
        yield from self.watch()

    def send_whole(self, body: bytes) -> Commands[None]:
        """Send an answer that was read to its end. What the flow shows of it may differ from what the client gets."""
        assert self.relayed is not None
        assert self.flow.response is not None
        response, wire = self.flow.response, for_client(body, self.relayed)
        if self.relayed.translation is not None:
            response.headers.pop("transfer-encoding", None)
            response.headers["content-length"] = str(len(wire))
        fields = response.data.headers.fields
        shown = response.data.content = for_show(response, wire, self.relayed)
        if shown is body and not self.relayed.hidden:
            yield from self.send_response()
            return
        response.timestamp_end = time.time()
        yield HttpResponseHook(self.flow)
        self.server_state = self.state_done
        if (yield from self.client_is_gone()):
            return
        head = wire_head(response, unmasked(fields, self.relayed), len(wire))
        yield SendHttp(ResponseHeaders(self.stream_id, head, not wire), self.context.client)
        if wire:
            yield SendHttp(ResponseData(self.stream_id, wire), self.context.client)
        yield from self.flow_done()

    # -- the stream

    def start_response_stream(self) -> Commands[None]:
        if self.relayed is None:
            yield from super().start_response_stream()
            return
        assert self.flow.response is not None
        head = self.flow.response
        if self.relayed.hidden:
            head = wire_head(head, unmasked(head.data.headers.fields, self.relayed), None)
        yield SendHttp(ResponseHeaders(self.stream_id, head, False), self.context.client)
        self.server_state = self.state_stream_response_body

    def state_stream_response_body(self, event: events.Event) -> Commands[None]:
        relayed = self.relayed
        if relayed is None:
            yield from super().state_stream_response_body(event)
        elif isinstance(event, ResponseData):
            relayed.saw_byte()
            if data := relayed.read(event.data):
                yield from self.deliver(relayed, data)
            if self.server_state == self.state_stream_response_body:
                self.note_bytes(relayed)
                yield from self.watch()
        elif isinstance(event, ResponseTrailers):
            assert self.flow.response is not None
            self.flow.response.trailers = event.trailers
        else:
            yield from self.end_of_stream(relayed)

    def deliver(self, relayed: Relayed, data: bytes) -> Commands[None]:
        """Pass bytes on at once; only the final event waits until the request is settled."""
        final = relayed.meter_chunk(data)
        if relayed.is_last_chunk:
            data, self.tail = data[:-1], data[-1:]
        elif final is not None and not relayed.settled:
            if final:
                yield SendHttp(ResponseData(self.stream_id, data[:final]), self.context.client)
            yield RelaySettleHook(self.flow)
            if (yield from self.client_is_gone(running=True)):
                return
            data = data[final:]
        if data:
            yield SendHttp(ResponseData(self.stream_id, data), self.context.client)

    def end_of_stream(self, relayed: Relayed) -> Commands[None]:
        self.deadline = None
        if rest := relayed.read_end():
            yield from self.deliver(relayed, rest)
        if not relayed.meter_end():
            yield from self.break_off("the upstream ended the stream before it was complete")
            return
        if not relayed.settled:
            yield RelaySettleHook(self.flow)
            if (yield from self.client_is_gone()):
                return
        if self.tail:
            yield SendHttp(ResponseData(self.stream_id, self.tail), self.context.client)
        yield from self.finish_stream()

    def finish_stream(self) -> Commands[None]:
        assert self.relayed is not None
        assert self.flow.response is not None
        self.flow.response.data.content = self.relayed.kept_body(self.flow.response)
        yield from self.send_response(already_streamed=True)

    def break_off(self, why: str) -> Commands[None]:
        """The client already has content: another attempt cannot replace it, so the stream ends with an error event."""
        assert self.relayed is not None
        self.deadline = None
        if self.relayed.settled:
            # The final event is out: for the client the answer is complete, whatever becomes of the connection.
            yield from self.finish_stream()
            return
        ending = self.relayed.break_off(why)
        yield RelaySettleHook(self.flow)
        if (yield from self.client_is_gone()):
            return
        if ending is not None:
            yield SendHttp(ResponseData(self.stream_id, ending), self.context.client)
            yield from self.finish_stream()
            return
        # Compressed, or of announced length: nothing can be added, so the transfer itself must not look complete.
        self.flow.error = flow.Error(why)
        yield HttpErrorHook(self.flow)
        yield SendHttp(ResponseProtocolError(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR), self.context.client)
        self.client_state = self.server_state = self.state_errored
        self.flow.live = False

    # -- failure and replay

    def handle_protocol_error(self, event: RequestProtocolError | ResponseProtocolError) -> Commands[None]:
        relayed = self.relayed
        if relayed is None or isinstance(event, RequestProtocolError) or self.client_state == self.state_errored:
            yield from super().handle_protocol_error(event)
        elif self.server_state == self.state_stream_response_body:
            if isinstance(event, Expired):
                yield from self.give_up(event.message)
            yield from self.break_off(event.message)
        elif self.server_state == self.state_gate:
            yield from self.gate_broke(relayed, event)
        elif self.server_state == self.state_wait_for_response_headers:
            if isinstance(event, Unanswered) and not (self.fresh or self.replaced):
                yield from self.resend(relayed, event.message)
                return
            if isinstance(event, Expired):
                yield from self.give_up(event.message)
            yield from self.failed(Outcome(failure=failure_of(event), message=event.message), whole=False)
        elif self.server_state not in (self.state_attempt_over, self.state_done):
            yield from super().handle_protocol_error(event)

    def resend(self, relayed: Relayed, why: str) -> Commands[None]:
        """The connection had died since it was last used, and nobody had noticed: the same attempt goes again on a fresh one."""
        logger.info("%s: the connection was dead (%s); the request goes again on a fresh one", relayed.id, why)
        self.replaced = True
        self.forget_answers()
        yield from self.connect_and_send(relayed, since=self.sent_at)

    def gate_broke(self, relayed: Relayed, event: ResponseProtocolError) -> Commands[None]:
        assert relayed.gate is not None
        if isinstance(event, HeldEnough):
            yield from self.act_on(relayed.gate.expire(), whole=False)
            return
        if isinstance(event, Expired):
            yield from self.give_up(event.message)
        relayed.gate.cut(failure_of(event), event.message)
        yield from self.failed(relayed.found(relayed.gate), whole=True)

    def give_up(self, why: str) -> Commands[None]:
        """A limit is over: the exchange ends, and so does a connection that has been silent for as long."""
        if self.patience.silent_since is not None:
            self.http_layer.retire(self.context.server, self.patience.silent_since)
        yield from self.abandon(why)

    def abandon(self, why: str) -> Commands[None]:
        """Stop the running upstream exchange: closes an HTTP/1 connection, resets an HTTP/2 stream."""
        server = self.context.server
        self.server_state = self.state_attempt_over
        if server in self.http_layer.connections:
            yield SendHttp(RequestProtocolError(self.stream_id, why, ErrorCode.CANCEL), server)

    def state_done(self, _: events.Event) -> Commands[None]:
        """An attempt that was given up may still have something to say when the request is answered."""
        yield from ()

    def state_attempt_over(self, _: events.Event) -> Commands[None]:
        """What still comes from an attempt that was given up goes nowhere."""
        yield from ()

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
        if self.relayed.again:
            if resume == self.state_gate and not whole:
                yield from self.abandon("another attempt follows")
            yield from self.replay()
        elif self.relayed.own_answer:
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

    def send_own_answer(self) -> Commands[None]:
        """An answer that the addon wrote, sent as mitmproxy sends one that a script set."""
        assert self.flow.response is not None
        self.flow.response.timestamp_start = time.time()
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.client_is_gone()):
            return
        yield from self.send_response()

    def client_is_gone(self, *, running: bool = False) -> Commands[bool]:
        """The client left while a hook ran. `running`: an upstream exchange is under way and must end with it."""
        left = any(isinstance(e, RequestProtocolError) for e in self._paused_event_queue)
        if left and running:
            yield from self.abandon("the client left")
        return (yield from self.check_killed(True))

    # -- limits

    def note_bytes(self, relayed: Relayed) -> float:
        """Bytes of the body came and were read. Returns the monotonic time."""
        now, moves = time.monotonic(), relayed.moves
        self.patience.byte(now, moved=moves != self.moves, quiet=relayed.quiet)
        self.moves = moves
        return now

    def watch(self) -> Commands[None]:
        """Have the attempt looked at when something may be over. One alarm of the layer serves all its streams."""
        self.deadline = min(self.patience.due, self.hold_until)
        yield from self.http_layer.alarm_for(self.deadline)

    def rings(self, now: float) -> Expired | None:
        """What is over by now, if anything is; else `deadline` says when to look again."""
        unsent = self.http_layer.unsent(self) if self.patience.uploading else 0
        if (why := self.patience.look(now, unsent)) is not None:
            return Expired(self.stream_id, why, ErrorCode.GENERIC_SERVER_ERROR)
        if now >= self.hold_until:
            self.hold_until = math.inf
            return HeldEnough(self.stream_id, "held", ErrorCode.GENERIC_SERVER_ERROR)
        self.deadline = min(self.patience.due, self.hold_until)
        return None


def wire_head(response: http.Response, fields: Fields, length: int | None) -> http.Response:
    """A copy of an answer's head with other header fields. `length`: of a body that may have been changed."""
    head = http.Response.__new__(http.Response)
    head.data = copy.copy(response.data)
    head.data.headers = headers_of(fields)
    if length is not None and "content-length" in head.headers:
        head.headers["content-length"] = str(length)
    return head


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
    if event.code is ErrorCode.CONNECT_FAILED:
        if "timed out" in event.message:
            return Failure.TIMEOUT
        return Failure.TLS if any(w in event.message for w in ("TLS", "ertificate", "SSL")) else Failure.CONNECT
    return Failure.RESET


__all__ = ["RelayAttemptHook", "RelaySettleHook", "RelayStream"]
