"""A request on its way in: what of it is read before it is decided, and how much.

    head ──► turned away at its head (403, 413, …)      the answer leaves at once, the body is not read
         ──► a body that is kept                        up to `limits.request_body`, so that it can be sent again
         ──► a file that is uploaded, and larger        its target is chosen now, and it goes on as it comes, in one attempt

`ReceivingStream` is the part of a stream that comes before the attempts (`replay.RelayStream`). It must not know who may send what.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Final

from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestTrailers,
    SendHttp,
)

from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Failure, Outcome
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.wire import masked, own_request, said_to_proxy
from claude_relay.proxy.mitm.backpressure import brake
from claude_relay.proxy.mitm.connections import Commands
from claude_relay.proxy.request.bodies import LONG
from claude_relay.proxy.request.intake import too_large
from claude_relay.proxy.request.relayed import RELAYED, Relayed

from .answering import AnsweringStream, Expired

NO_MEMORY: Final = "the relay has no memory for a request of this size"
LEAST: Final = 1000
"""Bytes of a body that must come within the time for which it may stall."""


class Pieces:
    """A request's body as it came, until it is one."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks
        self.body: bytes | None = None
        """None: it is not one yet, or there is no memory for that."""

    def join(self) -> None:
        """Make it one. Long ones in a thread: the copying takes milliseconds, and lets others work meanwhile."""
        with contextlib.suppress(MemoryError):
            self.body = b"".join(self.chunks)
        self.chunks = []


@dataclass
class RelayJoinHook(commands.StartHook):
    """A long request is whole; its pieces are to become one off the event loop."""

    pieces: Pieces


@dataclass
class Stalled(Expired):
    """The request's body does not come."""


class ReceivingStream(AnsweringStream):
    """A stream whose request is on its way in."""

    size: int = 0
    """Bytes of the body so far."""
    looked_at: int = 0
    """How many those were when it was last looked whether they still come."""

    def state_wait_for_request_headers(self, event: RequestHeaders) -> Commands[None]:
        """The client's connection goes by the head as it came, whatever becomes of the flow's."""
        event.request = own_request(event.request)
        if event.request.data.method.upper() == b"CONNECT":
            fields = event.request.data.headers.fields
            event.request.said_to_proxy = said_to_proxy(fields)
            event.request.data.headers.fields = masked(fields)
        self.chunks, self.held = [], []
        yield from super().state_wait_for_request_headers(event)
        if event.end_stream or self.client_state != self.state_consume_request_body:
            return
        relayed = RELAYED.get(self.flow)
        if relayed is None:
            if self.flow.response is not None:  # an answer of a script's, or of a relay that has no configuration
                self.client_state = self.state_done
                yield from self.send_own_answer()
            return
        self.receives = True
        if relayed.turned_away is not None:
            yield from self.turn_away(relayed, relayed.turned_away)
        elif relayed.goes_through:
            yield from self.pass_through(relayed)
        else:
            yield from self.watch_upload(relayed)

    def state_consume_request_body(self, event: events.Event) -> Commands[None]:
        """Keep what comes, up to the limit."""
        relayed = RELAYED.get(self.flow)
        if relayed is None:
            yield from super().state_consume_request_body(event)
        elif isinstance(event, RequestData):
            self.chunks.append(event.data)
            self.size += len(event.data)
            if self.size > relayed.sizes.kept:
                if relayed.sizes.most > relayed.sizes.kept:
                    yield from self.pass_through(relayed)
                else:
                    yield from self.turn_away(relayed, too_large(relayed.sizes.most))
        elif isinstance(event, RequestEndOfMessage):
            self.receives, self.deadline = False, None
            pieces, self.chunks = Pieces(self.chunks), []
            if self.size > LONG:
                yield RelayJoinHook(pieces)
            else:
                pieces.join()
            if pieces.body is None:
                yield from self.no_memory(relayed)
                return
            relayed.keep_request(self.flow.request, pieces.body)
            self.relayed = relayed
            self.client_state = self.state_done
            yield from self.try_once()
        else:
            yield from super().state_consume_request_body(event)

    def no_memory(self, relayed: Relayed) -> Commands[None]:
        """There is no room for the request: it fails, and nothing else; the rest of the upload goes nowhere."""
        self.chunks = []
        rejected(Reason.RESOURCES, NO_MEMORY)
        error = RelayError(503, f"{NO_MEMORY}. Send a smaller one, or send it again later.", retry_after=5.0)
        self.flow.response = relayed.refuse(error)
        self.client_state = self.state_done
        yield from self.send_own_answer()

    def try_once(self) -> Commands[None]:
        """The request is there: see `replay`."""
        raise NotImplementedError

    def turn_away(self, relayed: Relayed, error: RelayError) -> Commands[None]:
        """Answer now, whatever still comes."""
        self.count(error)
        relayed.turned_away = error
        self.relayed = relayed
        self.chunks, self.deadline = [], None
        self.client_state = self.state_done
        relayed.keep_request(self.flow.request, b"")
        yield from self.try_once()

    @staticmethod
    def count(error: RelayError) -> None:
        """A body that was not taken."""
        if error.status in (408, 413):
            rejected(Reason.BODY, "a request's body was refused: %s", error.message)

    # -- a body that goes on as it comes

    def pass_through(self, relayed: Relayed) -> Commands[None]:
        """Choose where the file goes, with what of it is there."""
        self.relayed = relayed
        relayed.goes_through = True
        self.client_state = self.state_pass_through
        relayed.keep_request(self.flow.request, b"")
        relayed.request_bytes = self.size
        brake(self.context.client, hold=True)  # what comes meanwhile would pile up
        try:
            yield from self.try_once()
        finally:
            brake(self.context.client, hold=False)

    def state_pass_through(self, event: events.Event) -> Commands[None]:
        """A file that is uploaded: nothing of it is kept."""
        relayed = self.relayed
        assert relayed is not None
        forwarding = self.server_state in (
            self.state_wait_for_response_headers,
            self.state_gate,
            self.state_stream_response_body,
        )
        if isinstance(event, RequestData):
            self.size += len(event.data)
            relayed.request_bytes = self.size
            if self.size > relayed.sizes.most:
                yield from self.stop_upload(too_large(relayed.sizes.most))
            elif forwarding:
                yield SendHttp(event, self.context.server)
        elif isinstance(event, RequestEndOfMessage):
            self.receives = False
            self.client_state = self.state_done
            if forwarding:
                yield SendHttp(event, self.context.server)
                self.patience.handed_over(time.monotonic())
                yield from self.watch()
        elif not isinstance(event, RequestTrailers):
            raise AssertionError(event)

    def stop_upload(self, error: RelayError) -> Commands[None]:
        """It stalls, or is too large: answer, whatever still comes."""
        relayed = self.relayed or RELAYED[self.flow]
        if self.client_state == self.state_consume_request_body:
            yield from self.turn_away(relayed, error)
        else:
            self.count(error)
            yield from self.abandon(error.message)
            self.client_state, self.deadline = self.state_done, None
            relayed.turned_away = error
            yield from self.failed(Outcome(failure=Failure.RESET, message=error.message), whole=True)

    def state_gate(self, event: events.Event) -> Commands[None]:
        """The start of an answer is held: see `replay`."""
        raise NotImplementedError

    def failed(self, outcome: Outcome, *, whole: bool) -> Commands[None]:
        """The attempt is over: see `replay`."""
        raise NotImplementedError

    # -- time

    def watch_upload(self, relayed: Relayed) -> Commands[None]:
        """Have it looked at whether the body still comes."""
        self.looked_at = self.size
        self.deadline = time.monotonic() + relayed.limits.idle
        yield from self.http_layer.alarm_for(self.deadline)

    def rings(self, now: float) -> Expired | None:
        """As of an answer, or of a body that does not come."""
        if not self.receives:
            return super().rings(now)
        relayed = self.relayed or RELAYED.get(self.flow)
        assert relayed is not None
        if self.size - self.looked_at >= LEAST:
            self.looked_at, self.deadline = self.size, now + relayed.limits.idle
            return None
        return Stalled(self.stream_id, f"{relayed.limits.idle:g}", ErrorCode.GENERIC_CLIENT_ERROR)
