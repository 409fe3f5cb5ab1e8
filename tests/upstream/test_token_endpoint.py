"""Requests to OAuth endpoints over real sockets: what is sent, what answers mean, and that nothing repeats a token."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from claude_relay.core.config import WayOut
from claude_relay.core.oauth.authorizing import DeviceCode, begin
from claude_relay.core.oauth.grants import Failed, Granted, Pending, Refused
from claude_relay.upstream.token_endpoint import device_code, tokens_for_code, tokens_for_device, tokens_for_refresh
from upstream.oauth_server import CLIENT, OAuthServer
from upstream.providers import raw, serving, tunnelling
from waiting import PATIENCE

WAY = WayOut()


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.mark.parametrize("body", ["form", "json"])
def test_a_code_for_tokens(server: OAuthServer, body: str) -> None:
    provider = server.provider(body=body)
    assert provider.oauth is not None
    begun = begin(provider.oauth, "http://127.0.0.1:1/callback", os.urandom)
    found = tokens_for_code(provider, server.code(begun.url), begun, WAY, timeout=PATIENCE)
    assert isinstance(found, Granted)
    assert server.knows(found.tokens.access)
    assert (found.tokens.account, found.tokens.scopes) == ("me@example.com", ("user:inference",))
    assert server.requests[0]["client_secret"] == CLIENT["client_secret"]


def test_a_secret_in_the_header(server: OAuthServer) -> None:
    first = server.login()
    provider = server.provider(secret_in="header")
    assert isinstance(tokens_for_refresh(provider, first["refresh_token"], WAY, timeout=PATIENCE), Granted)


def test_a_code_of_another_verifier_or_redirect_is_none(server: OAuthServer) -> None:
    provider = server.provider()
    assert provider.oauth is not None
    one, other = (begin(provider.oauth, "http://127.0.0.1:1/callback", os.urandom) for _ in range(2))
    code = server.code(one.url)
    found = tokens_for_code(provider, code, other, WAY, timeout=PATIENCE)
    assert isinstance(found, Refused)
    assert code not in found.reason
    assert isinstance(tokens_for_code(provider, code, one, WAY, timeout=PATIENCE), Refused), "it was good once"


def test_a_refresh_token(server: OAuthServer) -> None:
    first = server.login()
    found = tokens_for_refresh(server.provider(), first["refresh_token"], WAY, timeout=PATIENCE)
    assert isinstance(found, Granted)
    again = tokens_for_refresh(server.provider(), first["refresh_token"], WAY, timeout=PATIENCE)
    assert isinstance(again, Refused)
    assert first["refresh_token"] not in again.reason


def test_a_device(server: OAuthServer) -> None:
    provider = server.provider()
    code = device_code(provider, WAY, timeout=PATIENCE)
    assert isinstance(code, DeviceCode)
    assert (code.user_code, code.interval, code.device_code in repr(code)) == ("WDJB-MJHT", 0.01, False)
    for state, meant in (("pending", Pending()), ("slow", Pending(True)), ("denied", Refused), ("expired", Refused)):
        server.devices[code.device_code] = state
        found = tokens_for_device(provider, code, WAY, timeout=PATIENCE)
        assert found == meant if isinstance(meant, Pending) else isinstance(found, meant)
    server.devices[code.device_code] = "confirmed"
    assert isinstance(tokens_for_device(provider, code, WAY, timeout=PATIENCE), Granted)


def test_without_what_relay_yaml_should_say(server: OAuthServer) -> None:
    nobody = server.provider(client_id=None, client_secret=None)
    found = tokens_for_refresh(nobody, "ort-0123456789", WAY, timeout=PATIENCE)
    assert isinstance(found, Failed)
    assert "CLAUDE_CLIENT_ID" in found.reason
    assert found.undone
    no_device = server.provider(device_url=None)
    assert isinstance(device_code(no_device, WAY, timeout=PATIENCE), Failed)
    plain = server.provider().model_copy(update={"oauth": None})
    assert isinstance(tokens_for_refresh(plain, "ort-0123456789", WAY, timeout=PATIENCE), Failed)


@pytest.mark.parametrize("meets", [500, 502, 429, 404])
def test_errors_of_the_server(server: OAuthServer, meets: int) -> None:
    server.plan.append(meets)
    found = tokens_for_refresh(server.provider(), "ort-0123456789", WAY, timeout=PATIENCE)
    assert isinstance(found, Failed)
    assert str(meets) in found.reason
    assert "ort-" not in found.reason


def test_a_slow_server_is_given_up(server: OAuthServer) -> None:
    server.plan.append(600.0)
    began = time.monotonic()
    found = tokens_for_refresh(server.provider(), "ort-0123456789", WAY, timeout=1.0)
    assert isinstance(found, Failed)
    assert (found.undone, time.monotonic() - began < PATIENCE) == (False, True)


def test_a_server_that_is_cut_off_or_not_there(server: OAuthServer) -> None:
    server.plan.append("cut")
    found = tokens_for_refresh(server.provider(), server.login()["refresh_token"], WAY, timeout=PATIENCE)
    assert isinstance(found, Failed)
    assert not found.undone
    with raw(None) as address:
        url = f"http://{address}/token"
    gone = server.provider(token_url=url)
    found = tokens_for_refresh(gone, "ort-0123456789", WAY, timeout=PATIENCE)
    assert isinstance(found, Failed)
    assert found.undone


def test_an_answer_that_does_not_end(server: OAuthServer) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"

    def answer(connection) -> None:  # type: ignore[no-untyped-def]
        connection.recv(65536)
        connection.sendall(head + b" " * 70_000)

    with raw(answer) as address:
        found = tokens_for_refresh(
            server.provider(token_url=f"http://{address}/t"), "ort-0123456789", WAY, timeout=PATIENCE
        )
    assert isinstance(found, Failed)
    assert "too long" in found.reason


def test_through_the_accounts_own_proxy(server: OAuthServer) -> None:
    with tunnelling() as (port, heard):
        found = tokens_for_refresh(
            server.provider(), server.login()["refresh_token"], WAY, timeout=PATIENCE, proxy=f"http://127.0.0.1:{port}"
        )
    assert isinstance(found, Granted)
    assert heard[0].startswith(f"CONNECT 127.0.0.1:{server.server_port} ".encode())
    dead = tokens_for_refresh(
        server.provider(), "ort-0123456789", WAY, timeout=PATIENCE, proxy=f"http://127.0.0.1:{port}"
    )
    assert isinstance(dead, Failed)
    assert dead.undone, "nothing goes directly"
