"""Heads and bodies that are too large, or do not come: what clients get, and what is held of what upstreams send."""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from mitmproxy.proxy.layers.http import HttpStream

from claude_relay.cli.fake.messages import MODEL
from claude_relay.proxy.common.rejections import counted
from claude_relay.proxy.request.relayed import Relayed
from waiting import BRIEF

from . import steps
from .clients import H2Client, RawClient, messages_body
from .relay import Relay, provider
from .upstream import Exchange, FakeUpstream, Step

Base = Callable[[Relay], RawClient]
H2 = Callable[..., H2Client]
Start = Callable[..., Relay]
HEAD = b"POST /v1/messages HTTP/1.1\r\nHost: api.anthropic.com\r\nx-api-key: sk-ant-placeholder-relay\r\n"
MB = 1000**2


def flood(client: RawClient, piece: bytes, most: int) -> None:
    """Sends the same until the relay has had enough of it."""
    try:
        for _ in range(most // len(piece)):
            client.send(piece)
    except OSError:
        pass


# -- heads of clients


@pytest.mark.parametrize(
    "piece", [b"x" * 65536, b"a: b\r\n" * 10000, b"a: b\r\n c\r\n" * 5000], ids=["bytes", "fields", "folds"]
)
def test_a_head_without_end_is_refused(start: Start, base_client: Base, piece: bytes) -> None:
    relay, before = start(), counted()["head"]
    client = base_client(relay)
    client.send(HEAD)
    flood(client, piece, 4 * MB)
    answer = client.answer()
    assert (answer.status, answer.error_type) == (431, "invalid_request_error")
    assert answer.header("connection") == "close"
    assert not client.fill() or client.eof
    assert counted()["head"] == before + 1


def test_a_head_with_too_many_fields_is_refused_and_one_with_many_is_not(
    start: Start, upstream: FakeUpstream, dial: Callable[[Relay], Any]
) -> None:
    relay = start()
    many = [(f"x-h-{i}", "v") for i in range(180)]
    assert dial(relay).ask("POST", "/v1/messages", body=messages_body(), headers=many).status == 200
    answer = dial(relay).ask("POST", "/v1/messages", body=messages_body(), headers=many * 2)
    assert (answer.status, answer.error_type) == (431, "invalid_request_error")
    assert len(upstream.requests) == 1


def test_a_head_in_many_frames_ends_the_connection(start: Start, h2_client: H2) -> None:
    client = h2_client(start())
    client.sock.sendall(b"\x00\x00\x01\x01\x00" + (1).to_bytes(4, "big") + b"\x82")
    frame = b"\x00\x40\x00\x09\x00" + (1).to_bytes(4, "big") + b"\x00" + b"\x40" * 16383
    try:
        for _ in range(60):
            client.sock.sendall(frame)
        while not client.ended:
            client.pump()
    except OSError:
        pass


@pytest.mark.parametrize("begin", [b"", HEAD], ids=["nothing", "half"])
def test_a_head_that_does_not_come_in_time_is_refused(start: Start, base_client: Base, begin: bytes) -> None:
    client = base_client(start(limits={"head_time": BRIEF}))
    if begin:
        client.send(begin)
        assert client.answer().status == 408
    assert not client.fill()


def test_trailers_and_chunk_extensions_are_bounded(start: Start, base_client: Base) -> None:
    relay = start()
    for begin, piece in ((b"5;", b"x" * 4096), (b"0\r\n", b"a: b\r\n" * 1000)):
        client = base_client(relay)
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n" + begin)
        flood(client, piece, MB)
        assert client.answer().status == 431
        assert not client.fill()


# -- bodies of clients


@pytest.mark.parametrize("expect", [True, False])
def test_a_body_that_announces_too_much_is_not_read(start: Start, base_client: Base, expect: bool) -> None:
    client = base_client(start(limits={"request_body": "1MB"}))
    client.send(HEAD + b"content-length: 2000000\r\n" + b"expect: 100-continue\r\n" * expect + b"\r\n")
    client.fill()
    assert client.buffer.startswith(b"HTTP/1.1 413 ")
    answer = client.answer()
    assert answer.error_type == "request_too_large"
    assert answer.header("connection") == "close"
    assert not client.fill()


def test_a_body_that_becomes_too_large_is_refused_as_soon_as_it_is(
    start: Start, base_client: Base, h2_client: H2, upstream: FakeUpstream
) -> None:
    relay = start(limits={"request_body": "1MB"})
    client = base_client(relay)
    client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
    flood(client, b"10000\r\n" + b"x" * 65536 + b"\r\n", 3 * MB)
    answer = client.answer()
    assert (answer.status, answer.error_type) == (413, "request_too_large")
    second = h2_client(relay)
    assert second.answer(second.request(body=b"x" * 1_100_000, end=False)).status == 413
    assert second.ask(body=messages_body()).status == 200
    assert len(upstream.requests) == 1


def test_an_upload_that_stalls_is_given_up(start: Start, base_client: Base, h2_client: H2) -> None:
    relay = start(retry={"idle": "200ms"})
    client = base_client(relay)
    client.send(HEAD + b"content-length: 100\r\n\r\n{")
    assert client.answer().status == 408
    second = h2_client(relay)
    assert second.answer(second.request(body=b"{", end=False)).status == 408


FILES = {"limits": {"request_body": "100KB", "file": "1MB"}}


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_file_goes_on_as_it_comes(
    start: Start, upstream: FakeUpstream, base_client: Base, chunked: bool
) -> None:
    read: list[int] = []

    async def run(exchange: Exchange) -> None:
        await exchange.read_request()
        read.append(len(exchange.request.body))
        await steps.message().run(exchange)

    upstream.script(Step(run, "head"))
    client = base_client(start(**FILES))
    piece, count = b"x" * 100_000, 8
    client.method = "POST"
    head = HEAD.replace(b"/v1/messages", b"/v1/files")
    if chunked:
        client.send(head + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(count):
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
    else:
        client.send(head + b"content-length: %d\r\n\r\n" % (len(piece) * count))
        for _ in range(count):
            client.send(piece)
    assert client.answer().status == 200
    assert read == [len(piece) * count]


def test_a_large_file_has_one_attempt(start: Start, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(steps.status(529, "overloaded_error", "Overloaded"))
    client = base_client(start(keys=["good-1", "good-2"], **FILES))
    answer = client.ask("POST", "/v1/files", body=b"x" * 500_000)
    assert answer.status in (502, 529)
    assert len(upstream.requests) == 1


def test_a_file_may_be_too_large_as_well(start: Start, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(**FILES)
    client = base_client(relay)
    client.send(HEAD.replace(b"/v1/messages", b"/v1/files") + b"content-length: 2000000\r\n\r\n")
    assert client.answer().status == 413
    client = base_client(relay)
    client.send(HEAD.replace(b"/v1/messages", b"/v1/files") + b"transfer-encoding: chunked\r\n\r\n")
    flood(client, b"10000\r\n" + b"x" * 65536 + b"\r\n", 3 * MB)
    assert client.answer().status == 413


# -- answers


def endless(begin: bytes, piece: bytes) -> Step:
    async def run(exchange: Exchange) -> None:
        await exchange.raw(begin)  # type: ignore[attr-defined]
        while True:
            await exchange.raw(piece)  # type: ignore[attr-defined]

    return Step(run)


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (OK, b"x" * 65536),
        (OK, b"a: b\r\n" * 1000),
        (OK + b"transfer-encoding: chunked\r\n\r\n5;", b"x" * 4096),
        (b"HTTP/1.1 ", b"1" * 65536),
    ],
    ids=["bytes", "fields", "chunk extension", "status"],
)
def test_an_answer_whose_head_does_not_end_is_a_failed_attempt(
    start: Start, upstream: FakeUpstream, base_client: Base, begin: bytes, piece: bytes
) -> None:
    upstream.script(endless(begin, piece), steps.message())
    answer = base_client(start(keys=["good-1", "good-2"])).ask("POST", "/v1/messages", body=messages_body())
    assert answer.status == 200
    assert [request.key for request in upstream.requests] == ["good-1", "good-2"]


def test_an_answer_that_must_be_whole_is_bounded(start: Start, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.default = lambda: endless(OK + b"\r\n" + b'{"type": "message", "content": "', b"x" * 65536)  # type: ignore[assignment, method-assign, return-value]
    upstream.script(*(endless(OK + b"\r\n" + b'{"type": "message", "content": "', b"x" * 65536) for _ in range(3)))
    providers = {"glm": provider(upstream.url, ["good-1", "good-2", "good-3"]) | {"models": {"claude-*": "glm-5"}}}
    relay = start(providers=providers, limits={"answer": "1MB"})
    answer = base_client(relay).ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.error_type) == (502, "api_error")
    assert "larger than 1 MB" in str(answer.json())
    assert len(upstream.requests) == 1


# -- memory


def test_bodies_go_with_their_request(start: Start, upstream: FakeUpstream, base_client: Base) -> None:
    big = json.dumps(
        {"type": "message", "model": MODEL, "content": [{"type": "text", "text": "x" * 3_000_000}]}
    ).encode()
    upstream.script(*(steps.answer([big], headers=[("content-type", "application/json")]) for _ in range(6)))
    relay = start()
    body = messages_body(text="y" * 3_000_000)

    def round_trip() -> None:
        with RawClient(relay.base_port) as client:
            assert client.ask("POST", "/v1/messages", body=body).status == 200
        with RawClient(relay.base_port) as client:  # leaves before its request is whole
            client.send(HEAD + b"content-length: 9000000\r\n\r\n" + body)
        with RawClient(relay.base_port) as client:  # does not read its answer
            client.request("POST", "/v1/messages", body=body)
            client.fill()
        relay.wait_until_clients_left()

    round_trip()
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        round_trip()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    recorded = len(body) * 2 + len(body)
    assert held < recorded + 2_000_000


def test_a_request_that_is_over_leaves_nothing_to_the_cycle_collector(
    start: Start, upstream: FakeUpstream, base_client: Base
) -> None:
    relay = start()
    upstream.script(*(steps.stream() if n % 2 else steps.message() for n in range(10)))

    def ask(count: int) -> None:
        for n in range(count):
            with RawClient(relay.base_port) as client:
                assert client.ask("POST", "/v1/messages", body=messages_body(stream=bool(n % 2))).status == 200
        relay.wait_until_clients_left()

    def alive() -> set[object]:
        return {found for found in gc.get_objects() if isinstance(found, (Relayed, HttpStream))}

    ask(2)
    gc.collect()
    before = alive()  # of other tests of this process
    gc.disable()
    try:
        ask(8)
        left = [type(found) for found in alive() - before]
    finally:
        gc.enable()
    assert left == []


def test_a_client_that_does_not_read_stops_the_upstream(start: Start, upstream: FakeUpstream, h2_client: H2) -> None:
    sent: list[int] = []

    async def run(exchange: Exchange) -> None:
        await exchange.head(200, [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")])
        data = b"".join(part for part in steps.claude.events()[:3])
        await exchange.send(data)
        while sum(sent) < 60 * MB:
            await exchange.send(b": " + b"x" * 65536 + b"\n\n")
            sent.append(65536)

    upstream.script(Step(run))
    relay = start()
    client = h2_client(relay)
    stream = client.request(body=messages_body(stream=True))
    client.until(stream, b"content_block")
    seen = -1
    while seen != len(sent):
        seen = len(sent)
        time.sleep(0.3)
    assert sum(sent) < 30 * MB
