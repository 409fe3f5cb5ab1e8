"""The answer's way to the client, and the limits that watch over it.

`AnsweringStream` is the part of a stream that a replay does not concern: what is sent of an accepted answer, live or at once, how it
ends, and how a running exchange is given up. `replay.RelayStream` adds the attempts.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from mitmproxy import flow, http
from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    HttpStream,
    RequestProtocolError,
    ResponseData,
    ResponseHeaders,
    ResponseProtocolError,
    ResponseTrailers,
    SendHttp,
)
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook, HttpResponseHeadersHook, HttpResponseHook

from claude_relay.core.endpoints import PRIVATE
from claude_relay.core.exchange import Answered
from claude_relay.proxy.messages.hop_by_hop import Fields
from claude_relay.proxy.messages.wire import headers_of
from claude_relay.proxy.mitm.connections import Commands, Reuse
from claude_relay.proxy.provider.cover import REPEATED
from claude_relay.proxy.request.patience import Patience
from claude_relay.proxy.request.relayed import Relayed


class Owner(Reuse, Protocol):
    """The HTTP layer that a stream belongs to."""

    connections: dict[Connection, Any]

    def alarm_for(self, deadline: float) -> Commands[None]:
        """Make sure that the stream is told when the deadline has come."""

    def unsent(self, stream: AnsweringStream) -> int:
        """Bytes of the stream's request that have not left."""

    def retire(self, server: Connection, silent_since: float) -> None:
        """Use a connection that has been silent since then no more."""

    def forget_attempt(self, stream_id: int, server: Connection) -> None:
        """Make room for a further request of the same stream."""

    def disturb(self, stream: AnsweringStream) -> None:
        """From now on its attempts can fail on purpose."""

    def notify(self, stream: AnsweringStream, event: Expired | Ended) -> Commands[None]:
        """Tell a stream that its exchange is over, also when it waits for a connection."""


@dataclass
class RelaySettleHook(commands.StartHook):
    """All but the last event of a stream has left; that one leaves when this hook is done."""

    flow: http.HTTPFlow


@dataclass
class Expired(ResponseProtocolError):
    """A limit of the running attempt has passed."""


@dataclass
class Ended(ResponseProtocolError):
    """The relay ends, and with it the request."""


@dataclass
class HeldEnough(Expired):
    """The start of a stream has been held long enough."""


class AnsweringStream(HttpStream):
    """A stream whose answer is on its way to the client."""

    relayed: Relayed | None = None
    deadline: float | None = None
    """Monotonic time at which to look whether the running attempt is to be given up, or a held stream let go."""
    patience: Patience
    hold_until: float = math.inf
    moves: int = 0
    """How often the answer had moved on when it was last looked at."""
    held: list[bytes]
    """The start of an answer that is not known to be good so far."""
    chunks: list[bytes]
    """Of a request's body that is kept."""
    receives: bool = False
    """Whether the body of a relayed request is still to come."""
    tail: bytes = b""
    """The last byte of a body of announced length; it leaves after the request is settled."""
    http_layer: Owner
    """The layer that owns this stream."""

    # -- at once

    def send_own_answer(self) -> Commands[None]:
        """An answer that the addon wrote, sent as mitmproxy sends one that a script set."""
        assert self.flow.response is not None
        self.flow.response.timestamp_start = time.time()
        yield HttpResponseHeadersHook(self.flow)
        if (yield from self.client_is_gone()):
            return
        if self.relayed is not None and self.relayed.page in PRIVATE and isinstance(self.relayed.step, Answered):
            yield from self.send_whole(self.flow.response.data.content or b"")
            return
        yield from self.send_response()

    def send_whole(self, body: bytes) -> Commands[None]:
        """Send an answer that was read to its end. What the flow shows of it may differ from what the client gets."""
        assert self.relayed is not None
        assert self.flow.response is not None
        response = self.flow.response
        wire = self.relayed.redaction.for_client(response, body, self.relayed.incoming.encoding)
        if self.relayed.incoming.translation is not None or wire is not body:
            response.headers.pop("transfer-encoding", None)
            response.headers["content-length"] = str(len(wire))
        fields = response.data.headers.fields
        shown = response.data.content = self.relayed.redaction.for_show(response, wire)
        if shown is body and not self.relayed.redaction.hidden:
            yield from self.send_response()
            return
        response.timestamp_end = time.time()
        yield HttpResponseHook(self.flow)
        self.server_state = self.state_done
        if (yield from self.client_is_gone()):
            return
        head = wire_head(response, self.relayed.redaction.unmasked(fields), len(wire))
        yield SendHttp(ResponseHeaders(self.stream_id, head, not wire), self.context.client)
        if wire:
            yield SendHttp(ResponseData(self.stream_id, wire), self.context.client)
        yield from self.flow_done()

    # -- live

    def start_response_stream(self) -> Commands[None]:
        """The head leaves."""
        if self.relayed is None:
            yield from super().start_response_stream()
            return
        assert self.flow.response is not None
        head = self.flow.response
        if self.relayed.redaction.hidden:
            head = wire_head(head, self.relayed.redaction.unmasked(head.data.headers.fields), None)
        yield SendHttp(ResponseHeaders(self.stream_id, head, False), self.context.client)
        self.server_state = self.state_stream_response_body

    def state_stream_response_body(self, event: events.Event) -> Commands[None]:
        """What comes is passed on."""
        relayed = self.relayed
        if relayed is None:
            yield from super().state_stream_response_body(event)
        elif isinstance(event, ResponseData):
            relayed.saw_byte()
            if data := relayed.incoming.read(event.data):
                yield from self.deliver(relayed, data)
            if self.server_state == self.state_stream_response_body:
                self.note_bytes(relayed)
                yield from self.watch()
        elif isinstance(event, ResponseTrailers):
            self.note_trailers(event)
        else:
            yield from self.end_of_stream(relayed)

    def note_trailers(self, event: ResponseTrailers) -> None:
        """They go on where they can be written: mitmproxy's HTTP/1 has none."""
        assert self.flow.response is not None
        assert self.relayed is not None
        if self.context.client.alpn == b"h2":
            self.flow.response.trailers = self.relayed.redaction.hide_in_trailers(event.trailers)

    def deliver(self, relayed: Relayed, data: bytes) -> Commands[None]:
        """Pass bytes on at once; only the final event waits until the request is settled."""
        if (packed := relayed.incoming.cover.packed) is not None:
            data = packed.feed(data)
            if packed.repeated:
                yield from self.abandon(REPEATED)
                yield from self.break_off(REPEATED)
                return
        yield from self.send_on(relayed, data)

    def send_on(self, relayed: Relayed, data: bytes) -> Commands[None]:
        """Pass on what may be seen."""
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
        """The upstream says that this was all."""
        self.deadline = None
        if tail := relayed.incoming.read_end():
            yield from self.deliver(relayed, tail)
        if relayed.incoming.cover.packed is not None and (tail := relayed.incoming.cover.packed.end()):
            yield from self.send_on(relayed, tail)
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
        """The body has left; what remains is mitmproxy's."""
        assert self.relayed is not None
        assert self.flow.response is not None
        self.flow.response.data.content = self.relayed.kept_body(self.flow.response)
        yield from self.send_response(already_streamed=True)

    def break_off(self, why: str) -> Commands[None]:
        """The client already has content: another attempt cannot replace it, so the stream ends with an error event."""
        assert self.relayed is not None
        assert self.flow.response is not None
        self.deadline, ending = None, None
        if self.relayed.settled and "content-length" not in self.flow.response.headers:
            # The final event is out: for the client the answer is complete, whatever becomes of the connection.
            yield from self.finish_stream()
            return
        if not self.relayed.settled:
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

    def flow_done(self) -> Commands[None]:
        """All has left but the end. An upload that goes on is not wanted any more."""
        if self.receives:
            self.receives = False
            yield from self.abandon("answered before the request was complete")
        yield from super().flow_done()
        self.release()

    def release(self) -> None:
        """Let go of bodies."""
        self.chunks, self.held = [], []
        self.request_body_buf.clear()
        self.response_body_buf.clear()
        if self.relayed is not None and self.relayed.settled:
            self.relayed.release(self.flow)

    def take_apart(self) -> None:
        """Nothing will come of this stream any more. It holds itself by its states and its place among the layers; without these, all
        that belongs to its request goes at once, where the cycle collector would have to look through some ninety objects for it."""
        vars(self).pop("client_state", None)
        vars(self).pop("server_state", None)
        if self in self.context.layers:
            self.context.layers.remove(self)

    # -- an exchange that ends before its time

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

    client_state: Callable[[Any], Commands[None]] = state_done  # type: ignore[assignment]
    server_state: Callable[[Any], Commands[None]] = state_done  # type: ignore[assignment]
    """What a stream is in that was taken apart."""

    def state_attempt_over(self, _: events.Event) -> Commands[None]:
        """What still comes from an attempt that was given up goes nowhere."""
        yield from ()

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


__all__ = ["AnsweringStream", "Ended", "Expired", "HeldEnough", "RelaySettleHook", "wire_head"]
