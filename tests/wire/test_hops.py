"""Header fields that are for one hop stay on it: of requests and of answers, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from . import claude, steps
from .certs import Authority
from .clients import H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import config
from .upstream import FakeUpstream, Headers, Step

OF_CLIENT: Headers = [
    ("Connection", "keep-alive, X-Mine, x-api-key, anthropic-version, content-length, host"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authorization", "Basic Zm9vOmJhcg=="),
    ("Upgrade", "h2c"),
    ("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"),
    ("TE", "gzip, trailers"),
    ("Trailer", "X-Sum"),
    ("X-Mine", "1"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "kept"),
]
OF_UPSTREAM: Headers = [
    *claude.headers().items(),
    ("Connection", "X-Theirs"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic"),
    ("Upgrade", "h2c"),
    ("Trailer", "X-Sum"),
    ("X-Theirs", "1"),
    ("X-Kept", "1"),
]
TARGETS = {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "upgrade"} | {
    "http2-settings",
    "trailer",
    "x-mine",
    "x-theirs",
}
ANSWERS = {
    "whole": lambda: steps.message(headers=OF_UPSTREAM),
    "stream": lambda: steps.stream(headers=OF_UPSTREAM),
    "error": lambda: steps.status(400, "invalid_request_error", "no", headers=OF_UPSTREAM),
}


def names(headers: Headers) -> set[str]:
    return {name.lower() for name, _ in headers}


@pytest.fixture(params=["http1", "http2"])
def server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[FakeUpstream]:
    """An upstream of each kind."""
    context = authority.server_context(alpn=("h2",)) if request.param == "http2" else None
    with FakeUpstream(context) as found:
        yield found


@pytest.mark.parametrize("kind", ANSWERS)
def test_neither_way(start: StartRelay, server: FakeUpstream, dial: Dial, kind: str) -> None:
    """A client over HTTP/2 cannot send them."""
    step = ANSWERS[kind]()
    server.script(step, step)
    client = dial(start(config(server.url, ["sk-ant-api03-good-1"])))
    sent = OF_CLIENT if isinstance(client, RawClient) else [("te", "trailers"), ("anthropic-beta", "kept")]
    for _ in range(2):
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=kind == "stream"), headers=sent)
        assert answer.status == (400 if kind == "error" else 200)
        assert answer.complete
        assert not names(answer.headers) & (
            TARGETS - {"x-theirs"} if server.tls else TARGETS
        )  # HTTP/2 has no Connection to name it
        assert answer.header("x-kept") == "1"
        assert answer.header("x-relay-key") == "k1"
    for seen in server.requests:
        assert not names(seen.headers) & TARGETS
        assert seen.header("te") in (None, "trailers")
        assert (seen.header("host") or "").startswith("127.0.0.1")
        assert (seen.key, seen.header("anthropic-beta")) == ("sk-ant-api03-good-1", "kept")
        assert seen.body == messages_body(stream=kind == "stream")


def test_side_calls_too(start: StartRelay, claude_host: FakeUpstream, stack: ExitStack) -> None:
    relay = start(keys=["good-1"], relay={"hosts": {"api.anthropic.com:443": claude_host.port}})
    client = stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file))
    claude_host.script(steps.answer([b"{}"], headers=OF_UPSTREAM))
    own = [(n, v) for n, v in OF_CLIENT if n != "Connection"] + [("Connection", "X-Mine")]
    answer = client.ask("GET", "/api/hello", key="sk-ant-own-of-the-client", headers=own)
    assert (answer.status, answer.header("x-kept")) == (200, "1")
    assert not names(answer.headers) & TARGETS
    (seen,) = claude_host.requests
    assert not names(seen.headers) & TARGETS
    assert (seen.key, seen.header("anthropic-beta")) == ("sk-ant-own-of-the-client", "kept")


def test_what_is_only_led_on_too(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    """Over plain HTTP the proxy is one of the hops, wherever a request goes; its password is nobody's beyond it."""
    relay = start(keys=["good-1"])
    client = stack.enter_context(RawClient(relay.proxy_port, host=f"127.0.0.1:{upstream.port}"))
    upstream.default = steps.answer([b"{}"], headers=OF_UPSTREAM)
    own = [(n, v) for n, v in OF_CLIENT if n not in ("Connection", "Upgrade", "HTTP2-Settings")]
    for _ in range(2):
        answer = client.ask("GET", f"{upstream.url}/other", headers=[*own, ("Connection", "X-Mine")])
        assert (answer.status, answer.header("x-kept"), names(answer.headers) & TARGETS) == (200, "1", set())
    closing = client.ask("GET", f"{upstream.url}/other", headers=[*own, ("Connection", "X-Mine, close")])
    assert (closing.status, client.fill()) == (200, False)
    for seen in upstream.requests:
        assert not names(seen.headers) & TARGETS
        assert (seen.path, seen.header("anthropic-beta"), seen.header("te")) == ("/other", "kept", "trailers")


def test_a_web_socket_is_led_on(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    head = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: chat\r\nKeep-Alive: 1\r\n\r\n"
    upstream.script(steps.raw(head, b"hello"))
    relay = start(keys=["good-1"])
    client = stack.enter_context(RawClient(relay.proxy_port, host=f"127.0.0.1:{upstream.port}"))
    headers = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "chat"),
        ("Proxy-Authorization", "Basic Zm9vOmJhcg=="),
    ]
    client.request("GET", f"{upstream.url}/chat", headers=headers)
    assert client.line() == b"HTTP/1.1 101 Switching"
    told = dict(client.header_lines())
    assert {name.lower(): value.lower() for name, value in told.items()} == {"connection": "upgrade", "upgrade": "chat"}
    while b"hello" not in client.buffer:
        assert client.fill()
    (seen,) = upstream.requests
    assert (seen.header("connection"), seen.header("upgrade")) == ("Upgrade", "chat")
    assert seen.header("proxy-authorization") is None


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_upstream_that_closes_closes_its_own_connection_only(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, framing: str
) -> None:
    upstream.script(steps.message(headers=[*claude.headers().items(), ("Connection", "close")], framing=framing))
    relay = start(keys=["good-1"])
    client = stack.enter_context(RawClient(relay.base_port))
    for _ in range(3):
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert [seen.connection for seen in upstream.requests] == [1, 2, 2]


def translated(url: str) -> dict[str, object]:
    return {"format": "openai-chat", "base_url": url, "keys": ["good-1"]}


OPENAI = steps.answer(
    [
        b'{"id":"c1","object":"chat.completion","model":"gpt-5","choices":[{"index":0,"finish_reason":"stop","message":'
        b'{"role":"assistant","content":"Hello"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    ]
)


@pytest.mark.parametrize(("step", "foreign"), [(steps.message(), False), (OPENAI, True)], ids=["native", "translated"])
def test_a_client_that_closes_closes_its_own_connection_only(
    start: StartRelay, upstream: FakeUpstream, stack: ExitStack, step: Step, foreign: bool
) -> None:
    """Also when the request that leaves is another one than the client's."""
    upstream.default = step
    providers = {"other": translated(upstream.url)} if foreign else None
    relay = start(config(upstream.url, ["good-1"], providers=providers))
    client = stack.enter_context(RawClient(relay.base_port))
    closing = [("Connection", "close")]
    assert client.ask("POST", "/v1/messages", body=messages_body(), headers=closing).status == 200
    assert not client.fill()  # the end of the connection
    assert upstream.requests[0].header("connection") is None


def test_an_upstream_of_http_1_0(start: StartRelay, upstream: FakeUpstream, stack: ExitStack) -> None:
    """Its version is its own hop's, too."""
    body = steps.claude.dump(claude.message("Hi"))
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    upstream.script(steps.raw(head + body))
    relay = start(keys=["good-1"])
    client = stack.enter_context(RawClient(relay.base_port))
    for _ in range(2):
        client.post()
        assert client.line() == b"HTTP/1.1 200 OK"
        client.buffer = b"HTTP/1.1 200 x\r\n" + client.buffer
        assert client.answer().complete


def test_trailers_of_an_answer_reach_who_can_have_them(start: StartRelay, authority: Authority, dial: Dial) -> None:
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        upstream.default = steps.stream(trailers=[("x-sum", "1")])
        client = dial(start(config(upstream.url, ["good-1"])))
        for _ in range(2):
            answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
            assert (answer.complete, answer.body) == (True, b"".join(claude.events()))
            assert answer.trailers == ([] if isinstance(client, RawClient) else [("x-sum", "1")])


@pytest.mark.parametrize("kind", ["native", "translated"])
def test_trailers_hold_no_credential_and_nothing_of_one_hop(
    start: StartRelay, authority: Authority, stack: ExitStack, kind: str
) -> None:
    """The client's own key is in none that leaves, the pool's in none that comes; another format has none at all."""
    key, own = "sk-ant-api03-good-1", "sk-ant-own-of-the-client"
    sent = [("x-api-key", own), ("trailer", "x"), ("x-relay-session", "s"), ("x-sum", "1")]
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        told = [("x-echo", f"was {key}"), ("trailer", "x"), ("x-sum", "2")]
        upstream.default = OPENAI if kind == "translated" else steps.stream(trailers=told)
        other = {"other": translated(upstream.url) | {"keys": [key]}} if kind == "translated" else None
        relay = start(config(upstream.url, [key], providers=other))
        client = stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file))
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=kind == "native"), key=own, trailers=sent)
        assert (answer.status, answer.complete) == (200, True)
        (seen,) = upstream.requests
        if kind == "translated":
            assert (seen.trailers, answer.trailers) == ([], [])
        else:
            assert seen.trailers == [("x-sum", "1")]
            assert dict(answer.trailers) == {"x-sum": "2", "x-echo": "was relay:anthropic/k1"}
