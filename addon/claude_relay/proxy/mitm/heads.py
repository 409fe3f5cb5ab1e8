"""How long a head may be, for every reader of HTTP/1 heads that mitmproxy has: clients' requests, upstreams' and outbound proxies' answers.

    BOUNDS.set(limits)              from relay.yaml; `shortcuts` puts `Buffer` in the place of h11's
    Buffer().maybe_extract_lines()  raises TooLong when what has come is more than a head (or trailers) may be

mitmproxy collects a head for as long as it does not end. It must not know what becomes of a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from h2.connection import H2Connection
from h2.exceptions import DenialOfServiceError
from h2.frame_buffer import FrameBuffer
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._http1 import ReceiveBuffer
from mitmproxy.proxy.layers.http._upstream_proxy import HttpUpstreamProxy
from mitmproxy.utils import human

from claude_relay.core.config import Bounds

CHUNK_LINE: Final = 1024
"""Bytes of the line before a chunk: its size, and extensions that nobody uses."""
FIELD: Final = 32
"""Bytes that a field counts beside its name and value, as HTTP/2 has it (RFC 9113, section 6.5.2)."""


UNFOLDED: Final = 4
"""Times as large as it may be, a head of HTTP/2 is still read, so that its sender can be told."""


class TooLong(Exception):
    """A head, its trailers or the line before a chunk is longer than it may be."""


@dataclass(slots=True)
class InForce:
    """The bounds of relay.yaml that are in force, for all connections of this process."""

    bounds: Bounds

    def set(self, bounds: Bounds) -> None:
        """From now on these."""
        self.bounds = bounds

    def check(self, size: int, fields: int) -> None:
        """Raises TooLong for a head of so many bytes and fields."""
        if size > self.bounds.head:
            raise TooLong(f"longer than {self.bounds.head} bytes")
        if fields > self.bounds.fields:
            raise TooLong(f"more than {self.bounds.fields} header fields")


BOUNDS: Final = InForce(Bounds())


class Buffer(ReceiveBuffer):
    """h11's buffer, with an end."""

    def maybe_extract_lines(self) -> list[bytearray] | None:
        """A head, or trailers."""
        before = len(self._data)
        lines: list[bytearray] | None = super().maybe_extract_lines()
        if lines is None:
            BOUNDS.check(before, 0)
        else:
            BOUNDS.check(before - len(self._data), len(lines) - 1)
        return lines

    def maybe_extract_next_line(self) -> bytearray | None:
        """The line before a chunk."""
        line: bytearray | None = super().maybe_extract_next_line()
        if len(self._data if line is None else line) > CHUNK_LINE:
            raise TooLong(f"a chunk begins with more than {CHUNK_LINE} bytes")
        return line


class Frames(FrameBuffer):
    """h2's reading of frames: a head may come in many of them, but not be longer than one may be, packed as it is."""

    def _update_header_buffer(self, f: Frame | None) -> Frame | None:
        size = sum(len(part.data) for part in self._headers_buffer)
        if size + (len(f.data) if isinstance(f, HeadersFrame | ContinuationFrame) else 0) > BOUNDS.bounds.head:
            raise DenialOfServiceError("the head is too large")
        return super()._update_header_buffer(f)


def bound(connection: H2Connection) -> None:
    """Bound the heads of an HTTP/2 connection: as they are packed, and roughly as they unfold; for the rest see `fits`."""
    connection.incoming_buffer.__class__ = Frames
    connection.decoder.max_header_list_size = UNFOLDED * BOUNDS.bounds.head


def too_long(fields: Sequence[tuple[bytes, bytes]]) -> str | None:
    """Why a head, or trailers, are longer than they may be; None: they are not."""
    try:
        BOUNDS.check(sum(len(name) + len(value) + FIELD for name, value in fields), len(fields))
    except TooLong as error:
        return str(error)
    return None


_RECEIVE: Final = HttpUpstreamProxy.receive_handshake_data


def receive_connect_answer(tunnel: HttpUpstreamProxy, data: bytes) -> CommandGenerator[tuple[bool, str | None]]:
    """What an outbound proxy answers to a CONNECT, as mitmproxy reads it; one that does not end is no answer."""
    try:
        return (yield from _RECEIVE(tunnel, data))
    except TooLong as error:
        return False, f"Error connecting to {human.format_address(tunnel.tunnel_connection.address)}: {error}"
