"""What is different at the base URL: `/api/v1/…` is `/v1/…`, and some paths are the relay's own."""

from __future__ import annotations

import pytest

from . import claude, steps
from .clients import Answer, RawClient, messages_body
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


def test_health_is_reported_while_all_keys_are_in_cooldown(relay: Relay, upstream: FakeUpstream) -> None:
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
        "/relay/clients",
        "/relay",
        "/oauth/authorize",
        "/managed/settings/x",
        "/.well-known/oauth-protected-resource",
    ],
)
def test_pages_that_are_not_there(relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream, path: str) -> None:
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


# -- a browser

BROWSER = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8"), ("sec-fetch-site", "none")]


def assert_page(answer: Answer, what: str) -> str:
    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert (answer.header("cache-control"), answer.header("x-content-type-options")) == ("no-store", "nosniff")
    assert (answer.header("content-security-policy") or "").startswith("default-src 'none'")
    text = answer.body.decode()
    assert f"This is {what}" in text
    assert "scripts/env -- claude" in text
    assert "<script" not in text
    assert "http-equiv" not in text
    return text


def test_a_browser_is_told_what_this_is(relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream) -> None:
    with RawClient(relay.base_port) as client:
        text = assert_page(client.ask("GET", "/", headers=BROWSER, key=None), "the relay's base URL")
        assert_page(client.ask("GET", "/?x=1", headers=BROWSER, key=OWN), "the relay's base URL")
        head = client.ask("HEAD", "/", headers=BROWSER, key=None)
        assert (head.status, head.body) == (200, b"")
    with RawClient(relay.proxy_port, host=f"127.0.0.1:{relay.proxy_port}") as client:
        text += assert_page(client.ask("GET", "/", headers=BROWSER, key=None), "the relay's proxy")
    assert KEY not in text
    assert OWN not in text
    assert f"ANTHROPIC_BASE_URL=http://127.0.0.1:{relay.base_port}" in text
    assert f"HTTPS_PROXY=http://127.0.0.1:{relay.proxy_port}" in text
    assert upstream.requests == claude_host.requests == []
    assert rows(relay.database) == []
    assert "was refused" not in relay.log_text()


def test_programs_and_pages_get_no_page(relay: Relay, upstream: FakeUpstream, claude_host: FakeUpstream) -> None:
    page = [("accept", "text/html"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]
    with RawClient(relay.base_port) as client:
        assert client.ask("GET", "/", headers=page).error_type == "permission_error"
        assert client.ask("POST", "/", headers=BROWSER, body=b"{}", key=OWN).header("content-type") != "text/html"
        assert client.ask("GET", "/", headers=[("accept", "*/*")], key=OWN).body[:1] != b"<"
        assert client.ask("GET", "/v1/models", headers=BROWSER).header("content-type") == "application/json"
    with RawClient(relay.proxy_port, host=f"127.0.0.1:{relay.proxy_port}") as client:
        assert client.ask("GET", "/", headers=page).error_type == "permission_error"
        assert client.ask("GET", "/other", headers=BROWSER).error_type == "permission_error"
