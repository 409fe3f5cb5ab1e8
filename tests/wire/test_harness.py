"""The harness itself: what it says it does, it does, without any relay between."""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anthropic
import brotli
import pytest

from claude_relay.core.bodies.zstd import zstd

from . import claude, steps
from .certs import Authority
from .clients import H2Client, RawClient, connect, messages_body, sdk
from .relay import RelayProcess, config
from .upstream import FakeUpstream, Signal, Step, blackhole_port, refusing_port, silent_port

ERRORS = {
    "status": (steps.status(529, "overloaded_error", "Overloaded"), 529, "overloaded_error"),
    "error in 200": (steps.fault("error_in_200"), 200, "api_error"),
    "huge": (steps.huge_error(), 500, "api_error"),
    "early": (steps.early(steps.status(413, "request_too_large", "too large")), 413, "request_too_large"),
}
BREAKS = {
    "reset": steps.reset_before_head,
    "close": steps.close_before_head,
    "reset at accept": steps.reset_at_accept,
    "close at accept": steps.close_at_accept,
}


@pytest.fixture
def client(upstream: FakeUpstream) -> Iterator[RawClient]:
    with RawClient(upstream.port) as found:
        yield found


@pytest.fixture
def h2_upstream(authority: Authority) -> Iterator[FakeUpstream]:
    with FakeUpstream(authority.server_context(alpn=("h2", "http/1.1"))) as found:
        yield found


def test_a_request_is_recorded_as_it_came(upstream: FakeUpstream, client: RawClient) -> None:
    body = messages_body()
    client.post("/v1/messages?beta=true", body=body, headers=[("X-API-Key", "good-1"), ("X-Odd", "a: b")])
    assert client.answer().json()["type"] == "message"
    request = upstream.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/v1/messages?beta=true", body)
    assert ("X-Odd", "a: b") in request.headers
    assert (request.key, request.version, request.connection) == ("good-1", "1.1", 1)


def test_script_then_key_then_default(upstream: FakeUpstream, client: RawClient) -> None:
    upstream.script(steps.status(500))
    upstream.for_key("bad-1", steps.status(401), steps.status(403))
    found = [
        client.ask("POST", "/v1/messages", body=messages_body(), key=k).status
        for k in ("a", "bad-1", "bad-1", "bad-1", "a")
    ]
    assert found == [500, 401, 403, 403, 200]
    assert upstream.connections == 1


@pytest.mark.parametrize(("step", "status", "kind"), ERRORS.values(), ids=ERRORS)
def test_errors(upstream: FakeUpstream, client: RawClient, step: Step, status: int, kind: str) -> None:
    upstream.script(step)
    client.post()
    answer = client.answer()
    assert (answer.status, answer.error_type, answer.complete) == (status, kind, True)
    assert answer.header("request-id")


@pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS)
def test_breaking_off_before_an_answer(upstream: FakeUpstream, step: Step) -> None:
    upstream.script(step)
    with (
        pytest.raises(ConnectionError),
        RawClient(upstream.port) as client,
    ):  # a reset may be seen by the connect already
        client.ask("POST", "/v1/messages", body=messages_body())


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("chunking", [steps.whole, steps.bytewise, steps.sized(7), steps.inside_characters])
def test_framings_and_chunkings(
    upstream: FakeUpstream, client: RawClient, framing: str, chunking: steps.Chunking
) -> None:
    parts = claude.events("Grüße \u2028 ", "日本語")
    upstream.script(steps.stream(parts, framing=framing, chunking=chunking))
    client.post(stream=True)
    answer = client.answer()
    assert (answer.body, answer.complete) == (b"".join(parts), True)


@pytest.mark.parametrize(
    ("encoding", "unpack"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("br", brotli.decompress),
        ("zstd", lambda data: zstd.ZstdDecompressor().decompress(data)),
    ],
)
def test_compressed(upstream: FakeUpstream, client: RawClient, encoding: str, unpack: Callable[[bytes], bytes]) -> None:
    upstream.script(steps.stream(encoding=encoding))
    client.post(stream=True)
    answer = client.answer()
    assert answer.header("content-encoding") == encoding
    assert unpack(answer.body) == b"".join(claude.events())


def test_a_signal_holds_the_stream(upstream: FakeUpstream, client: RawClient) -> None:
    go = Signal()
    first, *rest = claude.events()
    upstream.script(steps.stream([first, go, *rest]))
    client.post(stream=True)
    client.head()
    client.until(first)
    assert client.quiet()
    go.set()
    client.until(claude.STOP)


def test_a_cut_is_no_complete_answer(upstream: FakeUpstream, client: RawClient) -> None:
    upstream.script(steps.after_content(2, steps.cut))
    client.post(stream=True)
    answer = client.answer()
    assert b"word 1" in answer.body
    assert not answer.complete


@pytest.mark.parametrize("leave", [RawClient.close, RawClient.reset])
@pytest.mark.parametrize("step", [steps.stall_before_head, steps.stall_before_body(), steps.fault("stall_late")])
def test_a_client_that_leaves_is_noticed(
    upstream: FakeUpstream, client: RawClient, step: Step, leave: Callable[[RawClient], None]
) -> None:
    upstream.script(step)
    client.post(stream=True)
    request = upstream.wait_for_requests(1)[0]
    request.whole.wait()
    assert not request.gone.is_set()
    leave(client)
    request.gone.wait()
    upstream.wait_until_idle()


def test_chunked_requests_with_trailers(upstream: FakeUpstream, client: RawClient) -> None:
    client.request("POST", "/v1/messages", chunks=[b'{"model":', b'"m"}'], trailers=[("x-sum", "1")])
    assert client.answer().status == 200
    assert upstream.requests[0].body == b'{"model":"m"}'
    assert upstream.requests[0].trailers == [("x-sum", "1")]


def test_pipelined_requests(upstream: FakeUpstream, client: RawClient) -> None:
    client.send(client.request_bytes("GET", "/v1/models") * 3)
    assert [client.answer().status for _ in range(3)] == [200] * 3


def test_informational_answers(upstream: FakeUpstream, client: RawClient) -> None:
    upstream.script(steps.informational_first(steps.message("there"), 103))
    client.post()
    assert b"there" in client.answer().body


def test_tls(authority: Authority) -> None:
    with FakeUpstream(authority.server_context("api.anthropic.com")) as upstream:
        sock = authority.client_context().wrap_socket(connect(upstream.port), server_hostname="api.anthropic.com")
        with RawClient(sock=sock) as client:
            assert client.ask("GET", "/v1/models").status == 200
        other = connect(upstream.port)
        with other, pytest.raises(ssl.SSLCertVerificationError):
            authority.client_context().wrap_socket(other, server_hostname="example.org")


def test_http2(h2_upstream: FakeUpstream, authority: Authority) -> None:
    h2_upstream.script(steps.stream(), steps.status(500))
    with H2Client.direct(h2_upstream.port, authority.ca_file) as client:
        streams = [client.request(body=messages_body(stream=True)) for _ in range(2)]
        found = [client.answer(s) for s in streams]
        assert [a.status for a in found] == [200, 500]
        assert found[0].body == b"".join(claude.events())
        assert [r.version for r in h2_upstream.requests] == ["2", "2"]
        big = b"x" * 1_000_000
        client.ask(path="/v1/messages/count_tokens", body=big, trailers=[("x-sum", "1")])
        assert h2_upstream.requests[2].body == big
        assert h2_upstream.requests[2].trailers == [("x-sum", "1")]


@pytest.mark.parametrize(
    "step", [steps.reset_before_head, steps.go_away_before_head, steps.stream([claude.start(), steps.reset])]
)
def test_http2_breaks(h2_upstream: FakeUpstream, authority: Authority, step: Step) -> None:
    h2_upstream.script(step)
    with H2Client.direct(h2_upstream.port, authority.ca_file) as client, pytest.raises(ConnectionError):
        client.ask(body=messages_body(stream=True))


def test_http2_client_cancels(h2_upstream: FakeUpstream, authority: Authority) -> None:
    h2_upstream.script(steps.fault("stall_late"))
    with H2Client.direct(h2_upstream.port, authority.ca_file) as client:
        stream = client.request(body=messages_body(stream=True))
        client.until(stream, b"word 0")
        client.cancel(stream)
        h2_upstream.requests[0].gone.wait()
        assert client.ask("GET", "/v1/models").status == 200


def test_an_h2_port_speaks_http1_too(h2_upstream: FakeUpstream, authority: Authority) -> None:
    sock = authority.client_context().wrap_socket(connect(h2_upstream.port), server_hostname="127.0.0.1")
    with RawClient(sock=sock) as client:
        assert client.ask("GET", "/v1/models").status == 200


def test_ports_that_do_not_answer(stack: ExitStack) -> None:
    with pytest.raises(ConnectionRefusedError):
        connect(stack.enter_context(refusing_port()))
    quiet = stack.enter_context(connect(stack.enter_context(silent_port()), timeout=0.05))
    with pytest.raises(TimeoutError):
        quiet.recv(1)
    with pytest.raises(TimeoutError):
        connect(stack.enter_context(blackhole_port()), timeout=0.2)


def test_the_relay_as_a_process(upstream: FakeUpstream, tmp_path: Path, confdir: Path) -> None:
    with RelayProcess(tmp_path, confdir, config(upstream.url, ["${KEYS}"]), environ={"KEYS": "good-1,good-2"}) as relay:
        relay.kill()
        relay.start()
        with RawClient(relay.base_port) as client:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert set(upstream.used_keys()) <= {"good-1", "good-2"}
    assert "good-1" not in relay.output()


def test_the_sdk_believes_it(upstream: FakeUpstream) -> None:
    ask = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    with sdk(base_port=upstream.port, api_key="good-1") as client:
        assert client.messages.create(**ask).content[0].text == "Hello!"  # type: ignore[call-overload]
        with client.messages.stream(**ask) as stream:  # type: ignore[arg-type]
            assert stream.get_final_text() == "Hello!"
        assert (
            client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "Hi"}]).input_tokens == 2095
        )
        assert next(m.id for m in client.models.list()) == claude.MODEL
        upstream.script(steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "7")]))
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(**ask)  # type: ignore[call-overload]
        assert caught.value.response.headers["retry-after"] == "7"
