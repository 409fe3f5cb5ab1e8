"""Signing in at the base URL, as Claude Code does it: metadata, device codes, tokens, revocation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from .clients import PLACEHOLDER, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, rows
from .team import DEVICE_GRANT, FORM, ME, Team, bearer
from .upstream import FakeUpstream
from .visiting import dial, everywhere, far_address

POOL = "sk-ant-api03-pool-secret"
Begin = Callable[..., Team]


@pytest.fixture
def begin(start: StartRelay, claude_host: FakeUpstream) -> Begin:
    def run(**listen: Any) -> Team:
        relay = start(
            keys=[POOL],
            relay={"hosts": {"api.anthropic.com:443": claude_host.port}},
            listen={"sign_in": True} | listen,
            clients={"contact": "ops@example.com"},
        )
        return Team(relay)

    return run


@pytest.fixture
def team(begin: Begin) -> Team:
    return begin()


def error(answer: Any) -> tuple[int, object]:
    return answer.status, answer.json().get("error")


def test_metadata_name_the_origin_that_was_used(team: Team) -> None:
    answer = team.get("/.well-known/oauth-authorization-server")
    assert (answer.status, answer.header("cache-control")) == (200, "no-store")
    found = answer.json()
    assert found["issuer"] == team.origin
    assert found["device_authorization_endpoint"] == f"{team.origin}/oauth/device_authorization"
    assert found["token_endpoint"] == f"{team.origin}/oauth/token"
    assert found["revocation_endpoint"] == f"{team.origin}/oauth/revoke"
    assert found["grant_types_supported"] == [DEVICE_GRANT, "refresh_token"]
    assert "authorization_endpoint" not in found
    with RawClient(team.relay.base_port, host="localhost:9") as client:
        assert client.ask("GET", "/.well-known/oauth-authorization-server").json()["issuer"] == "http://localhost:9"


@pytest.mark.parametrize(("trusted", "issuer"), [(["127.0.0.1"], "https://relay.lan"), ([], "http://relay.lan")])
def test_metadata_behind_a_reverse_proxy(begin: Begin, trusted: list[str], issuer: str) -> None:
    team = begin(trusted_proxies=trusted, hosts=["relay.lan"])
    with RawClient(team.relay.base_port, host="relay.lan") as client:
        headers = [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.7")]
        answer = client.ask("GET", "/.well-known/oauth-authorization-server", headers=headers)
    assert answer.json()["issuer"] == issuer


def test_from_the_code_to_an_answer(team: Team, upstream: FakeUpstream, claude_host: FakeUpstream) -> None:
    ann = team.add("ann", owner="ann@example.com")
    begun = team.begin()
    assert begun["verification_uri"] == f"{team.origin}/device"
    assert begun["verification_uri_complete"] == f"{team.origin}/device?user_code={begun['user_code']}"
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert "ops@example.com" in begun["login_notice"]
    assert error(team.poll(begun["device_code"])) == (400, "authorization_pending")
    assert error(team.poll(begun["device_code"])) == (400, "slow_down")
    assert "signed in as <strong>ann<" in team.confirm(begun["user_code"], ann).body.decode()

    tokens = team.sign_in(ann)
    assert (tokens["token_type"], tokens["expires_in"], tokens["email"]) == ("Bearer", 3600, "ann@example.com")
    answer = team.ask("POST", "/v1/messages", headers=bearer(tokens["access_token"]), body=messages_body())
    assert answer.status == 200
    renewed = team.renew(tokens["refresh_token"])
    assert (renewed.status, renewed.header("cache-control")) == (200, "no-store")
    for token in (tokens["access_token"], renewed.json()["access_token"]):
        assert team.ask("POST", "/v1/messages", headers=bearer(str(token)), body=messages_body()).status == 200

    assert team.post("/oauth/revoke", token=str(renewed.json()["access_token"])).status == 200
    assert team.post("/oauth/revoke", token=str(renewed.json()["refresh_token"])).status == 200
    refused = team.ask("POST", "/v1/messages", headers=bearer(tokens["access_token"]), body=messages_body())
    assert (refused.status, refused.error_type) == (401, "authentication_error")
    assert refused.header("x-should-retry") == "false"
    assert error(team.renew(renewed.json()["refresh_token"])) == (401, "invalid_grant")
    team.relay.wait_until_clients_left()
    assert upstream.used_keys() == [POOL] * 3
    assert claude_host.requests == []
    assert [row["client"] for row in rows(team.relay.database)][:3] == ["ann"] * 3


def test_who_has_no_address_has_no_email(team: Team) -> None:
    assert "email" not in team.sign_in(team.add("bob", owner="4711"))


def test_a_client_that_is_disabled_is_signed_out(team: Team) -> None:
    tokens = team.sign_in(team.add("ann"))
    team.book.edit(ME, "ann", {"enabled": False})
    assert error(team.renew(tokens["refresh_token"])) == (401, "invalid_grant")


def test_a_person_says_no(team: Team) -> None:
    ann, begun = team.add("ann"), team.begin()
    assert "gets nothing" in team.confirm(begun["user_code"], ann, "deny").body.decode()
    assert error(team.poll(begun["device_code"])) == (400, "access_denied")


@pytest.mark.parametrize(
    ("path", "form", "expected"),
    [
        ("/oauth/token", {}, (400, "unsupported_grant_type")),
        ("/oauth/token", {"grant_type": "password"}, (400, "unsupported_grant_type")),
        ("/oauth/token", {"grant_type": DEVICE_GRANT}, (400, "invalid_request")),
        ("/oauth/token", {"grant_type": DEVICE_GRANT, "device_code": "x", "more": "y"}, (400, "invalid_grant")),
        ("/oauth/token", {"grant_type": "refresh_token", "refresh_token": "rk-rt-" + "0" * 48}, (401, "invalid_grant")),
        ("/oauth/revoke", {}, (400, "invalid_request")),
        ("/oauth/revoke", {"token": "nothing"}, (200, None)),
    ],
)
def test_what_cannot_be_answered(team: Team, path: str, form: dict[str, str], expected: tuple[int, object]) -> None:
    answer = team.post(path, **form)
    assert error(answer) == expected
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth/device_authorization", "/oauth/revoke"])
def test_what_is_no_form(team: Team, path: str) -> None:
    for headers, body in (
        ([("content-type", "application/json")], b"{}"),
        ([FORM], b"\xff\xfe=1"),
        ([FORM], b"a=1&a=2"),
        ([FORM], b"&".join(b"a%d=1" % n for n in range(100))),
        ([FORM, ("content-encoding", "gzip")], b"grant_type=x"),
    ):
        assert error(team.ask("POST", path, headers=headers, body=body)) == (400, "invalid_request")
    too_large = team.ask("POST", path, headers=[FORM], body=b"a=" + b"1" * 65536)
    assert (too_large.status, too_large.error_type) == (413, "request_too_large")
    assert team.get(path).status == 405


def test_sign_ins_are_begun_so_often_and_no_oftener(team: Team) -> None:
    for _ in range(20):
        team.begin()
    answer = team.post("/oauth/device_authorization")
    assert error(answer) == (429, "slow_down")
    assert int(answer.header("retry-after") or 0) >= 1


def test_strangers_may_sign_in(start: StartRelay, upstream: FakeUpstream) -> None:
    """From another machine, where nobody is served without a key."""
    from .relay import free_ports

    ports = free_ports(2)
    text = config(upstream.url, [POOL], listen=everywhere(*ports) | {"sign_in": True}, clients={"required": True})
    team = Team(start(text, relay={"ports": tuple(ports)}))
    ann, far = team.add("ann"), far_address()
    with dial(team.relay.base_port, call=far) as client:
        client.host = f"{far}:{team.relay.base_port}"
        begun = client.ask("POST", "/oauth/device_authorization", headers=[FORM], key=None).json()
        assert begun["verification_uri"] == f"http://{client.host}/device"
        page = client.ask("GET", f"/device?user_code={begun['user_code']}", key=None)
        assert str(begun["user_code"]) in page.body.decode()
        assert client.ask("POST", "/v1/messages", body=messages_body(), key=PLACEHOLDER).status == 401
    assert team.confirm(str(begun["user_code"]), ann).status == 200
    token = str(team.poll(str(begun["device_code"])).json()["access_token"])
    assert team.ask("POST", "/v1/messages", headers=bearer(token), body=messages_body()).status == 200


def test_it_is_off_unless_it_is_on(begin: Begin, claude_host: FakeUpstream) -> None:
    team = begin(sign_in=False)
    for path in ("/.well-known/oauth-authorization-server", "/device"):
        assert team.get(path).status == 404
    for path in ("/oauth/device_authorization", "/oauth/token", "/oauth/revoke", "/device"):
        assert team.post(path, [("origin", team.origin)]).status in (403, 404)
    assert claude_host.requests == []


def test_no_flow_shows_a_code_or_a_token(begin: Begin, start: StartRelay, upstream: FakeUpstream) -> None:
    relay: Relay = start(keys=[POOL], listen={"sign_in": True}, relay={"web": True})
    team = Team(relay)
    ann, begun = team.add("ann"), team.begin()
    assert team.confirm(begun["user_code"], ann).status == 200
    tokens = team.poll(begun["device_code"]).json()
    team.renew(tokens["refresh_token"])
    assert (
        team.ask("POST", "/v1/messages", headers=bearer(str(tokens["access_token"])), body=messages_body()).status
        == 200
    )
    relay.wait_until_clients_left()
    shown = json.dumps(relay.web_ui.flows())
    for flow in relay.web_ui.flows():
        for message in ("request", "response"):
            shown += relay.web_ui.body(flow, message).decode("utf-8", "replace")
    secrets = {"key": ann, "code": begun["device_code"], **{n: tokens[n] for n in ("access_token", "refresh_token")}}
    assert [name for name, secret in secrets.items() if str(secret) in shown + relay.log_text()] == []
    files = b"".join(file.read_bytes() for file in relay.folder.iterdir() if file.is_file())
    assert [name for name, secret in secrets.items() if str(secret).encode() in files] == []
