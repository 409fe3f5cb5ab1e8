"""OAuth accounts as a running relay uses them: which header their tokens go in, when they are renewed, what a refused one leads to."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from claude_relay.core.oauth.grants import Tokens
from claude_relay.store.shared.key_windows import read_windows
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.vault import Vault
from upstream.oauth_server import Account as AtProvider
from upstream.oauth_server import OAuthServer
from upstream.providers import serving
from waiting import eventually

from . import steps
from .clients import Answer, RawClient, messages_body
from .conftest import StartRelay
from .relay import Relay, config, rows
from .upstream import Exchange, FakeUpstream

Base = Callable[[Relay], RawClient]
ISSUES = "keys that the vault issues"
UNIFIED = "anthropic-ratelimit-unified"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.fixture
def claude(upstream: FakeUpstream, server: OAuthServer) -> FakeUpstream:
    """Takes tokens that the server knows, and no others."""
    good = steps.claude_default()

    async def answer(exchange: Exchange) -> None:
        known = server.knows(exchange.request.key)
        await (good if known else steps.status(401, "authentication_error", "OAuth token has expired")).run(exchange)

    upstream.default = steps.Step(answer)
    return upstream


@pytest.fixture
def relay(start: StartRelay, claude: FakeUpstream, server: OAuthServer) -> Relay:
    section = {"base_url": claude.url, "empty_pool": "reject", "oauth": server.section()}
    return start(config(providers={"anthropic": section}))


def added(relay: Relay, server: OAuthServer, expires_in: float | None = 28800.0) -> Account:
    first = server.login()
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        account = Accounts(vault).add(
            "anthropic", Tokens(first["access_token"], first["refresh_token"], expires_in), time.time()
        )
    assert isinstance(account, Account)
    relay.wait_for_log(ISSUES, len(server.accounts), 3.0)
    return account


def found(relay: Relay, account: Account) -> Account:
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        now = Accounts(vault).get(account.id)
    assert now is not None
    return now


def ask(client: RawClient, session: str = "", **headers: str) -> Answer:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    if session:
        fields.append(("x-claude-code-session-id", session))
    return client.ask("POST", "/v1/messages", body=messages_body(), headers=fields)


def test_a_token_is_a_bearer_with_headers_of_its_own(
    relay: Relay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    added(relay, server)
    answer = ask(base_client(relay), x_api_key="sk-ant-placeholder-relay", anthropic_beta="one,two")
    assert (answer.status, answer.header("x-relay-key")) == (200, "v1")
    (request,) = claude.requests
    assert request.header("authorization") in [f"Bearer {token}" for token in server.accounts[0].access]
    assert (request.header("x-api-key"), request.header("anthropic-beta")) == (None, "one,two,oauth-of-a-test")


def test_keys_and_accounts_share_a_pool(
    start: StartRelay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    server.accounts.append(AtProvider(access={"good-1"}))
    provider = {"base_url": claude.url, "keys": ["good-1"], "strategy": "round-robin", "oauth": server.section()}
    relay = start(config(providers={"anthropic": provider}))
    added_to = server.login()
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        Accounts(vault).add("anthropic", Tokens(added_to["access_token"], added_to["refresh_token"]), time.time())
    relay.wait_for_log(ISSUES)
    client = base_client(relay)
    for _ in range(4):
        assert ask(client).status == 200
    by_header = {(request.header("x-api-key"), bool(request.header("authorization"))) for request in claude.requests}
    assert by_header == {("good-1", False), (None, True)}
    assert {request.header("anthropic-beta") for request in claude.requests if request.header("x-api-key")} == {None}


def test_a_renewal_that_takes_long_holds_up_nobody_whom_another_key_can_serve(
    start: StartRelay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    server.accounts.append(AtProvider(access={"good-1"}))
    provider = {"base_url": claude.url, "keys": ["good-1"], "strategy": "round-robin", "oauth": server.section()}
    relay = start(config(providers={"anthropic": provider}))
    issued = server.login()
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        account = Accounts(vault).add(
            "anthropic", Tokens(issued["access_token"], issued["refresh_token"], 28800.0), time.time()
        )
    assert isinstance(account, Account)
    relay.wait_for_log(ISSUES)
    client = base_client(relay)
    sessions = {ask(client, name).header("x-relay-key"): name for name in ("one", "two")}
    server.expire()
    server.accounts[0].access.add("good-1")
    server.plan.append("wait")
    try:
        answer = ask(client, sessions["v1"])
        assert (answer.status, answer.header("x-relay-key")) == (200, "k1")
        assert server.under_way == 1
    finally:
        server.go_on.set()
    eventually(lambda: found(relay, account).generation != account.generation)
    eventually(lambda: ask(client).header("x-relay-key") == "v1")


def test_a_refused_token_is_renewed_and_the_request_goes_on(
    relay: Relay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    account = added(relay, server)
    client = base_client(relay)
    assert ask(client, "one").status == 200
    server.expire()
    answer = ask(client, "one")
    assert (answer.status, answer.header("x-relay-attempts"), answer.header("x-relay-key")) == (200, "2", "v1")
    assert server.accounts[0].renewals == 1
    assert found(relay, account).generation != account.generation
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["ok", "token_refused", "ok"]
    assert ask(client, "one").header("x-relay-attempts") == "1"
    text = relay.log_text()
    assert not any(request.key in text for request in claude.requests)


def test_many_requests_wait_for_one_renewal(relay: Relay, server: OAuthServer, base_client: Base) -> None:
    added(relay, server)
    clients = [base_client(relay) for _ in range(6)]
    for client in clients:
        assert ask(client).status == 200
    server.expire()
    for client in clients:
        client.request("POST", "/v1/messages", body=messages_body())
    assert [client.answer().status for client in clients] == [200] * 6
    assert server.accounts[0].renewals == 1


def test_a_second_refusal_is_a_verdict(
    relay: Relay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    """The provider gives tokens and does not take them."""
    added(relay, server)
    claude.default = steps.status(401, "authentication_error", "no")
    answer = ask(base_client(relay))
    assert answer.status == 503
    assert [row["verdict"] for row in rows(relay.database, "attempts")] == ["token_refused", "unauthorized"]
    assert len(claude.requests) == 2


def test_another_key_takes_over_where_an_account_is_revoked(
    start: StartRelay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    server.accounts.append(AtProvider(access={"good-1"}))
    provider = {"base_url": claude.url, "keys": ["good-1"], "strategy": "round-robin", "oauth": server.section()}
    relay = start(config(providers={"anthropic": provider}))
    first = server.login()
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        Accounts(vault).add("anthropic", Tokens(first["access_token"], first["refresh_token"]), time.time())
    relay.wait_for_log(ISSUES)
    server.accounts[1].revoked = True
    client = base_client(relay)
    assert [ask(client).status for _ in range(3)] == [200] * 3
    verdicts = [row["verdict"] for row in rows(relay.database, "attempts")]
    assert verdicts.count("unauthorized") == 1
    assert "token_refused" not in verdicts
    relay.wait_for_log("log in again")


def test_a_token_is_renewed_ahead_of_its_end(
    relay: Relay, claude: FakeUpstream, server: OAuthServer, base_client: Base
) -> None:
    """The session stays where it is."""
    server.expires_in = 3600
    account = added(relay, server, expires_in=2.0)
    client = base_client(relay)
    assert ask(client, "one").status == 200
    eventually(lambda: found(relay, account).generation != account.generation)
    server.accounts[0].access = {max(server.accounts[0].access, key=lambda token: token != claude.requests[0].key)}
    eventually(lambda: ask(client, "one").header("x-relay-attempts") == "1")
    assert server.accounts[0].renewals == 1


def test_disabled_accounts_are_renewed_too(relay: Relay, server: OAuthServer) -> None:
    server.expires_in = 3600
    account = added(relay, server, expires_in=4.0)
    with closing(Vault(relay.database, environ=os.environ)) as vault:
        vault.disable([account.id])
    eventually(lambda: server.accounts[0].renewals == 1)


@pytest.mark.parametrize("good", [True, False])
def test_windows_are_stored(
    relay: Relay, claude: FakeUpstream, server: OAuthServer, base_client: Base, good: bool
) -> None:
    account = added(relay, server)
    reset = int(time.time()) + 3600
    said = [(f"{UNIFIED}-status", "allowed")] + [
        (f"{UNIFIED}-{name}-{part}", value)
        for name, used in (("5h", "0.25"), ("7d", "0.5"), ("7d_opus", "0.75"))
        for part, value in (("status", "allowed"), ("utilization", used), ("reset", str(reset)))
    ]
    limited = steps.status(429, "rate_limit_error", "slow down", headers=[*said, ("retry-after", "1")])
    claude.script(steps.message(headers=said) if good else limited)
    assert ask(base_client(relay)).status == 200

    def stored() -> dict[str, float | None]:
        with closing(sqlite3.connect(relay.database)) as connection:
            return {
                row.window.name: row.window.utilization for row in read_windows(connection) if row.key_id == account.id
            }

    eventually(lambda: stored() == {"5h": 0.25, "7d": 0.5, "7d_opus": 0.75})
