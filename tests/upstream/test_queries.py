"""One request with a key, to providers on this machine: directly, with TLS, through proxies."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

import pytest

from claude_relay.core.config import WayOut, led, parse
from claude_relay.core.exchange import Failure, Key
from claude_relay.upstream.queries import LONGEST_LIST, fetched, listed, query
from upstream.providers import Upstream, answering, issued, provider, raw, secret, serving, tunnelling
from waiting import PATIENCE
from wire.certs import Authority
from wire.socks import microsocks


def test_the_request(tmp_path: Path) -> None:
    with serving(Upstream()) as upstream:
        outcome = query(provider(f"{upstream.url}/some/prefix"), issued(), timeout=PATIENCE)
    assert (outcome.status, outcome.failure) == (200, None)
    [(path, headers)] = upstream.requests
    assert path == "/some/prefix/v1/models?limit=1"
    assert headers["x-api-key"] == secret("valid")
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["host"] == upstream.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ("bearer", "authorization", "Bearer {}"),
        ("x-goog-api-key", "x-goog-api-key", "{}"),
        ({"header": "X-Team", "prefix": "Key "}, "x-team", "Key {}"),
        ({"cookie": "session"}, "cookie", "session={}"),
    ],
)
def test_where_the_key_goes(auth: object, header: str, value: str) -> None:
    with serving(Upstream()) as upstream:
        query(provider(upstream.url, auth=auth), issued(), timeout=PATIENCE)
    [(path, headers)] = upstream.requests
    assert headers[header] == value.format(secret("valid"))
    assert sum(secret("valid") in text for text in (path, *headers.values())) == 1


def test_a_key_in_the_query() -> None:
    odd = "sk-ant-valid-&=?#%/+0123456789"
    with serving(Upstream()) as upstream:
        query(provider(upstream.url, auth={"query": "key"}), Key("p", "v1", odd, "1"), timeout=PATIENCE)
    assert upstream.requests[0][0] == "/v1/models?limit=1&key=sk-ant-valid-%26%3D%3F%23%25%2F%2B0123456789"


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = query(provider(f"http://127.0.0.1:{port}"), issued(), timeout=PATIENCE)
    assert (outcome.failure, outcome.message) == (Failure.CONNECT, "Connection refused")
    assert query(provider("https://nowhere.invalid"), issued(), timeout=PATIENCE).message == "no such host"


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ((), Failure.RESET),
        ((b"220 smtp.example ESMTP\r\n",), Failure.RESET),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{",), Failure.GARBAGE),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",), Failure.EMPTY),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70000 + b"\r\n\r\n",), Failure.RESET),
        ((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",), Failure.RESET),
    ],
)
def test_answers_that_are_none(pieces: tuple[bytes, ...], failure: Failure) -> None:
    with raw(answering(*pieces)) as address:
        outcome = query(provider(f"http://{address}"), issued(), timeout=PATIENCE)
    assert outcome.failure is failure
    assert secret("valid") not in repr(outcome)


def test_silence() -> None:
    with raw(None) as address:
        outcome = query(provider(f"http://{address}"), issued(), timeout=0.2)
    assert (outcome.failure, outcome.message) == (Failure.TIMEOUT, "no answer in time")


def test_an_answer_that_never_ends() -> None:
    stop = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n{"a": "')
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with raw(drip) as address:
        begun = time.monotonic()
        outcome = query(provider(f"http://{address}"), issued(), timeout=0.3)
        stop.set()
    assert outcome.failure is Failure.TIMEOUT
    assert time.monotonic() - begun < PATIENCE


# -- TLS and proxies


def test_tls(authority: Authority) -> None:
    with serving(Upstream(authority.server_context())) as upstream:
        assert query(provider(upstream.url), issued(), timeout=PATIENCE).status == 200


def test_a_certificate_of_somebody_else(authority: Authority, tmp_path: Path) -> None:
    contexts = [
        Authority(tmp_path / "other").server_context(),
        authority.server_context(expired=True),
        authority.server_context("other.example"),
    ]
    for context in contexts:
        with serving(Upstream(context)) as upstream:
            outcome = query(provider(upstream.url), issued(), timeout=PATIENCE)
        assert (outcome.failure, upstream.requests) == (Failure.TLS, [])
        assert outcome.message.startswith("its certificate is not trusted: ")


def test_plain_text_on_a_tls_port(authority: Authority) -> None:
    with raw(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert query(provider(f"https://{address}"), issued(), timeout=PATIENCE).failure is Failure.TLS


@pytest.mark.parametrize("outer", [False, True])
@pytest.mark.parametrize("inner", [False, True])
def test_through_a_proxy(authority: Authority, outer: bool, inner: bool) -> None:
    context = authority.server_context()
    with (
        serving(Upstream(context if inner else None)) as upstream,
        tunnelling(context if outer else None) as (port, heard),
    ):
        proxy = f"{'https' if outer else 'http'}://user:hunter2@127.0.0.1:{port}"
        of_provider = query(provider(upstream.url, proxy=proxy), issued(), timeout=PATIENCE)
        of_key = query(provider(upstream.url, proxy="http://127.0.0.1:1"), issued("revoked", proxy), timeout=PATIENCE)
    assert (of_provider.status, of_key.status) == (200, 401)
    assert len(upstream.requests) == len(heard) == 2
    for asked in heard:
        assert asked.startswith(f"CONNECT 127.0.0.1:{upstream.server_port} HTTP/1.1\r\n".encode())
        assert b"Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n" in asked
        assert b"sk-ant" not in asked


def test_through_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with tunnelling(status="407 Who are you?") as (port, heard):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hunter2@127.0.0.1:{port}")
        outcome = query(provider("https://h.example"), issued(), timeout=PATIENCE)
        near = query(provider("https://h.invalid", proxy="direct"), issued(), timeout=PATIENCE)
        of_key = query(provider("https://h.invalid"), issued(proxy="direct"), timeout=PATIENCE)
    assert outcome.message == f"the proxy answered 407, through http://127.0.0.1:{port} (HTTPS_PROXY)"
    assert near.message == of_key.message == "no such host"
    assert len(heard) == 1


def test_a_proxy_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    outcome = query(provider("https://h.example", proxy=address), issued(), timeout=PATIENCE)
    assert outcome.failure is Failure.PROXY
    assert outcome.message == f"the proxy cannot be reached: Connection refused, through {address}"


def test_proxies_with_a_name() -> None:
    text = """
        proxies: {office: {url: 'socks5://127.0.0.1:%d'}, dead: {url: 'socks5://127.0.0.1:9'}}
        providers: {p: {base_url: 'http://localhost:%s', proxy: office}}"""
    with serving(Upstream()) as upstream, microsocks() as proxy:
        config = parse(text % (proxy.port, upstream.url.rpartition(":")[2]), environ={})
        named = config.providers["p"]
        assert listed(named, issued(), timeout=PATIENCE) == ("claude-sonnet-5",)
        assert listed(led(named, WayOut()), issued(proxy="office"), timeout=PATIENCE) == ("claude-sonnet-5",)
        assert "(dead)" in query(named, issued(proxy="dead"), timeout=PATIENCE).message
        assert query(named, issued(proxy="nowhere"), timeout=PATIENCE).failure is Failure.PROXY


def test_a_proxy_in_the_way_of_a_certificate(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other").server_context()
    with serving(Upstream(stranger)) as upstream, tunnelling(authority.server_context()) as (port, _):
        outcome = query(provider(upstream.url, proxy=f"https://127.0.0.1:{port}"), issued(), timeout=PATIENCE)
    assert (outcome.failure, upstream.requests) == (Failure.TLS, [])
    with tunnelling(stranger) as (port, heard):
        outcome = query(provider("https://h.example", proxy=f"https://127.0.0.1:{port}"), issued(), timeout=PATIENCE)
    assert (outcome.failure, heard) == (Failure.PROXY, [])


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "nonsense"])
def test_a_proxy_that_refuses(status: str) -> None:
    with tunnelling(status=status) as (port, _):
        outcome = query(
            provider("https://h.example", proxy=f"http://u:hunter2@127.0.0.1:{port}"), issued(), timeout=PATIENCE
        )
    assert outcome.failure is Failure.PROXY
    what = f"the proxy answered {status[:3]}" if status[0].isdigit() else "no proxy is there"
    assert outcome.message == f"{what}, through http://127.0.0.1:{port}"
    with raw(answering()) as address:
        outcome = query(provider("http://h.example", proxy=f"http://{address}"), issued(), timeout=PATIENCE)
    assert outcome.message == f"the proxy gave no valid answer, through http://{address}"


# -- lists


def test_the_models_that_are_listed() -> None:
    with serving(Upstream()) as upstream:
        assert listed(provider(upstream.url), issued(), timeout=PATIENCE) == ("claude-sonnet-5",)
        assert listed(provider(upstream.url), issued("revoked"), timeout=PATIENCE) == ()
        assert listed(provider(upstream.url), issued("html"), timeout=PATIENCE) == ()
    google = b'{"models": [{"name": "models/gemini-3-pro"}, {"name": ""}]}'
    with raw(answering(b"HTTP/1.1 200 OK\r\n\r\n" + google)) as address:
        assert listed(provider(f"http://{address}", format="gemini"), issued(), timeout=PATIENCE) == ("gemini-3-pro",)


def test_a_providers_own_header_fields_go_along() -> None:
    with serving(Upstream()) as upstream:
        asked = provider(upstream.url, headers={"X-Title": "relay"})
        query(asked, issued(), timeout=PATIENCE)
        listed(asked, issued(), timeout=PATIENCE)
        fetched(asked, issued(), "/v1/models?limit=9", timeout=PATIENCE, own={"x-api-key": "theirs", "x-title": "mine"})
    assert [headers["x-title"] for _, headers in upstream.requests] == ["relay"] * 3
    assert [headers["x-api-key"] for _, headers in upstream.requests] == [secret("valid")] * 2 + ["theirs"]


@pytest.mark.parametrize(("size", "is_whole"), [(LONGEST_LIST, True), (LONGEST_LIST + 1, False)])
def test_a_list_that_is_too_long_is_none(size: int, is_whole: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
    with raw(answering(head, b" " * size)) as address:
        found = fetched(provider(f"http://{address}"), issued(), "/v1/models", timeout=PATIENCE)
    assert len(found) == size * is_whole


def test_what_repeats_a_key_is_no_list() -> None:
    body = json.dumps({"data": [{"id": secret("valid")}]}).encode()
    with raw(answering(b"HTTP/1.1 200 OK\r\n\r\n" + body)) as address:
        assert listed(provider(f"http://{address}"), issued(), timeout=PATIENCE) == ()
