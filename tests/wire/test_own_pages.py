"""Managed settings and telemetry of clients at the base URL; and that no page of the relay's own is lent a key or sent on."""

from __future__ import annotations

import gzip
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from . import steps
from .clients import PLACEHOLDER, RawClient, messages_body
from .conftest import StartRelay
from .relay import config, free_ports, provider, rows
from .team import ME, Team, bearer
from .upstream import FakeUpstream

Begin = Callable[..., Team]


@pytest.fixture
def begin(start: StartRelay, claude_host: FakeUpstream) -> Begin:
    def run(environ: dict[str, str] | None = None, ports: tuple[int, ...] | None = None, **sections: Any) -> Team:
        relay = {"hosts": {"api.anthropic.com:443": claude_host.port}, "environ": environ or {}, "ports": ports}
        return Team(start(keys=["sk-ant-api03-pool"], relay=relay, **sections))

    return run


# -- managed settings

SETTINGS = {"model": "claude-opus-4-5", "env": {"B": "ü", "A": "1"}, "permissions": {"deny": ["Bash(rm *)"]}}


def test_managed_settings(begin: Begin) -> None:
    team = begin()
    file = team.relay.folder / "team.json"
    file.write_text(json.dumps(SETTINGS, indent=2))
    team.book.add_group(ME, "team", {"settings": "team.json"})
    ann, bob = team.add("ann", group="team"), team.add("bob")
    answer = team.get("/managed/settings", ann)
    found = answer.json()
    text = json.dumps(SETTINGS, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    checksum = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert (answer.status, found["settings"], found["checksum"]) == (200, SETTINGS, checksum)
    uuid.UUID(str(found["uuid"]))
    tag = answer.header("etag") or ""
    assert tag == f'"{checksum}"'
    for sent in (tag, f"W/{tag}", f'"x", {tag}'):
        assert team.get("/managed/settings", ann, [("if-none-match", sent)]).status == 304
    assert team.get("/managed/settings", ann, [("if-none-match", '"x"')]).status == 200
    assert team.get("/managed/settings", bob).status == 404

    fresh = file.with_suffix(".new")
    fresh.write_text('{"model": "other"}')
    fresh.replace(file)
    changed = team.get("/managed/settings", ann, [("if-none-match", tag)])
    assert (changed.status, changed.json()["settings"]) == (200, {"model": "other"})


@pytest.mark.parametrize("content", [None, "{", "[]", "[" * 100_000])
def test_settings_that_cannot_be_read(begin: Begin, content: str | None) -> None:
    """They are not those of somebody without a policy."""
    team = begin()
    if content is not None:
        (team.relay.folder / "team.json").write_text(content)
    team.book.add_group(ME, "team", {"settings": str(team.relay.folder / "team.json")})
    ann = team.add("ann", group="team")
    for _ in range(2):
        answer = team.get("/managed/settings", ann)
        assert (answer.status, answer.header("x-should-retry")) == (503, "false")
        assert str(team.relay.folder) not in answer.body.decode()
    assert team.relay.log_text().count("managed settings: ") == 1


# -- telemetry

PROTOBUF, JSON = ("content-type", "application/x-protobuf"), ("content-type", "application/json")


def test_telemetry_is_taken_without_a_collector(begin: Begin) -> None:
    team = begin()
    ann = team.add("ann")
    for path in ("/v1/metrics", "/v1/logs", "/v1/traces", "/api/v1/traces"):
        binary = team.ask("POST", path, headers=[PROTOBUF, *bearer(ann)], body=b"\x0a\x00")
        assert (binary.status, binary.body, binary.header("content-type")) == (200, b"", PROTOBUF[1])
        text = team.ask("POST", path, headers=[JSON], body=b"{}")
        assert (text.status, text.json()) == (200, {})
    assert team.get("/v1/metrics").status == 405
    too_large = team.ask("POST", "/v1/logs", headers=[PROTOBUF], body=b"x" * 4_000_001)
    assert too_large.status == 413


def test_telemetry_is_forwarded_without_who_sent_it(begin: Begin) -> None:
    with FakeUpstream(default=steps.answer([b""])) as collector:
        environ = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"{collector.url}/otlp/",
            "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Basic%20c2VjcmV0,x-tenant=t1",
        }
        team = begin(environ)
        ann, body = team.add("ann"), gzip.compress(b"spans")
        headers = [PROTOBUF, ("content-encoding", "gzip"), ("cookie", "a=b"), *bearer(ann)]
        assert team.ask("POST", "/v1/traces?x=1", headers=headers, body=body).status == 200
        assert team.ask("POST", "/v1/logs", headers=[JSON], body=b'{"resourceLogs":[]}').status == 200
        unknown = team.ask("POST", "/v1/logs", headers=[JSON, *bearer("rk-" + "0" * 48)], body=b'{"not":"kept"}')
        assert unknown.status == 200
        first, second = collector.wait_for_requests(2)
        assert (first.path, first.body) == ("/otlp/v1/traces", body)
        assert (first.header("content-type"), first.header("content-encoding")) == (PROTOBUF[1], "gzip")
        assert (first.header("authorization"), first.header("x-tenant")) == ("Basic c2VjcmV0", "t1")
        assert (second.path, second.header("content-type")) == ("/otlp/v1/logs", "application/json")
        for request in (first, second):
            assert ann not in str(request.headers)
            assert request.header("cookie") is None
    assert len(collector.requests) == 2


def test_a_relay_that_is_its_own_collector_does_not_go_round(begin: Begin) -> None:
    ports = tuple(free_ports(2))
    team = begin({"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports[1]}"}, ports)
    assert team.ask("POST", "/v1/logs", headers=[JSON], body=b"{}").status == 200
    team.relay.wait_for_log("goes in a circle")


# -- all of them

OWN = "sk-ant-own-of-the-client"
PAGES = {
    "/.well-known/oauth-authorization-server": {"GET"},
    "/oauth/device_authorization": {"POST"},
    "/oauth/token": {"POST"},
    "/oauth/revoke": {"POST"},
    "/device": {"GET"},
    "/api/oauth/usage": {"GET"},
    "/managed/settings": {"GET"},
    "/v1/metrics": {"POST"},
    "/v1/logs?x": {"POST"},
    "/api/v1/traces": {"POST"},
    "/V1/Traces/": {"POST"},
    "/relay/me": {"GET"},
}


@pytest.mark.parametrize("sign_in", [False, True])
def test_they_go_nowhere(begin: Begin, upstream: FakeUpstream, claude_host: FakeUpstream, sign_in: bool) -> None:
    team = begin(listen={"sign_in": sign_in})
    ann = team.add("ann")
    with RawClient(team.relay.base_port) as client:
        for path, methods in PAGES.items():
            for method in ("GET", "POST", "PUT", "DELETE"):
                for key in (OWN, PLACEHOLDER, ann):
                    answer = client.ask(method, path, key=key, body=b"a=b" if method == "POST" else b"")
                    off = (
                        not sign_in and ("oauth/" in path or "oauth-" in path or "device" in path) and "api" not in path
                    )
                    assert answer.status in (
                        {404, 405, 403} if off or method not in methods else {200, 400, 401, 404, 413}
                    )
                    assert answer.header("request-id"), path
                    assert answer.header("x-relay-key") is None
        assert client.ask("POST", "/v1/messages", key=ann, body=messages_body()).status == 200
    team.relay.wait_until_clients_left()
    assert [request.path for request in upstream.requests] == ["/v1/messages"]
    assert claude_host.requests == []
    assert [row["path"] for row in rows(team.relay.database)] == ["/v1/messages"]


# -- what a gateway does for the clients that are signed in to it


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_labels_for_the_gateway_stay_here(begin: Begin, upstream: FakeUpstream, path: str) -> None:
    team = begin()
    ann, plain = team.add("ann"), messages_body(safeguards=True)
    labelled = plain.replace(b"{", b'{ "tags":{"team":"a"},', 1)
    for secret, body in ((ann, labelled), (ann, plain), (None, labelled)):
        headers = [("anthropic-beta", "safeguards-2026-01-01"), *(bearer(secret) if secret else [])]
        assert team.ask("POST", path, headers=headers, body=body).status == 200
    assert [request.body for request in upstream.requests] == [plain, plain, labelled]
    assert {request.header("anthropic-beta") for request in upstream.requests} == {"safeguards-2026-01-01"}


def test_what_a_provider_of_another_format_cannot(start: StartRelay, upstream: FakeUpstream) -> None:
    text = config(providers={"openai": provider(upstream.url, ["sk-1"], format="openai-chat")})
    team = Team(start(text))
    ann = team.add("ann")
    checked = team.ask("POST", "/v1/messages", headers=bearer(ann), body=messages_body(safeguards=True))
    assert (checked.status, checked.error_type) == (400, "invalid_request_error")
    assert "safeguards" in str(checked.json())
    files = team.get("/v1/files", ann)
    assert (files.status, files.error_type, files.header("x-should-retry")) == (501, "not_supported", "false")
    assert upstream.requests == []
