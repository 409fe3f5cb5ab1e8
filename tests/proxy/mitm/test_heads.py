"""How long a head may be: in HTTP/1, in HTTP/2, and the line before a chunk."""

from __future__ import annotations

from collections.abc import Iterator

import h2.config
import h2.connection
import pytest
from h2.exceptions import DenialOfServiceError, ProtocolError

from claude_relay.core.config import Bounds
from claude_relay.proxy.mitm.heads import BOUNDS, CHUNK_LINE, FIELD, Buffer, TooLong, bound, too_long


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    before = BOUNDS.bounds
    BOUNDS.set(Bounds(head=4096, fields=20))
    yield
    BOUNDS.set(before)


def read(data: bytes, step: int) -> list[bytes] | None:
    buffer = Buffer()
    for start in range(0, len(data), step):
        buffer += data[start : start + step]
        if (lines := buffer.maybe_extract_lines()) is not None:
            return [bytes(line) for line in lines]
    return None


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_a_head_of_http1(step: int) -> None:
    head = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
    assert read(head, step) == [b"GET / HTTP/1.1", b"host: h"]
    assert read(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20 + b"\r\n", step) is not None
    with pytest.raises(TooLong, match="more than 20 header fields"):
        read(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 21 + b"\r\n", step)
    for end in (b"", b"\r\n\r\n"):
        with pytest.raises(TooLong, match="longer than 4096 bytes"):
            read(b"GET / HTTP/1.1\r\na: " + b"x" * 4096 + end, step)


def test_the_line_before_a_chunk() -> None:
    buffer = Buffer()
    buffer += b"5;a=b\r\nhello"
    assert buffer.maybe_extract_next_line() == b"5;a=b\r\n"
    for data in (b"5;" + b"x" * CHUNK_LINE, b"5;" + b"x" * CHUNK_LINE + b"\r\n"):
        endless = Buffer()
        endless += data
        with pytest.raises(TooLong, match="chunk"):
            endless.maybe_extract_next_line()


def test_a_head_of_http2_counts_each_field() -> None:
    field = (b"a" * 16, b"b" * (256 - 16 - FIELD))
    assert too_long([field] * 16) is None
    assert too_long([field] * 17) == "longer than 4096 bytes"
    assert too_long([(b"a", b"")] * 21) == "more than 20 header fields"


def connections() -> tuple[h2.connection.H2Connection, h2.connection.H2Connection]:
    client = h2.connection.H2Connection()
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    bound(server)
    client.initiate_connection()
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    return client, server


def test_a_packed_head_of_http2() -> None:
    base = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "h")]
    client, server = connections()
    client.send_headers(1, [*base, ("a", "b")])
    assert server.receive_data(client.data_to_send())
    client.send_headers(3, [*base, *((f"x{n}", "\x7f" * 1000) for n in range(40))])  # in many frames
    with pytest.raises((DenialOfServiceError, ProtocolError)):
        server.receive_data(client.data_to_send())
