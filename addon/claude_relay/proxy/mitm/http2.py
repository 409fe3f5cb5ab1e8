"""HTTP/2 connections, as a layer that replays needs them.

mitmproxy's own HTTP/2 client of an upstream, turned into this one once it is open (`adopting`). Beyond what that does, it

- tells a stream that no byte of an answer has come (`Unanswered`), so that the request can go again on a fresh connection
- lets running streams end after GOAWAY, and takes no new ones when it is going away or dead (`retired`)
- tells streams that are still waiting for their turn when there will be none

A client's HTTP/2 connection (`Http2OfClients`) tells of every reset. tests/proxy/test_contract.py says which of mitmproxy's and h2's
internals this stands on. It must not know flows nor limits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import h2.errors
import h2.events
import h2.stream
from hyperframe.frame import GoAwayFrame
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestHeaders,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Server, StreamState

from claude_relay.core.errors import RelayError
from claude_relay.proxy.common.rejections import Reason, rejected
from claude_relay.proxy.messages.replies import error_answer, new_request_id

from .connections import SWITCHED, Commands, Garbled, as_unanswered, socket_of
from .flood import FramesCounted
from .heads import too_long
from .waiting import drop, unsent

if TYPE_CHECKING:
    from h2.events import Event

_HEADS = (h2.events.ResponseReceived, h2.events.TrailersReceived, h2.events.InformationalResponseReceived)
_OF_SETTINGS = (h2.events.RemoteSettingsChanged, h2.events.SettingsAcknowledged)


class GoingAway(h2.events.Event):
    """GOAWAY. h2's own event comes with a connection that takes nothing more, from streams that may still end neither."""

    def __init__(self, frame: GoAwayFrame) -> None:
        self.last_stream_id: int = frame.last_stream_id
        self.error_code: int = frame.error_code


class Http2(FramesCounted, Http2Client):
    """One HTTP/2 connection."""

    opened_at: float = 0.0
    retired: bool = False
    """No new stream may use it."""
    over: bool = False
    heard_at: float = 0.0
    """When the peer last sent anything but what every connection begins with; monotonic."""
    answering: set[int]
    """Streams of which an interim answer has come."""
    _heard_before: float = 0.0
    _turned_away: tuple[int, ...] = ()
    _why: str = ""

    @property
    def usable(self) -> bool:
        """Whether it can carry another request."""
        return not self.retired

    def is_silent(self, since: float) -> bool:
        """Whether nothing has come since this monotonic time."""
        return self.heard_at <= since

    def pending(self, stream_id: int) -> int:
        """Bytes of the stream's request that have not left; those of other streams among them, as they share a socket."""
        if (queued := self.stream_queue.get(stream_id)) is not None:
            return 1 + sum(len(event.data) for event in queued if isinstance(event, RequestData))
        held = self.h2_conn.stream_buffers.get(self.our_stream_id.get(stream_id, -1), ())
        return sum(len(part.data) for part in held) + len(held) + unsent(self.context.client, socket_of(self))

    def forget(self, stream_id: int) -> None:
        """Make room for a second request of the same stream; late frames of the first go nowhere."""
        if (ours := self.our_stream_id.pop(stream_id, None)) is not None:
            self.their_stream_id[ours] = -ours
            self.answering.discard(ours)
        self.stream_queue.pop(stream_id, None)

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, RequestProtocolError) and event.stream_id not in self.our_stream_id:
            self.stream_queue.pop(event.stream_id, None)  # it was still waiting for its turn
            return
        if isinstance(event, events.DataReceived):
            self._heard_before, self.heard_at = self.heard_at, time.monotonic()
        elif isinstance(event, RequestHeaders):
            self.toll.answered()
        elif isinstance(event, RequestData):
            self.toll.earned(len(event.data))
        yield from super()._handle_event(event)
        if self._turned_away or self.retired:
            yield from self.wind_up()

    def handle_h2_event(self, event: Event | Exception) -> Commands[bool]:
        """GOAWAY and refusals as they are meant; all else as mitmproxy does it."""
        if isinstance(event, GoingAway):
            yield from self.goes_away(event)
            return False
        if isinstance(event, h2.events.StreamReset) and event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM:
            yield from self.refused(event.stream_id or 0)
            return False
        if isinstance(event, h2.events.InformationalResponseReceived):
            yield from self.interim(event)
            return False
        if isinstance(event, _HEADS) and (why := too_long(event.headers or ())):
            yield from self.garbled_head(event.stream_id or 0, why)
            return False
        if isinstance(event, _OF_SETTINGS):
            self.heard_at = self._heard_before
        if isinstance(event, (h2.events.ResponseReceived, h2.events.StreamReset)):
            self.answering.discard(event.stream_id or 0)
        stop = yield from super().handle_h2_event(event)  # type: ignore[arg-type]
        if isinstance(event, h2.events.StreamEnded) and self.h2_conn.stream_buffers.get(event.stream_id or 0):
            self.h2_conn.reset_stream(
                event.stream_id, h2.errors.ErrorCodes.CANCEL
            )  # answered early: the rest is not wanted
            self.streams.pop(event.stream_id, None)
        return stop

    def goes_away(self, event: GoingAway) -> Commands[None]:
        """Streams after the last one that the peer will answer never happened; those before it may end."""
        self.retired = True
        self._why = f"HTTP/2 connection is going away (error {event.error_code})"
        self.turn_away_queued()
        for stream_id in [ours for ours in self.streams if ours > event.last_stream_id]:
            if not self.is_closed(stream_id):
                self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
            yield from self.lost(stream_id, self._why)

    def interim(self, event: h2.events.InformationalResponseReceived) -> Commands[None]:
        """An answer of 1xx is skipped: the peer has the request. 101 does not exist in HTTP/2 (RFC 9113, section 8.6)."""
        stream_id = event.stream_id or 0
        if stream_id not in self.streams:
            return
        self.answering.add(stream_id)
        if dict(event.headers or ()).get(b":status") == b"101":
            self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
            yield from self.lost(stream_id, SWITCHED)

    def garbled_head(self, stream_id: int, why: str) -> Commands[None]:
        """A head, or trailers, that are too large: no answer."""
        if not self.is_closed(stream_id):
            self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        if self.streams.pop(stream_id, None) is not None:
            self.answering.discard(stream_id)
            rejected(Reason.ANSWER, "an upstream's answer was given up: its head is too large")
            why = f"the answer's head is too large: {why}"
            yield ReceiveHttp(Garbled(stream_id, why, ErrorCode.GENERIC_SERVER_ERROR))

    def refused(self, stream_id: int) -> Commands[None]:
        """The peer says that it has done nothing with this request."""
        self.retired = True
        if stream_id in self.streams:
            yield from self.lost(stream_id, "stream refused (REFUSED_STREAM)")

    def lost(self, stream_id: int, why: str) -> Commands[None]:
        """This stream gets no answer any more."""
        state = self.streams.pop(stream_id)
        error = ResponseProtocolError(stream_id, why, ErrorCode.GENERIC_SERVER_ERROR)
        came = self.garbled or state is not StreamState.EXPECTING_HEADERS or stream_id in self.answering
        self.answering.discard(stream_id)
        yield ReceiveHttp(error if came else as_unanswered(error))

    def turn_away_queued(self) -> None:
        """Streams that wait for their turn will not have one."""
        self._turned_away += tuple(self.stream_queue)
        self.stream_queue.clear()

    def wind_up(self) -> Commands[None]:
        """Tell those who waited, and close a connection that is no longer used by anyone."""
        turned_away, self._turned_away = self._turned_away, ()
        for stream_id in turned_away:
            error = ResponseProtocolError(stream_id, self._why, ErrorCode.GENERIC_SERVER_ERROR)
            yield ReceiveHttp(as_unanswered(error))
        if self.retired and not self.over and not self.h2_conn.open_outbound_streams and not self.stream_queue:
            self.end()
            yield commands.CloseConnection(self.conn)
            drop(self.context.client, socket_of(self))

    def end(self) -> None:
        """Nothing more is said here."""
        self.retired = self.over = True
        self._handle_event = self.done  # type: ignore[method-assign]

    def protocol_error(self, message: str, error_code: int = h2.errors.ErrorCodes.PROTOCOL_ERROR) -> Commands[None]:
        """What came cannot be read: something did come."""
        self.garbled = True
        yield from super().protocol_error(message, error_code)

    def close_connection(self, msg: str) -> Commands[None]:
        """Tell all streams, those in the queue too."""
        yield commands.CloseConnection(self.conn)
        self._why = msg
        for stream_id in list(self.streams):
            yield from self.lost(stream_id, msg)
        self.turn_away_queued()
        self.end()


class Http2OfClients(FramesCounted, Http2Server):
    """A client's HTTP/2 connection."""

    def waiting(self, stream_id: int) -> int:
        """Bytes of an answer that wait because the client's window is closed."""
        return sum(len(part.data) for part in self.h2_conn.stream_buffers.get(stream_id, ()))

    def _handle_event(self, event: events.Event) -> Commands[None]:
        if isinstance(event, ResponseData):
            self.toll.earned(len(event.data))
        elif isinstance(event, ResponseEndOfMessage):
            self.toll.answered()
        yield from super()._handle_event(event)
        if isinstance(event, ResponseEndOfMessage) and self.is_open_for_client(event.stream_id):
            self.h2_conn.reset_stream(event.stream_id, h2.errors.ErrorCodes.NO_ERROR)  # answered early
            self.streams.pop(event.stream_id, None)
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())

    def is_open_for_client(self, stream_id: int) -> bool:
        """Whether the client may still send, although all of the answer has left."""
        stream = self.h2_conn.streams.get(stream_id)
        return (
            stream is not None
            and stream.state_machine.state is h2.stream.StreamState.HALF_CLOSED_LOCAL
            and not self.waiting(stream_id)
        )

    def refuse(self, stream_id: int, why: str) -> Commands[bool]:
        """A head, or trailers, that are too large: an answer where there is none yet, and the connection is closed."""
        error = RelayError(431, f"The head of the request is too large: {why}.", final=True)
        rejected(Reason.HEAD, "a client's request was refused: %s", error.message)
        if not self.h2_conn.streams[stream_id].state_machine.headers_sent:
            answer = error_answer(error, new_request_id())
            fields = [(name.lower(), value) for name, value in answer.headers.fields]
            self.h2_conn.send_headers(stream_id, [(b":status", b"431"), *fields])
            self.h2_conn.send_data(stream_id, answer.raw_content or b"", end_stream=True)
        yield from self.protocol_error(error.message, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        return True

    def handle_h2_event(self, event: Event) -> Commands[bool]:
        """A stream is remembered until its request is over. mitmproxy forgets it when what follows its end, a reset or the end of the
        connection, came in the same read, and then tells it of neither."""
        if isinstance(event, (h2.events.RequestReceived, h2.events.TrailersReceived)) and (
            why := too_long(event.headers or ())
        ):
            return (yield from self.refuse(event.stream_id or 0, why))
        if isinstance(event, h2.events.StreamEnded):
            if event.stream_id in self.streams:
                yield ReceiveHttp(RequestEndOfMessage(event.stream_id or 0))
            return False
        return (yield from super().handle_h2_event(event))


def received_goaway(frame: GoAwayFrame) -> tuple[list[Any], list[Event]]:
    """In the place of h2's own reading of the frame, after which it takes nothing more from streams that may still end."""
    return [], [GoingAway(frame)]
