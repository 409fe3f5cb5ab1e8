"""What leaves with which credential (the table in section 4 of the design), whatever a path or a client tries."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from . import steps
from .clients import PLACEHOLDER, H2Client, RawClient, messages_body
from .conftest import Dial, StartRelay
from .relay import Relay, config
from .upstream import FakeUpstream, Recorded, Signal

POOL = "sk-ant-api03-pool-secret"
MINE = "sk-ant-api03-the-clients-own"
TOKEN = "sk-ant-oat01-the-clients-token"
OWN = {
    "x-api-key": [("x-api-key", MINE)],
    "bearer": [("Authorization", f"Bearer {TOKEN}")],
    "lower bearer": [("authorization", f"bearer {TOKEN}")],
    "both": [("X-Api-Key", MINE), ("authorization", f"Bearer {TOKEN}")],
    "placeholder": [("x-api-key", PLACEHOLDER)],
    "placeholder bearer": [("Authorization", f"Bearer {PLACEHOLDER}")],
    "none": [("x-none", "1")],
}
POOL_PATHS = [
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/v1/messages/count_tokens"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/claude-sonnet-5"),
    ("POST", "/v1/complete"),
    ("GET", "/v1/files?limit=3"),
    ("DELETE", "/v1/files/file_011C"),
    ("POST", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches/msgbatch_01/results"),
    ("GET", "/v1/something/new"),
]
SIDE_PATHS = [
    ("GET", "/api/claude_code/settings"),
    ("POST", "/api/event_logging/v2/batch"),
    ("POST", "/v1/oauth/token"),
    ("GET", "/v1/oauth/hello?x=1"),
    ("GET", "/"),
    ("GET", "/favicon.ico"),
    ("GET", "/v1"),
    ("GET", "/v10/messages"),
]
TRICKS_TO_POOL = [
    "//v1/messages",
    "/v1//messages",
    "/v1/./messages",
    "/api/../v1/messages",
    "/v1/oauth/../messages",
    "/v1/%6Dessages",
    "/v1/oauth/%2e%2e/messages",
    "/v1/messages/../messages",
]
TRICKS_TO_SIDE = [
    "/v1/messages/../oauth/token",
    "/v1/messages/../../api/x",
    "/v1/messages/%2e%2e/oauth/token",
    "/v1//oauth/token",
    "/v1/%6fauth/token",
    "/v1/messages/..%2foauth/token",
    "/v1/x/../../../../api/x",
    "//api//x",
]

Base = Callable[[Relay], RawClient]
Begin = Callable[..., Relay]


@pytest.fixture
def begin(start: StartRelay, claude_host: FakeUpstream) -> Begin:
    """start(…) where api.anthropic.com is `claude_host`."""

    def run(**how: Any) -> Relay:
        return start(relay={"hosts": {"api.anthropic.com:443": claude_host.port}}, **how)

    return run


def everything(request: Recorded) -> str:
    return f"{request.path} {request.headers} {request.body!r} {request.trailers}"


def body_of(method: str) -> bytes:
    return messages_body() if method == "POST" else b""


def test_the_pools_key_replaces_the_clients(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, dial: Dial
) -> None:
    relay = begin(keys=[POOL])
    client = dial(relay)
    for name, own in OWN.items():
        upstream.requests.clear()
        for method, path in POOL_PATHS:
            headers = [(n.lower(), v) for n, v in own] if isinstance(client, H2Client) else own
            extra = {"key": PLACEHOLDER} if isinstance(client, H2Client) else {"key": None}
            answer = client.ask(method, path, body=body_of(method), headers=headers, **extra)
            assert answer.status == 200, (name, path, answer.body)
        assert upstream.paths() == [path for _, path in POOL_PATHS]
        for request in upstream.requests:
            assert [v for n, v in request.headers if n.lower() in ("x-api-key", "authorization")] == [POOL], name
            assert MINE not in everything(request)
            assert TOKEN not in everything(request)
            assert "placeholder" not in everything(request)
    assert claude_host.requests == []
    for secret in (POOL, MINE, TOKEN):
        assert secret not in relay.log_text()


WAYS = pytest.mark.parametrize("way", ["base", "proxy"])  # the HTTP/2 client always sends a key of its own


@WAYS
def test_side_calls_keep_the_clients_own(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, base_client: Base, proxy_client: Base, way: str
) -> None:
    client = {"base": base_client, "proxy": proxy_client}[way](begin(keys=[POOL]))
    for name in ("x-api-key", "bearer", "both", "none"):
        own = OWN[name]
        claude_host.requests.clear()
        for method, path in SIDE_PATHS:
            answer = client.ask(method, path, body=body_of(method), headers=[*own, ("x-other", "stays")], key=None)
            assert answer.status == 200, (name, path, answer.body)
            assert not [n for n, _ in answer.headers if n.startswith("x-relay")]
        assert claude_host.paths() == [path for _, path in SIDE_PATHS]
        for (method, _), request in zip(SIDE_PATHS, claude_host.requests, strict=True):
            assert [p for p in request.headers if p[0].lower() in ("x-api-key", "authorization", "x-none")] == own
            assert ("x-other", "stays") in request.headers
            assert request.body == body_of(method)
            assert request.header("host") == "api.anthropic.com"
    assert upstream.requests == []


@WAYS
def test_a_placeholder_never_leaves_with_a_side_call(
    begin: Begin, claude_host: FakeUpstream, base_client: Base, proxy_client: Base, way: str
) -> None:
    client = {"base": base_client, "proxy": proxy_client}[way](begin(keys=[POOL]))
    for own in (
        OWN["placeholder"],
        OWN["placeholder bearer"],
        [*OWN["bearer"], ("x-api-key", PLACEHOLDER)],
        [*OWN["x-api-key"], ("Authorization", f"Bearer {PLACEHOLDER}")],
    ):
        for method, path in SIDE_PATHS:
            answer = client.ask(method, path, body=body_of(method), headers=own, key=None)
            if answer.status != 200:
                assert (answer.status, answer.error_type) == (404, "not_found_error")
                assert (answer.header("request-id") or "").startswith("req_relay_")
    assert not [r for r in claude_host.requests if "placeholder" in everything(r)]


def test_an_http2_side_call_with_a_placeholder(
    begin: Begin, claude_host: FakeUpstream, h2_client: Callable[..., H2Client]
) -> None:
    client = h2_client(begin(keys=[POOL]))
    assert client.ask("GET", "/api/x").status == 404
    assert client.ask("GET", "/api/x", key=MINE).status == 200
    assert claude_host.used_keys() == [MINE]


def test_tricks_that_mean_the_pool(begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, dial: Dial) -> None:
    client = dial(begin(keys=[POOL]))
    for path in TRICKS_TO_POOL:
        assert client.ask("POST", f"{path}?beta=true", body=messages_body(), key=MINE).status == 200, path
    assert upstream.paths() == ["/v1/messages?beta=true"] * len(TRICKS_TO_POOL)
    assert set(upstream.used_keys()) == {POOL}
    assert claude_host.requests == []


def test_tricks_that_mean_a_side_call(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, dial: Dial
) -> None:
    client = dial(begin(keys=[POOL]))
    for path in TRICKS_TO_SIDE:
        client.ask("POST", path, body=b"{}", key=MINE)
    assert claude_host.requests
    assert POOL not in "".join(map(everything, claude_host.requests))
    for request in upstream.requests:
        assert not request.path.startswith(("/v1/oauth", "/api")), request.path
        assert ".." not in request.path


WEIRD = [
    "/v1/messages%2F..%2Foauth",
    "/v1%2Fmessages",
    "/v1\\messages",
    "/V1/messages",
    "/v1/messages;x=/../oauth",
    "/v1/messages%00",
    "/v1/%252e%252e/oauth/token",
    "/v1/messages#/x",
    "/v1/../../v1/oauth",
    "/%76%31/oauth",
]


def test_weird_paths_leave_consistently(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, base_client: Base
) -> None:
    client = base_client(begin(keys=[POOL]))
    for path in WEIRD:
        assert client.ask("POST", path, body=messages_body(), key=MINE).status in (200, 400, 404), path
    assert POOL not in "".join(map(everything, claude_host.requests))
    assert MINE not in "".join(map(everything, upstream.requests))
    for request in upstream.requests:
        assert "oauth" not in request.path.lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1", "api.anthropic.com.evil.example"])
def test_a_host_header_leads_nowhere(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, proxy_client: Base, base_client: Base, host: str
) -> None:
    relay = begin(keys=[POOL])
    for make, path in itertools.product((proxy_client, base_client), ("/v1/messages", "/api/x")):
        client = make(relay)
        client.host = host
        client.ask("POST", path, body=messages_body(), key=MINE)
    allowed = {f"127.0.0.1:{upstream.port}", "api.anthropic.com:443"}
    assert set(relay.dialled) <= allowed
    assert POOL not in "".join(map(everything, claude_host.requests))
    assert {r.header("host") for r in upstream.requests} <= {f"127.0.0.1:{upstream.port}"}


# -- without a key of ours


@pytest.mark.parametrize("own", [OWN["x-api-key"], OWN["bearer"]])
def test_an_empty_pool_passes_the_clients_own_through(
    begin: Begin, upstream: FakeUpstream, dial: Dial, own: list[tuple[str, str]]
) -> None:
    relay = begin(keys=[])
    client = dial(relay)
    if isinstance(client, H2Client):
        answer = client.ask(body=messages_body(), key=MINE)
        own = OWN["x-api-key"]
    else:
        answer = client.ask("POST", "/v1/messages", body=messages_body(), headers=own, key=None)
    assert answer.status == 200
    assert [p for p in upstream.requests[0].headers if p[0].lower() in ("x-api-key", "authorization")] == own
    assert MINE not in relay.log_text()
    assert TOKEN not in relay.log_text()


def test_passed_through_errors_arrive_as_they_are(begin: Begin, upstream: FakeUpstream, dial: Dial) -> None:
    upstream.default = steps.status(401, "authentication_error", "invalid x-api-key")
    answer = dial(begin(keys=[])).ask("POST", "/v1/messages", body=messages_body(), key=MINE)
    assert (answer.status, answer.error_type) == (401, "authentication_error")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("own", [OWN["placeholder"], OWN["placeholder bearer"], OWN["none"]])
def test_a_placeholder_with_an_empty_pool(
    begin: Begin, upstream: FakeUpstream, base_client: Base, own: list[tuple[str, str]]
) -> None:
    upstream.default = steps.status(401, "authentication_error", "x-api-key header is required")
    answer = base_client(begin(keys=[])).ask("POST", "/v1/messages", body=messages_body(), headers=own, key=None)
    assert (answer.status, answer.error_type) == (401, "authentication_error")
    assert not [r for r in upstream.requests if "placeholder" in everything(r)]


def test_an_empty_pool_may_reject(begin: Begin, upstream: FakeUpstream, base_client: Base) -> None:
    lone = {"anthropic": {"format": "anthropic", "base_url": upstream.url, "empty_pool": "reject"}}
    answer = base_client(begin(text=config(providers=lone))).ask("POST", "/v1/messages", body=messages_body(), key=MINE)
    assert answer.status in (401, 403, 503)
    assert answer.error_type
    assert upstream.requests == []


def test_the_clients_own_key_never_reaches_a_second_provider(
    begin: Begin, upstream: FakeUpstream, base_client: Base
) -> None:
    with FakeUpstream() as other:
        providers = {
            "anthropic": {"format": "anthropic", "base_url": upstream.url},
            "other": {"format": "anthropic", "base_url": other.url, "keys": ["sk-other"]},
        }
        upstream.default = steps.status(500)
        base_client(begin(text=config(providers=providers))).ask("POST", "/v1/messages", body=messages_body(), key=MINE)
        assert MINE not in "".join(map(everything, other.requests))


def test_every_place_for_a_key(begin: Begin, upstream: FakeUpstream, base_client: Base) -> None:
    auths: dict[str, Any] = {
        "bearer": "bearer",
        "api-key": "api-key",
        "goog": "x-goog-api-key",
        "header": {"header": "X-Odd", "prefix": "Key "},
        "cookie": {"cookie": "token"},
        "query": {"query": "key"},
    }
    providers = {
        n: {"format": "anthropic", "base_url": upstream.url, "keys": [f"sk-{n}-1"], "auth": a} for n, a in auths.items()
    }
    routes = [{"match": {"model": n}, "to": [n]} for n in auths]
    relay = begin(text=config(providers=providers, routes=routes))
    client = base_client(relay)
    for name in auths:
        headers = [("Authorization", f"Bearer {TOKEN}"), ("cookie", "mine=1")]
        assert (
            client.ask("POST", "/v1/messages", body=messages_body(model=name), headers=headers, key=None).status == 200
        )
    bearer, api_key, goog, header, cookie, query = upstream.requests
    assert bearer.header("authorization") == "Bearer sk-bearer-1"
    assert api_key.header("api-key") == "sk-api-key-1"
    assert goog.header("x-goog-api-key") == "sk-goog-1"
    assert header.header("x-odd") == "Key sk-header-1"
    assert "token=sk-cookie-1" in (cookie.header("cookie") or "")
    assert query.path == "/v1/messages?key=sk-query-1"
    for request in upstream.requests:
        assert TOKEN not in everything(request)
    assert "sk-query-1" not in relay.log_text()


# -- side calls are never slow, pages never get a key


def test_a_side_call_whose_host_is_down(start: StartRelay, base_client: Base, proxy_client: Base) -> None:
    relay = start(keys=[POOL])  # api.anthropic.com leads nowhere
    for make in (base_client, proxy_client):
        answer = make(relay).ask("GET", "/api/claude_code/settings", key=MINE)
        assert answer.status in (404, 403, 401)
        assert answer.error_type


@pytest.mark.parametrize("status", [429, 500, 529])
def test_a_side_calls_error_is_not_tried_again(
    begin: Begin, claude_host: FakeUpstream, base_client: Base, status: int
) -> None:
    claude_host.default = steps.status(status, "api_error", "no")
    base_client(begin(keys=[POOL])).ask("GET", "/api/x", key=MINE)
    assert len(claude_host.requests) == 1


def test_a_side_stream_is_live(begin: Begin, claude_host: FakeUpstream, base_client: Base) -> None:
    go = Signal()
    claude_host.script(steps.answer([b"first", go, b"second"], content_type="text/event-stream", framing="chunked"))
    client = base_client(begin(keys=[POOL]))
    client.request("GET", "/api/stream", key=MINE)
    client.head()
    client.until(b"first")
    go.set()
    client.until(b"second")


ORIGIN = "http://localhost:3000"
PREFLIGHT = [
    ("Origin", ORIGIN),
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "x-api-key, anthropic-version"),
]


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/models"])
def test_preflight_of_a_listed_origin(begin: Begin, upstream: FakeUpstream, base_client: Base, path: str) -> None:
    client = base_client(begin(keys=[POOL], listen={"cors": [ORIGIN]}))
    answer = client.ask("OPTIONS", path, headers=PREFLIGHT, key=None)
    assert answer.status in (200, 204)
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    assert "anthropic-version" in (answer.header("access-control-allow-headers") or "")
    assert upstream.requests == []
    found = client.ask("POST", "/v1/messages", body=messages_body(), headers=[("Origin", ORIGIN)])
    assert (found.status, found.header("access-control-allow-origin")) == (200, ORIGIN)


@pytest.mark.parametrize("listed", [[], ["https://app.example.com"]])
def test_pages_of_other_origins_get_nothing(
    begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, base_client: Base, listed: list[str]
) -> None:
    client = base_client(begin(keys=[POOL], listen={"cors": listed}))
    answers = [
        client.ask("OPTIONS", "/v1/messages", headers=PREFLIGHT, key=None),
        client.ask("POST", "/v1/messages", body=messages_body(), headers=[("Origin", ORIGIN)]),
        client.ask("GET", "/v1/models", headers=[("Origin", ORIGIN)]),
    ]
    for answer in answers:
        assert answer.status >= 400
        assert answer.header("access-control-allow-origin") is None
    assert upstream.requests == []
    assert claude_host.requests == []
