"""Bad input: the upstream's own answer or a Claude-shaped 4xx; never a crash, a hang, or a 500 of the relay's."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from waiting import BRIEF

from . import claude, steps
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay
from .upstream import FakeUpstream, Signal

KEYS = ["sk-ant-api03-secret-1", "sk-ant-api03-secret-2"]
Base = Callable[[Relay], RawClient]

BODIES = {
    "empty": b"",
    "not json": b"not json at all",
    "half": b'{"model": "claude-sonnet-5", "messages": [',
    "not utf-8": b'{"model": "\xff\xfe"}',
    "a list": b"[1, 2, 3]",
    "a string": b'"model"',
    "null": b"null",
    "a number": b"1e999",
    "model a number": b'{"model": 5, "stream": true}',
    "model a list": b'{"model": ["claude"], "stream": "yes"}',
    "model null": b'{"model": null}',
    "stream a word": b'{"model": "claude-sonnet-5", "stream": "true"}',
    "stream a number": b'{"model": "claude-sonnet-5", "stream": 1}',
    "metadata a list": b'{"model": "claude-sonnet-5", "metadata": [], "tools": 5, "thinking": "x"}',
    "user_id a dict": b'{"model": "claude-sonnet-5", "metadata": {"user_id": {"a": 1}}}',
    "user_id half json": b'{"model": "claude-sonnet-5", "metadata": {"user_id": "{\\"session_id\\": "}}',
    "model twice": b'{"model": "a", "model": "claude-sonnet-5"}',
    "lone surrogate": b'{"model": "\\ud800"}',
    "nul": b'{"model": "claude\\u0000"}',
    "deep": b'{"model": "m", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "bom": b"\xef\xbb\xbf" + messages_body(),
    "long model": json.dumps({"model": "m" * 100_000}).encode(),
    "huge number": b'{"model": "m", "max_tokens": ' + b"9" * 5000 + b"}",
}
PATHS = [
    "/",
    "/v1",
    "/v1/",
    "/v1/messages/",
    "/v1/messages/extra/path",
    "/v2/messages",
    "/v1/messages?" + "x" * 5000,
    "/" + "a/" * 2000,
    "/v1/%",
    "/v1/%zz",
    "/v1/%00",
    "/v1/messages%0d%0aX-Evil:%201",
    "/v1/m%C3%A9ssages",
    "*",
]
METHODS = ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND"]


def check(answer: Answer, upstream: FakeUpstream) -> None:
    """The upstream's answer, or an error of the relay's own in Claude's shape and below 500."""
    assert answer.complete
    if (answer.header("request-id") or "").startswith("req_relay_"):
        assert 400 <= answer.status < 500, answer.body
        assert answer.error_type
    else:
        assert upstream.requests


def alive(relay: Relay) -> None:
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_bodies(start: StartRelay, upstream: FakeUpstream, dial: Dial, path: str) -> None:
    relay = start(keys=KEYS)
    client = dial(relay)
    for name, body in BODIES.items():
        upstream.requests.clear()
        check(client.ask("POST", path, body=body), upstream)
        assert {request.body for request in upstream.requests} <= {body}, name
    alive(relay)


def test_paths(start: StartRelay, upstream: FakeUpstream, claude_host: FakeUpstream, dial: Dial) -> None:
    relay = start(keys=KEYS, relay={"hosts": {"api.anthropic.com:443": claude_host.port}})
    for path in PATHS:
        client = RawClient(relay.base_port) if path == "*" else dial(relay)
        answer = client.ask("POST", path, body=messages_body(), key="sk-ant-api03-mine")
        assert answer.status < 500, path
        if answer.status >= 400 and (answer.header("request-id") or "").startswith("req_relay_"):
            assert answer.error_type
        if isinstance(client, RawClient):
            client.close()
    assert not [r for r in upstream.requests + claude_host.requests if r.header("x-evil")]
    alive(relay)


def test_methods(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.default = steps.status(405, "invalid_request_error", "Method Not Allowed")
    relay = start(keys=KEYS)
    for method in METHODS:
        client = dial(relay)
        if isinstance(client, RawClient):
            client.method = method
        answer = client.ask(method, "/v1/messages")
        assert 200 <= answer.status < 500, method
        assert answer.complete, method


@pytest.mark.parametrize("size", [8_000, 60_000, 200_000])
def test_huge_headers(start: StartRelay, upstream: FakeUpstream, base_client: Base, size: int) -> None:
    relay = start(keys=KEYS)
    client = base_client(relay)
    try:
        answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=[("x-huge", "x" * size)])
        assert answer.status in (200, 400, 413, 431)
    except ConnectionError:
        assert size > 60_000, "the connection broke"
    alive(relay)


def test_a_thousand_headers(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    many = [(f"x-h-{i}", "v") for i in range(1000)]
    limits = {"limits": {"fields": 1100, "head": "128KB"}}
    answer = dial(start(keys=KEYS, **limits)).ask("POST", "/v1/messages", body=messages_body(), headers=many)
    assert answer.status == 200
    assert [p for p in upstream.requests[0].headers if p in many] == many


def test_a_body_of_50_mb(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    body = messages_body(text="x" * 50_000_000)
    upstream.script(steps.status(500), steps.early(steps.status(413, "request_too_large", "too large")))
    relay = start(keys=KEYS, limits={"request_body": "60MB"})
    client = base_client(relay)
    client.sock.settimeout(20)
    answer = client.ask("POST", "/v1/messages", body=body)
    assert (answer.status, answer.error_type) == (413, "request_too_large")
    assert upstream.requests[0].body == body
    alive(relay)


MALFORMED = {
    "no version": b"POST /v1/messages\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n",
    "two lengths": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "negative length": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "length and chunked": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "space in a name": b"POST /v1/messages HTTP/1.1\r\nHost : x\r\nContent-Length: 2\r\n\r\n{}",
    "folded": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-a: 1\r\n 2\r\nContent-Length: 2\r\n\r\n{}",
    "connect": b"CONNECT x HTTP/1.1\r\n\r\n",
    "http/1.0": b"POST /v1/messages HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "upgrade": b"GET /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "h2c preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("way", ["base", "proxy"])
def test_malformed_requests(
    start: StartRelay, upstream: FakeUpstream, base_client: Base, proxy_client: Base, way: str
) -> None:
    relay = start(keys=KEYS)
    for name, data in MALFORMED.items():
        upstream.requests.clear()
        client = {"base": base_client, "proxy": proxy_client}[way](relay)
        client.send(data)
        client.sock.settimeout(0.5)
        try:
            answer = client.answer()
            assert answer.status < 500 or answer.status == 502, (name, answer)
        except (ConnectionError, TimeoutError):
            pass
        client.close()
        assert not [r for r in upstream.requests if r.body not in (b"", b"{}")], name
        alive(relay)


def test_chunked_requests_with_trailers(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(steps.status(500), steps.message())
    body = messages_body()
    pieces = [body[i : i + 7] for i in range(0, len(body), 7)]
    client = base_client(start(keys=KEYS))
    answer = client.ask("POST", "/v1/messages", chunks=pieces, trailers=[("x-sum", "1")])
    assert answer.status == 200
    assert [r.body for r in upstream.requests] == [body] * 2
    assert client.ask("POST", "/v1/messages", body=body).status == 200


def test_http2_requests_with_trailers(
    start: StartRelay, upstream: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    upstream.script(steps.status(500), steps.message())
    client = h2_client(start(keys=KEYS))
    body = messages_body()
    assert client.ask(body=body, trailers=[("x-sum", "1")]).status == 200
    assert [r.body for r in upstream.requests] == [body] * 2


def test_answers_with_trailers(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(steps.stream(trailers=[("x-sum", "1")]))
    answer = dial(start(keys=KEYS)).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert (answer.complete, answer.body) == (True, b"".join(claude.events()))


def test_pipelined_requests(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    upstream.script(
        steps.status(500), steps.message("one"), steps.fault("error_first"), steps.stream(), steps.message("three")
    )
    client = base_client(start(keys=KEYS))
    asked = [messages_body(), messages_body(stream=True), messages_body()]
    client.method = "POST"
    client.send(b"".join(client.request_bytes("POST", "/v1/messages", body=b) for b in asked))
    one, two, three = client.answer(), client.answer(), client.answer()
    assert b"one" in one.body
    assert two.body == b"".join(claude.events())
    assert b"three" in three.body
    assert [r.body for r in upstream.requests] == [asked[0], asked[0], asked[1], asked[1], asked[2]]


def test_an_unreadable_head_before_a_body_that_ends_with_the_connection(
    start: StartRelay, upstream: FakeUpstream, base_client: Base
) -> None:
    """The answer is given up at its head. That its connection then ends is no end of the next attempt's answer."""
    go = Signal()
    upstream.script(steps.raw(b"HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n{"), steps.after(go, steps.message("good")))
    relay = start(keys=KEYS)
    client = base_client(relay)
    client.post()
    upstream.wait_for_requests(2)
    go.set()
    assert b"good" in client.answer().body


def test_trailers_of_a_pipelined_request(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    """They are there before the answer to the first request is, and are read at its end."""
    upstream.script(steps.message("one"), steps.message("two"))
    client, body = base_client(start(keys=KEYS)), messages_body()
    client.method = "POST"
    first = client.request_bytes("POST", "/v1/messages", body=body)
    client.send(first + client.request_bytes("POST", "/v1/messages", chunks=[body], trailers=[("x-sum", "1")]))
    assert b"one" in client.answer().body
    assert b"two" in client.answer().body
    assert [r.body for r in upstream.requests] == [body] * 2


def test_a_pipelined_request_behind_a_stream(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    go = Signal()
    events = claude.events()
    upstream.script(steps.stream([*events[:4], go, *events[4:]]), steps.message("next"))
    client = base_client(start(keys=KEYS))
    client.post(stream=True)
    client.head()
    client.until(events[3])
    client.send(client.request_bytes("POST", "/v1/messages", body=messages_body()))
    go.set()
    client.until(claude.STOP)
    assert client.piece() is None
    assert b"next" in client.answer().body


def test_many_streams_at_once(start: StartRelay, upstream: FakeUpstream, h2_client: Callable[..., H2Client]) -> None:
    go = Signal()
    events = claude.events()
    held = steps.stream([*events[:4], go, *events[4:]])
    upstream.script(*(step for _ in range(10) for step in (steps.status(500), held)))
    upstream.default = held
    client = h2_client(start(keys=KEYS, retry={"attempts": 12, "max_wait": "2s", "first_byte": "3s", "idle": "5s"}))
    streams = [client.request(body=messages_body(stream=True, text=f"number {i}")) for i in range(20)]
    upstream.wait_for_requests(10)
    for stream in streams[:5]:
        client.until(stream, events[3])
    go.set()
    for stream in streams:
        answer = client.answer(stream)
        assert (answer.status, answer.body) == (200, b"".join(events))


def test_many_http2_streams_before_a_dead_provider(
    start: StartRelay, upstream: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    upstream.default = steps.reset_before_head
    client = h2_client(start(keys=KEYS, retry={"attempts": 3, "max_wait": "500ms", "first_byte": BRIEF, "idle": BRIEF}))
    streams = [client.request(body=messages_body()) for _ in range(6)]
    for stream in streams:
        assert client.answer(stream).error_type
    upstream.default = steps.claude_default()
    assert client.ask("GET", "/v1/models", key="sk-mine").complete


def test_a_request_cut_in_its_body(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start(keys=KEYS)
    for share in (0.1, 0.5, 0.99):
        with RawClient(relay.base_port) as broken:
            whole = broken.request_bytes("POST", "/v1/messages", body=messages_body())
            broken.send(whole[: int(len(whole) * share)])
    relay.wait_until_clients_left()
    assert upstream.requests == []
    alive(relay)


def test_a_client_that_sends_byte_by_byte(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    client = base_client(start(keys=KEYS))
    client.method = "POST"
    for piece in steps.bytewise(client.request_bytes("POST", "/v1/messages", body=messages_body())):
        client.send(piece)
    assert client.answer().status == 200


def test_a_client_that_half_closes(start: StartRelay, upstream: FakeUpstream, base_client: Base) -> None:
    relay = start(keys=KEYS)
    client = base_client(relay)
    client.post()
    client.half_close()
    with contextlib.suppress(ConnectionError):  # it may be taken for a client that left
        assert client.answer().status == 200
    alive(relay)


def test_leaving_at_every_moment_of_a_replay(start: StartRelay, upstream: FakeUpstream) -> None:
    relay = start(keys=KEYS, retry={"attempts": 4, "max_wait": "1s", "first_byte": "3s", "idle": "3s"})
    bad = [steps.status(500), steps.fault("error_first"), steps.reset_before_head, steps.fault("cut_early")]
    for step in bad:
        before = len(upstream.requests)
        upstream.script(step)
        client = RawClient(relay.base_port)
        client.post(stream=True)
        upstream.wait_for_requests(before + 1)
        client.reset()
    relay.wait_until_clients_left()
    upstream.wait_until_idle()
    alive(relay)
