"""What is different at the base URL: `/api/v1/…` is `/v1/…`, and some paths are the relay's own."""

from __future__ import annotations

import pytest

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, rows
from .upstream import FakeUpstream

KEY = "sk-ant-api03-secret-1"
OWN = "sk-ant-own-of-the-client"


@pytest.fixture
def relay(start: StartRelay, claude_host: FakeUpstream) -> Relay:
    return start(keys=[KEY], relay={"hosts": {"api.anthropic.com:443": claude_host.port}})


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("POST", "/api/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("POST", "/api/v1/messages/count_tokens", "/v1/messages/count_tokens"),
        ("GET", "/api/v1/models/claude-sonnet-5", "/v1/models/claude-sonnet-5"),
        ("GET", "/api/v1/files/file_1?x=%2F", "/v1/files/file_1?x=%2F"),
        ("GET", "//api/v1/messages/batches/b", "/v1/messages/batches/b"),
    ],
)
def test_paths_as_other_gateways_have_them(
    relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream, method: str, path: str, sent: str
) -> None:
    body = messages_body() if method == "POST" else b""
    with RawClient(relay.base_port) as client:
        assert client.ask(method, path, body=body, key=OWN).status == 200
    (seen,) = upstream.requests
    assert (seen.path, seen.key, seen.body) == (sent, KEY, body)
    assert claude_host.requests == []
    relay.wait_until_clients_left()
    assert [row["path"] for row in rows(relay.database)] == [sent.partition("?")[0]]


def test_through_the_proxy_they_are_the_hosts_own(
    relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream
) -> None:
    with RawClient.through(relay.proxy_port, relay.ca_file) as client:
        for path in ("/api/v1/messages", "/health", "/oauth/token"):
            assert client.ask("POST", path, body=messages_body(), key=OWN).status == 200
    assert upstream.requests == []
    assert [(seen.path, seen.key) for seen in claude_host.requests] == [
        ("/api/v1/messages", OWN),
        ("/health", OWN),
        ("/oauth/token", OWN),
    ]


@pytest.mark.parametrize("path", ["/health", "/v1/health", "/api/v1/health", "/v1/health?probe=1", "//v1/%68ealth/"])
@pytest.mark.parametrize("key", [None, "sk-ant-placeholder-relay", OWN])
def test_health(relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream, path: str, key: str | None) -> None:
    with RawClient(relay.base_port) as client:
        answer = client.ask("GET", path, key=key)
        assert (answer.status, answer.json()) == (200, {"ok": True})
        assert (answer.header("content-type"), answer.header("cache-control")) == ("application/json", "no-store")
        head = client.ask("HEAD", path, key=key)
        assert (head.status, head.body) == (200, b"")
        refused = client.ask("POST", path, key=key, body=b"{}")
        assert (refused.status, refused.error_type) == (405, "invalid_request_error")
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    relay.wait_until_clients_left()
    assert [seen.path for seen in upstream.requests] == ["/v1/messages"]
    assert claude_host.requests == []
    assert len(rows(relay.database)) == 1


def test_health_is_told_while_all_keys_rest(relay: Relay, upstream: FakeUpstream) -> None:
    upstream.default = steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "300")])
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 429
        assert client.ask("GET", "/health").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-authorization-server",
        "/oauth/token",
        "/device",
        "/api/oauth/usage",
        "/managed/settings",
        "/v1/metrics",
        "/v1/logs",
        "/v1/traces?x=1",
        "/api/v1/traces",
        "/V1/Traces",
        "/relay/clients",
    ],
)
def test_pages_that_are_not_there_yet(
    relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream, path: str
) -> None:
    """No key is lent, and not even the client's own credential goes anywhere."""
    with RawClient(relay.base_port) as client:
        for method, key in (("GET", OWN), ("POST", "sk-ant-placeholder-relay"), ("POST", OWN)):
            answer = client.ask(method, path, key=key, body=b"{}" if method == "POST" else b"")
            assert (answer.status, answer.error_type) == (404, "not_found_error")
            assert (answer.header("request-id") or "").startswith("req_relay_")
        assert client.ask("POST", "/v1/messages", body=messages_body()).body == claude.dump(claude.message("Hello!"))
    relay.wait_until_clients_left()
    assert (len(upstream.requests), claude_host.requests) == (1, [])
    assert len(rows(relay.database)) == 1
