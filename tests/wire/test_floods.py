"""Connections that keep the relay busy with next to nothing: they end, and nobody else notices."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import h2.errors
import h2.events
import pytest
from hyperframe.frame import (
    DataFrame,
    Frame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from claude_relay.proxy.common.rejections import Reason, counted
from claude_relay.proxy.mitm import flood
from claude_relay.proxy.stream import replay
from waiting import PATIENCE

from . import claude
from .certs import Authority
from .clients import H2Client, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config
from .upstream import Exchange, FakeUpstream, Step, _Answer1, _Answer2

Base = Callable[[Relay], RawClient]
Over2 = Callable[..., H2Client]
MANY = 20_000


@pytest.fixture(autouse=True)
def whatever_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forgiven while a slow machine is busy with a flood, and an answer is held back for as long."""
    monkeypatch.setattr(flood, "PER_SECOND", 0.0)
    monkeypatch.setattr(replay, "HOLD_SECONDS", 10 * PATIENCE)


def framed(frame: Frame, count: int = MANY) -> bytes:
    return frame.serialize() * count


def rapid_resets(client: H2Client, count: int = 2000) -> bytes:
    """Requests, each reset at once."""
    client.flush()
    for _ in range(count):
        stream = client.h2.get_next_available_stream_id()
        head = [(":method", "POST"), (":scheme", "https"), (":authority", client.authority), (":path", "/v1/messages")]
        client.h2.send_headers(stream, head, end_stream=True)
        client.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    return client.h2.data_to_send()


def body_of(frame: bytes) -> Callable[[H2Client], bytes]:
    def sent(client: H2Client) -> bytes:
        stream = client.request(end=False)
        return framed(DataFrame(stream, frame))

    return sent


FLOODS: dict[str, Callable[[H2Client], bytes]] = {
    "ping": lambda client: framed(PingFrame(0, bytes(8))),
    "ping ack": lambda client: framed(PingFrame(0, bytes(8), flags=["ACK"])),
    "settings": lambda client: framed(SettingsFrame(0)),
    "settings that change": lambda client: framed(SettingsFrame(0, {4: 70_000})),
    "priority": lambda client: framed(PriorityFrame(1001, depends_on=0, stream_weight=3)),
    "window": lambda client: framed(WindowUpdateFrame(0, 1)),
    "window of a stream": lambda client: framed(WindowUpdateFrame(client.request(end=False), 1)),
    "empty data": body_of(b""),
    "one byte": body_of(b"x"),
    "rapid reset": rapid_resets,
}


def ended_by(client: H2Client, data: bytes) -> int | None:
    """The error code of the GOAWAY with which it ends."""
    with contextlib.suppress(OSError):
        client.sock.sendall(data)
    code = None
    try:
        while received := client.sock.recv(65536):
            for event in client.h2.receive_data(received):
                if isinstance(event, h2.events.ConnectionTerminated):
                    code = int(event.error_code or 0)
    except OSError:
        pass
    return code


@pytest.mark.parametrize("kind", FLOODS)
def test_floods_of_frames_end_their_connection_alone(
    start: StartRelay, h2_client: Over2, base_client: Base, kind: str
) -> None:
    relay = start(keys=["good-1"])
    other, client, before = base_client(relay), h2_client(relay), counted()[Reason.FLOOD]
    client.ping()
    assert ended_by(client, FLOODS[kind](client)) == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert counted()[Reason.FLOOD] == before + 1
    assert other.ask("POST", "/v1/messages", body=messages_body()).status == 200


def test_a_few_hundred_empty_frames_are_a_flood(start: StartRelay, h2_client: Over2) -> None:
    """They cost nine bytes each, and mean nothing."""
    client = h2_client(start(keys=["good-1"]))
    client.ping()
    data = framed(DataFrame(client.request(end=False), b""), 400)
    assert ended_by(client, data) == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_tiny_chunks_of_a_body_end_the_connection(start: StartRelay, base_client: Base) -> None:
    relay = start(keys=["good-1"])
    before = counted()[Reason.FLOOD]
    client = base_client(relay)
    client.send(
        client.request_bytes("POST", "/v1/messages", headers=[("transfer-encoding", "chunked")], body=b"").split(
            b"Content-Length"
        )[0]
        + b"\r\n"
    )
    sent(client, b"1\r\nx\r\n" * 30_000)
    with pytest.raises(ConnectionError):
        client.head()
    assert counted()[Reason.FLOOD] == before + 1
    assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200


@pytest.mark.parametrize("count", [5_000, 15_000])
def test_tiny_requests_in_a_row_end_the_connection(start: StartRelay, base_client: Base, count: int) -> None:
    relay = start(keys=["good-1"])
    before = counted()[Reason.FLOOD]
    client = base_client(relay)
    sending = threading.Thread(target=sent, args=(client, client.request_bytes("GET", "/api/nothing") * count))
    sending.start()
    answers = 0
    while client.fill():
        answers += client.take(len(client.buffer)).count(b"404 Not Found")
    sending.join()
    assert answers < 4_700
    assert counted()[Reason.FLOOD] == before + 1


def sent(client: RawClient, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.send(data)


# -- from upstreams


def flooding(data: bytes, *, before: bytes = b"") -> Step:
    """An answer that begins well, and goes on with these bytes as they are."""

    async def run(exchange: Exchange) -> None:
        if isinstance(exchange, _Answer2):
            await exchange.head(200, [("content-type", "text/event-stream")])
            await exchange.send(claude.start())
            exchange.speaker.connection.transport.write(data)
        else:
            assert isinstance(exchange, _Answer1)
            await exchange.raw(before + data)
        await exchange.until_gone()

    return Step(run)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FROM_UPSTREAM_2 = {
    "ping": framed(PingFrame(0, bytes(8))),
    "settings": framed(SettingsFrame(0)),
    "priority": framed(PriorityFrame(1001)),
    "window": framed(WindowUpdateFrame(0, 1)),
    "empty data": framed(DataFrame(1, b"")),
    "one byte": framed(DataFrame(1, b" ")),
    "reset of others": framed(RstStreamFrame(1, 8)),
}


@pytest.mark.parametrize("kind", FROM_UPSTREAM_2)
def test_an_upstream_that_floods_over_http_2_is_left(
    start: StartRelay, h2_client: Over2, authority: Authority, kind: str
) -> None:
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        upstream.script(flooding(FROM_UPSTREAM_2[kind]))
        relay = start(config(upstream.url, ["good-1", "good-2"]))
        before = counted()[Reason.FLOOD]
        answer = h2_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
        assert answer.status == 200
        assert answer.body.endswith(claude.STOP)
        assert counted()[Reason.FLOOD] == before + 1


@pytest.mark.parametrize(
    "flood", [HEAD + b"1\r\n \r\n" * MANY, b"HTTP/1.1 100 Go on\r\n\r\n" * MANY], ids=["chunks", "interim"]
)
def test_an_upstream_that_floods_over_http_1_is_left(
    start: StartRelay, base_client: Base, upstream: FakeUpstream, flood: bytes
) -> None:
    upstream.script(flooding(flood))
    relay = start(keys=["good-1", "good-2"])
    before = counted()[Reason.FLOOD]
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert answer.status == 200
    assert answer.body.endswith(claude.STOP)
    assert counted()[Reason.FLOOD] == before + 1
