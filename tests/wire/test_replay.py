"""Replay in place: an attempt that fails is tried again, and the client sees one good answer."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from waiting import BRIEF

from . import claude, steps
from .certs import Authority
from .clients import Answer, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay, Talker
from .relay import Relay, config, provider
from .upstream import FakeUpstream, Step, blackhole_port, refusing_port, silent_port

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 7)]
# What may be waited in all bounds the pauses between tries, too.
QUICK = {"attempts": 8, "max_wait": "20ms", "first_byte": BRIEF, "idle": BRIEF}
STREAM = b"".join(claude.events())
RETRY_1 = [("retry-after", "1")]

STATUSES = {
    "401": steps.status(401, "authentication_error", "invalid x-api-key"),
    "402": steps.status(402, "billing_error", "Your account needs a payment method"),
    "credit": steps.status(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
    "disabled": steps.status(400, "invalid_request_error", "This organization has been disabled."),
    "403": steps.status(403, "permission_error", "Your API key may not do this."),
    "429 retry-after": steps.status(429, "rate_limit_error", "slow down", headers=RETRY_1),
    "429": steps.status(429, "rate_limit_error", "slow down"),
    "500": steps.status(500, "api_error", "Internal server error"),
    "502 html": steps.fault("bad_gateway"),
    "503": steps.status(503, "api_error", "unavailable"),
    "504": steps.status(504, "timeout_error", "gateway"),
    "408": steps.status(408, "timeout_error", "request timeout"),
    "529": steps.status(529, "overloaded_error", "Overloaded"),
    "huge 500": steps.huge_error(),
    "endless 500": steps.answer([b"<html>", steps.stall], status=500, content_type="text/html", framing="chunked"),
    "early 503": steps.early(steps.status(503, "api_error", "unavailable")),
    "gzip 529": steps.status(529, "overloaded_error", "Overloaded", encoding="gzip"),
}
BREAKS = {
    "reset": steps.reset_before_head,
    "close": steps.close_before_head,
    "reset at accept": steps.reset_at_accept,
    "close at accept": steps.close_at_accept,
    "garbage": steps.raw(b"\x15\x03\x01\x00\x02\x02\x16"),
    "half a head": steps.raw(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "no first byte": steps.stall_before_head,
    "no first byte of the body": steps.stall_before_body(),
}
BAD_STREAMS = {
    "empty": steps.empty_stream(),
    "empty of length 0": steps.fault("empty"),
    "empty until close": steps.stream([], framing="close"),
    "html": steps.html(200),
    "error first": steps.fault("error_first"),
    "error after start": steps.stream([claude.start(), claude.PING, claude.error_event("api_error", "oops")]),
    "error bytewise": steps.stream([claude.start(), claude.error_event()], chunking=steps.bytewise),
    "error gzip": steps.stream([claude.start(), claude.error_event()], encoding="gzip"),
    "error br": steps.stream([claude.error_event()], encoding="br"),
    "error zstd": steps.stream([claude.error_event()], encoding="zstd"),
    "json error": steps.fault("error_in_200"),
    "cut": steps.fault("cut_early"),
    "reset": steps.stream([claude.start(), steps.reset]),
    "cut in an event": steps.stream([claude.start()[:40], steps.cut]),
    "ends early": steps.stream([claude.start(), claude.PING]),
    "ends early until close": steps.stream([claude.start()], framing="close"),
}
BAD_MESSAGES = {
    "empty": steps.fault("empty"),
    "html": steps.html(200),
    "json error": steps.fault("error_in_200"),
    "json error br": steps.answer([claude.dump(claude.error("api_error", "oops"))], encoding="br"),
    "cut": steps.answer([b'{"type":"mess', steps.cut, b'age"}']),
    "cut chunked": steps.answer([b'{"type":"mess', steps.cut], framing="chunked"),
    "half json": steps.answer([b'{"type":"mess'], framing="close"),
}


def attempts(answer: Answer) -> int:
    return int(answer.header("x-relay-attempts") or 0)


class Faults:
    """One relay for many faults. Every request names a model of its own, and with it a provider whose keys nobody has spoiled yet."""

    MODELS: ClassVar = [f"model-{n}" for n in range(100)]

    def __init__(self, relay: Relay, upstream: FakeUpstream) -> None:
        self.relay, self.upstream = relay, upstream
        self._models = iter(self.MODELS)

    @classmethod
    def config(cls, url: str) -> dict[str, Any]:
        routes = [{"match": {"model": model}, "to": [model]} for model in cls.MODELS]
        return config(providers={model: provider(url, KEYS) for model in cls.MODELS}, routes=routes, retry=QUICK)

    def ask(self, client: Talker, *script: Step, stream: bool) -> Answer:
        """The answer to a request that the upstream answers in this way; it always gets the same request."""
        self.upstream.requests.clear()
        self.upstream.script(*script)
        body = messages_body(stream=stream, model=next(self._models))
        answer = client.ask("POST", "/v1/messages", body=body)
        assert {r.body for r in self.upstream.requests} == {body}
        return answer


@pytest.fixture(scope="class")
def faults(tmp_path_factory: pytest.TempPathFactory, confdir: Path) -> Iterator[Faults]:
    folder = tmp_path_factory.mktemp("faults")
    with FakeUpstream() as upstream, Relay(folder, confdir, Faults.config(upstream.url)) as relay:
        yield Faults(relay, upstream)


class TestFaults:
    @pytest.mark.parametrize("step", STATUSES.values(), ids=STATUSES)
    @pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
    def test_statuses(self, faults: Faults, step: Step, streamed: bool) -> None:
        good = steps.stream() if streamed else steps.message("good")
        with RawClient(faults.relay.base_port) as client:
            answer = faults.ask(client, step, good, stream=streamed)
        assert answer.status == 200
        assert answer.body == STREAM if streamed else b"good" in answer.body
        assert attempts(answer) == 2
        assert len(faults.upstream.requests) == 2

    @pytest.mark.parametrize("step", BREAKS.values(), ids=BREAKS)
    def test_broken_connections(self, faults: Faults, dial: Dial, step: Step) -> None:
        answer = faults.ask(dial(faults.relay), step, steps.stream(), stream=True)
        assert (answer.status, answer.body, attempts(answer)) == (200, STREAM, 2)

    @pytest.mark.parametrize("step", BAD_STREAMS.values(), ids=BAD_STREAMS)
    def test_bad_streams(self, faults: Faults, step: Step) -> None:
        with RawClient(faults.relay.base_port) as client:
            answer = faults.ask(client, step, steps.stream(), stream=True)
        assert (answer.status, answer.body, attempts(answer)) == (200, STREAM, 2)

    @pytest.mark.parametrize("step", BAD_MESSAGES.values(), ids=BAD_MESSAGES)
    def test_bad_messages(self, faults: Faults, step: Step) -> None:
        good = claude.dump(claude.message("good"))
        with RawClient(faults.relay.base_port) as client:
            answer = faults.ask(client, step, steps.answer([good]), stream=False)
        assert (answer.status, answer.body, attempts(answer)) == (200, good, 2)


# -- where it cannot connect


def failing_url(kind: str, stack: ExitStack, authority: Authority, folder: Path) -> str:
    def server(tls: ssl.SSLContext | None) -> FakeUpstream:
        return stack.enter_context(FakeUpstream(tls))

    if kind == "wrong name":
        return server(authority.server_context("example.org")).url
    if kind == "expired":
        return server(authority.server_context(expired=True)).url
    if kind == "strange authority":
        return server(Authority(folder / "other").server_context()).url
    if kind == "no tls":
        return server(None).url.replace("http:", "https:")
    ports = {"refused": refusing_port, "blackhole": blackhole_port, "silent": silent_port, "silent tls": silent_port}
    if kind in ports:
        scheme = "https" if "tls" in kind else "http"
        return f"{scheme}://127.0.0.1:{stack.enter_context(ports[kind]())}"
    return {"dns": "http://nowhere.invalid", "dns tls": "https://nowhere.invalid"}[kind]


UNREACHABLE = [
    "refused",
    "dns",
    "dns tls",
    "no tls",
    "wrong name",
    "expired",
    "strange authority",
    "blackhole",
    "silent",
    "silent tls",
]


@pytest.mark.parametrize("dial", ["proxy h2"], indirect=True)  # the client's side has no part in it
@pytest.mark.parametrize("kind", UNREACHABLE)
def test_unreachable_providers(
    kind: str,
    start: StartRelay,
    upstream: FakeUpstream,
    dial: Dial,
    stack: ExitStack,
    authority: Authority,
    tmp_path: Path,
) -> None:
    dead = failing_url(kind, stack, authority, tmp_path)
    providers = {"dead": provider(dead, ["sk-dead-1"]), "live": provider(upstream.url, ["sk-live-1"])}
    client = dial(start(config(providers=providers, retry=QUICK | {"first_byte": BRIEF})))
    body = messages_body(stream=True)
    answer = client.ask("POST", "/v1/messages", body=body)
    assert (answer.status, answer.body) == (200, STREAM)
    assert answer.header("x-relay-provider") == "live"
    assert upstream.used_keys() == ["sk-live-1"]
    assert upstream.requests[0].body == body
    again = client.ask("POST", "/v1/messages", body=body)
    assert (again.status, again.body) == (200, STREAM)


@pytest.mark.parametrize("dial", ["proxy"], indirect=True)
@pytest.mark.parametrize("kind", ["refused", "dns tls", "wrong name"])
def test_a_certificate_or_port_that_never_works_ends_in_502(
    kind: str, start: StartRelay, dial: Dial, stack: ExitStack, authority: Authority, tmp_path: Path
) -> None:
    dead = failing_url(kind, stack, authority, tmp_path)
    client = dial(start(config(dead, ["sk-dead-1", "sk-dead-2"], retry=QUICK | {"attempts": 3})))
    for _ in range(2):
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert (answer.status, answer.error_type) == (502, "api_error")
        assert (answer.header("request-id") or "").startswith("req_relay_")
        assert b"anthropic" in answer.body
        assert b"scripts/doctor" in answer.body


@pytest.mark.parametrize("dial", ["base url"], indirect=True)
def test_silence_everywhere_ends_in_504(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.default = steps.stall_before_head
    quick = QUICK | {"attempts": 2, "first_byte": "200ms"}
    answer = dial(start(keys=KEYS[:2], retry=quick)).ask("POST", "/v1/messages", body=messages_body(stream=True))
    assert (answer.status, answer.error_type) == (504, "timeout_error")


# -- every kind of client before every kind of upstream

SERVERS: dict[str, Callable[[Authority], ssl.SSLContext | None]] = {
    "plain": lambda authority: None,
    "tls": lambda authority: authority.server_context(),
    "h2": lambda authority: authority.server_context(alpn=("h2",)),
}


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
def test_five_failures_in_a_row(
    server: Callable[[Authority], ssl.SSLContext | None], start: StartRelay, dial: Dial, authority: Authority
) -> None:
    body = messages_body(stream=True, text="x" * 100_000)
    with FakeUpstream(server(authority)) as upstream:
        upstream.script(
            steps.status(401, "authentication_error", "invalid x-api-key"),
            steps.reset_before_head,
            steps.fault("error_first"),
            steps.stall_before_head,
            steps.fault("cut_early"),
            steps.stream(chunking=steps.sized(11)),
        )
        client = dial(start(config(upstream.url, KEYS, retry=QUICK)))
        answer = client.ask("POST", "/v1/messages?beta=true", body=body)
        # Over HTTP/1 the connection is one that was used before: its reset costs no attempt.
        counted = 6 if isinstance(client, H2Client) else 5
        assert (answer.status, answer.body, attempts(answer)) == (200, STREAM, counted)
        assert [r.body for r in upstream.requests] == [body] * 6
        assert upstream.paths() == ["/v1/messages?beta=true"] * 6
        assert KEYS[0] in upstream.used_keys()
        assert upstream.used_keys().count(upstream.used_keys()[0]) == 1
        upstream.script(steps.status(500), steps.message("once more"))
        assert b"once more" in client.ask("POST", "/v1/messages", body=messages_body()).body


@pytest.mark.parametrize(
    "step", [steps.reset_before_head, steps.go_away_before_head, steps.stream([claude.start(), steps.reset])]
)
def test_http2_upstreams_that_break_off(start: StartRelay, dial: Dial, authority: Authority, step: Step) -> None:
    with FakeUpstream(authority.server_context(alpn=("h2",))) as upstream:
        upstream.script(step, steps.stream())
        client = dial(start(config(upstream.url, KEYS, retry=QUICK)))
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
        assert (answer.status, answer.body, attempts(answer)) == (200, STREAM, 2)


def test_failover_from_plain_to_h2(start: StartRelay, upstream: FakeUpstream, dial: Dial, authority: Authority) -> None:
    with FakeUpstream(authority.server_context(alpn=("h2",))) as second:
        upstream.default = steps.status(500)
        providers = {"one": provider(upstream.url, ["sk-one"]), "two": provider(second.url, ["sk-two"])}
        client = dial(start(config(providers=providers, retry=QUICK)))
        body = messages_body(stream=True)
        answer = client.ask("POST", "/v1/messages", body=body)
        assert (answer.status, answer.body, answer.header("x-relay-provider")) == (200, STREAM, "two")
        assert (second.requests[0].body, second.requests[0].header("host")) == (body, f"127.0.0.1:{second.port}")
        assert set(upstream.used_keys()) == {"sk-one"}


# -- which key, how often, and what the client learns


def test_a_refused_key_is_not_asked_again(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    bad, good = KEYS[:2]
    upstream.for_key(bad, steps.status(401, "authentication_error", "invalid x-api-key"))
    client = base_client(start(keys=[bad, good]))
    found = [client.ask("POST", "/v1/messages", body=messages_body()) for _ in range(4)]
    assert [a.status for a in found] == [200] * 4
    assert upstream.used_keys().count(bad) == 1
    assert {a.header("x-relay-key") for a in found} == {"k2"}
    assert {a.header("x-relay-provider") for a in found} == {"anthropic"}
    assert {a.header("x-relay-model") for a in found} == {claude.MODEL}


def test_the_requests_own_fault_is_passed_on(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    client = dial(start(keys=KEYS))
    kinds = {
        400: "invalid_request_error",
        404: "not_found_error",
        413: "request_too_large",
        422: "invalid_request_error",
    }
    for n, (status, kind) in enumerate(kinds.items(), 1):
        wrong = claude.dump(claude.error(kind, "messages: at least one message is required"))
        upstream.script(steps.answer([wrong], status=status))
        answer = client.ask("POST", "/v1/messages", body=messages_body(stream=True))
        assert (answer.status, answer.body) == (status, wrong)
        assert answer.header("request-id") == "req_011CTestTestTestTest"
        assert answer.header("anthropic-ratelimit-requests-limit") == "4000"
        assert len(upstream.requests) == n


def test_all_keys_in_cooldown(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    upstream.default = steps.status(429, "rate_limit_error", "slow down", headers=[("retry-after", "60")])
    client = base_client(start(keys=KEYS[:2]))
    for _ in range(2):
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert (answer.status, answer.error_type) == (429, "rate_limit_error")
        assert 50 <= int(answer.header("retry-after") or 0) <= 61
    assert len(upstream.requests) == 2


def test_all_keys_are_out(start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]) -> None:
    upstream.default = steps.status(401, "authentication_error", "invalid x-api-key")
    client = base_client(start(keys=KEYS[:2]))
    for _ in range(2):
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert (answer.status, answer.header("x-should-retry")) == (503, "false")
        assert answer.error_type
    assert len(upstream.requests) == 2


def test_a_request_waits_for_a_key_that_comes_back(start: StartRelay, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.script(steps.status(429, "rate_limit_error", "slow down", headers=RETRY_1), steps.message("good"))
    client = dial(start(keys=KEYS[:1], retry=QUICK | {"max_wait": "5s"}))
    began = time.monotonic()
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, attempts(answer)) == (200, 2)
    assert time.monotonic() - began >= 0.9


def test_an_overloaded_provider_gives_way_to_the_next_after_two_keys(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    with FakeUpstream(default=steps.status(529, "overloaded_error", "Overloaded")) as busy:
        providers = {"busy": provider(busy.url, KEYS[:3]), "calm": provider(upstream.url, ["sk-calm"])}
        client = base_client(start(config(providers=providers, retry=QUICK)))
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert (answer.status, answer.header("x-relay-provider")) == (200, "calm")
        assert [busy.used_keys().count(key) for key in KEYS[:3]] == [2, 2, 0]


def test_everyone_overloaded_is_529(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    upstream.default = steps.status(529, "overloaded_error", "Overloaded")
    client = base_client(start(keys=KEYS[:2], retry=QUICK | {"attempts": 3}))
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.error_type) == (529, "overloaded_error")
    assert len(upstream.requests) == 5, "three attempts, and a second try at once for each key"


@pytest.mark.parametrize("streamed", [False, True])
def test_html_is_recast_with_its_status(start: StartRelay, upstream: FakeUpstream, dial: Dial, streamed: bool) -> None:
    upstream.default = steps.fault("bad_gateway")
    client = dial(start(keys=KEYS[:1], retry=QUICK | {"attempts": 2}))
    answer = client.ask("POST", "/v1/messages", body=messages_body(stream=streamed))
    assert (answer.status, answer.error_type) == (502, "api_error")
    assert (answer.header("content-type") or "").startswith("application/json")


def test_the_last_of_several_answers_is_passed_on(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    upstream.default = steps.status(500, "api_error", "Internal server error")
    client = base_client(start(keys=KEYS, retry=QUICK | {"attempts": 3}))
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.error_type) == (500, "api_error")
    assert len(upstream.requests) == 3


# -- what is sent


def test_the_clients_headers_arrive(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    mine = [
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "a-2025-01-01,b-2025-02-02"),
        ("User-Agent", "claude-cli/2.1.330 (external, cli)"),
        ("X-Claude-Code-Session-Id", "6f2b2f0e-0000-4000-8000-000000000000"),
        ("x-stainless-retry-count", "0"),
        ("x-relay-client", "not for the upstream"),
    ]
    upstream.script(steps.status(500), steps.message())
    client = base_client(start(keys=KEYS))
    assert client.ask("POST", "/v1/messages?beta=true", body=messages_body(), headers=mine).status == 200
    for request in upstream.requests:
        assert [p for p in request.headers if p in mine] == mine[:-1]
        assert request.header("host") == f"127.0.0.1:{upstream.port}"
        assert not [n for n, _ in request.headers if n.lower().startswith("x-relay-")]
        assert len([n for n, _ in request.headers if n.lower() in ("x-api-key", "authorization")]) == 1


def test_expect_is_answered_and_not_sent_on(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    client = base_client(start(keys=KEYS))
    body = messages_body()
    whole = client.request_bytes("POST", "/v1/messages", body=body, headers=[("Expect", "100-continue")])
    head = whole[: -len(body)]
    client.send(head)
    assert client.line() == b"HTTP/1.1 100 Continue"
    client.line()
    client.send(body)
    assert client.answer().status == 200
    assert upstream.requests[0].header("expect") is None


def test_an_http2_request_without_length(
    start: StartRelay, upstream: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    upstream.script(steps.status(500), steps.message())
    client = h2_client(start(keys=KEYS))
    body = messages_body(text="x" * 50_000)
    assert client.ask(body=body).status == 200
    assert [r.body for r in upstream.requests] == [body] * 2


def test_an_upstream_connection_is_used_again(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    upstream.script(steps.status(401, "authentication_error", "no"), steps.status(500), steps.message())
    client = base_client(start(keys=KEYS))
    assert attempts(client.ask("POST", "/v1/messages", body=messages_body())) == 3
    assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert upstream.connections == 1
