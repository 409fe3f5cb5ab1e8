"""Connections that keep the relay busy with next to nothing: what they may, and how they end.

    toll = Toll()
    toll.charge(1.0)      a frame, a chunk or a request that brings nothing; True: it is too much, the connection ends
    toll.earned(4096)     bytes went to the peer, an answer or a request: it may say something about them

A leaky bucket for each connection, a client's or an upstream's. Whoever sends what is worth sending pays nothing: frames and chunks with
some bytes in them, requests that get their answer, acknowledgements of what was sent to them. It must not know what a request is about.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from h2.exceptions import DenialOfServiceError
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame
from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.layers.http import RequestData, ResponseData
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.utils import human

from claude_relay.proxy.common.rejections import Reason, rejected

if TYPE_CHECKING:
    from h2.events import Event
    from mitmproxy.connection import Connection
    from mitmproxy.proxy.layers.http._http2 import Http2Connection
else:
    Http2Connection = object

# Prices are in frames that bring nothing, such as PING, SETTINGS, RST_STREAM or WINDOW_UPDATE. An honest client sends a few of them for
# each request; the floods that have names send thousands a second: rapid reset (CVE-2023-44487), pings, settings, empty frames
# (CVE-2019-9512, -9515, -9518). RFC 9113, section 10.5, leaves the bounds to whoever receives them.
MOST: Final = 2000.0
"""What a connection may owe."""
PER_SECOND: Final = 100.0
"""What it is forgiven."""
TINY: Final = 32
"""Bytes of a chunk or frame from which on it is worth its price."""
OF_TINY, OF_EMPTY, OF_FRAME, OF_REQUEST = 0.2, 10.0, 1.0, 4.0
"""A frame or chunk of a few bytes, as a model's single tokens are; one without any; another frame; a request."""
PER_ANSWER: Final = 2 * OF_REQUEST
"""What a request brings back when it is answered, and its reset and trailers, too."""
PER_DATA, BYTES = 2.0, 2048
"""What data that was sent brings, and for how many bytes of it there is one more: a peer acknowledges them in frames of its own."""
SAVED: Final = -10 * MOST
"""What a connection may have in hand at most: a long honest life pays for no flood."""
TOO_MUCH: Final = "too many frames, chunks or requests that bring next to nothing"


type Commands[T] = layer.CommandGenerator[T]


class Toll:
    """What one connection owes."""

    __slots__ = ("_at", "_owed")

    def __init__(self) -> None:
        self._owed, self._at = 0.0, time.monotonic()

    def charge(self, price: float) -> bool:
        """Whether that is too much. The clock is looked at only when it may be."""
        self._owed += price
        if self._owed <= MOST:
            return False
        now = time.monotonic()
        self._owed = max(price, self._owed - PER_SECOND * (now - self._at))
        self._at = now
        return self._owed > MOST

    def earned(self, size: int) -> None:
        """So many bytes went to the peer."""
        self._owed = max(SAVED, self._owed - PER_DATA - size / BYTES)

    def answered(self) -> None:
        """A request has its answer, or has left for its upstream."""
        self._owed = max(SAVED, self._owed - PER_ANSWER)


class Flooded(DenialOfServiceError):
    """Ends an HTTP/2 connection with GOAWAY, ENHANCE_YOUR_CALM."""


class FramesCounted(Http2Connection):
    """An HTTP/2 connection, of either side, whose frames are counted."""

    toll: Toll
    garbled: bool = False
    """Whether something came that is no answer."""

    def count_what_comes(self) -> None:
        """From now on each frame has its price."""
        self.toll, receive = Toll(), self.h2_conn._receive_frame
        charge = self.toll.charge

        def counted(frame: Frame) -> list[Event]:
            if (price := price_of(frame)) and charge(price):
                raise Flooded(TOO_MUCH)
            return receive(frame)

        self.h2_conn._receive_frame = counted  # type: ignore[method-assign]

    def handle_h2_event(self, event: Event) -> Commands[bool]:
        """h2 has the GOAWAY ready."""
        if isinstance(event, Flooded):
            self.garbled = True
            flooded(self.conn)
            yield commands.SendData(self.conn, self.h2_conn.data_to_send())
            yield from self.close_connection(TOO_MUCH)
            return True
        return (yield from super().handle_h2_event(event))


def price_of(frame: Any) -> float:
    """What a frame costs."""
    kind = type(frame)
    if kind is DataFrame:
        size = len(frame.data)
        if size >= TINY or "END_STREAM" in frame.flags:
            return 0.0
        return OF_TINY if size else OF_EMPTY
    if kind is HeadersFrame:
        return OF_REQUEST
    return 0.0 if kind is ContinuationFrame else OF_FRAME  # h2 itself counts continuations


def is_flood(toll: Toll, command: commands.Command) -> bool:
    """Whether this is a piece of an HTTP/1 body, and one too many of its kind."""
    if not isinstance(command, ReceiveHttp) or not isinstance(command.event, (RequestData, ResponseData)):
        return False
    return len(command.event.data) < TINY and toll.charge(OF_TINY)


def flooded(connection: Connection) -> None:
    """Count it and say so."""
    rejected(Reason.FLOOD, "a connection was closed: %s sent " + TOO_MUCH, human.format_address(connection.peername))


__all__ = ["TOO_MUCH", "FramesCounted", "Toll", "flooded", "is_flood"]
