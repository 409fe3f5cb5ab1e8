"""What one relay does for accounts: who is renewed when, what is said of it, and what it leaves behind at its end."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Key
from claude_relay.core.notices import Kind, Notice
from claude_relay.core.oauth.grants import Tokens
from claude_relay.proxy.running.renewals import Renewals
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.renewing import Outcome
from claude_relay.store.vault.vault import Vault
from upstream.oauth_server import OAuthServer
from upstream.providers import serving

pytestmark = pytest.mark.usefixtures("cheap_secrets")


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer()) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


OVER = 0.01
"""Of tokens that are over by now."""


class One:
    """A relay's part for accounts, without the relay."""

    def __init__(self, folder: Path, server: OAuthServer) -> None:
        self.path, self.server = folder / "relay.db", server
        text = {"providers": {"anthropic": {"base_url": "http://127.0.0.1:9", "oauth": server.section()}}}
        self.runtime = Runtime.of(parse(json.dumps(text), environ={}), environ={})
        self.stored = Stored(self.path, {}, lambda: self.runtime, self.runtime.issue)
        self.notices: list[Notice] = []
        self.renewals = Renewals(self.stored, lambda: self.runtime, self.notices.extend)

    def add(self, expires_in: float | None = 28800.0) -> Account:
        first = self.server.login()
        with closing(Vault(self.path, environ={})) as vault:
            tokens = Tokens(first["access_token"], first["refresh_token"], expires_in)
            found = Accounts(vault).add("anthropic", tokens, time.time() - (60.0 if expires_in == OVER else 0.0))
        assert isinstance(found, Account)
        return found

    def now(self, account: Account) -> Account:
        with closing(Vault(self.path, environ={})) as vault:
            found = Accounts(vault).get(account.id)
        assert found is not None
        return found

    async def turn(self) -> None:
        await self.stored.take_keys()
        await self.renewals.turn()
        await asyncio.gather(*self.renewals.under_way.values())

    def close(self) -> None:
        self.renewals.close()
        self.stored.thread.shutdown()
        self.stored.vault.close()


@pytest.fixture
def one(tmp_path: Path, server: OAuthServer) -> Iterator[One]:
    found = One(tmp_path, server)
    yield found
    found.close()


def key(one: One) -> Key:
    return one.runtime.pools["anthropic"].keys[0]


def test_only_what_is_due_is_renewed(one: One, server: OAuthServer) -> None:
    fresh, due, only_access = one.add(), one.add(expires_in=OVER), one.add()
    with closing(Vault(one.path, environ={})) as vault:
        vault.disable([due.id])
        assert Accounts(vault).login_again(only_access.id, Tokens("oat-alone-0123456789", None, 0.01), time.time())
    asyncio.run(one.turn())
    assert [account.renewals for account in server.accounts] == [0, 1, 0]
    assert one.now(fresh).generation == fresh.generation
    assert one.now(due).generation != due.generation


def test_the_pool_has_the_next_token_at_once(one: One, server: OAuthServer) -> None:
    account = one.add()

    async def run() -> None:
        await one.stored.take_keys()
        before = key(one)
        found = await one.renewals.renew(before)
        assert found.outcome is Outcome.RENEWED
        after = key(one)
        assert (after.id, after.secret != before.secret, server.knows(after.secret)) == (account.id, True, True)
        again = await one.renewals.renew(before)
        assert again.outcome is Outcome.OTHERS, "the refused one is not the stored one"

    asyncio.run(run())
    assert server.accounts[0].renewals == 1


def test_all_who_wait_share_one_renewal(one: One, server: OAuthServer) -> None:
    one.add()

    async def run() -> None:
        await one.stored.take_keys()
        found = await asyncio.gather(*(one.renewals.renew(key(one)) for _ in range(5)))
        assert {it.outcome for it in found} == {Outcome.RENEWED}

    asyncio.run(run())
    assert len(server.requests) == 1


def test_what_cannot_be_renewed_is_said_when_it_ends(one: One, server: OAuthServer) -> None:
    account = one.add(expires_in=300.0)
    server.plan.extend([503, 503])

    async def run() -> None:
        await one.stored.take_keys()
        await one.renewals.renew(key(one))
        assert one.notices == [], "it is good for a while yet"
        one.renewals.accounts.login_again(
            account.id, Tokens("oat-short-0123456789", "ort-short-0123456789", 0.2), time.time()
        )
        await asyncio.sleep(0.21)
        await one.stored.take_keys()
        await one.renewals.renew(key(one))

    asyncio.run(run())
    (notice,) = one.notices
    assert (notice.kind, notice.key, "cannot be renewed" in notice.text) == (Kind.LOGIN, "anthropic/v1", True)
    assert "ort-" not in notice.text


def test_a_revoked_account_is_said(one: One, server: OAuthServer) -> None:
    account = one.add(expires_in=OVER)
    server.accounts[0].revoked = True
    asyncio.run(one.turn())
    (notice,) = one.notices
    assert (notice.kind, "log in again" in notice.text) == (Kind.LOGIN, True)
    assert one.now(account).state(time.time()) == "revoked"
    asyncio.run(one.turn())
    assert len(server.requests) == 1


def test_pauses_are_kept(one: One, server: OAuthServer) -> None:
    one.add(expires_in=OVER)
    server.plan.extend([500] * 3)
    for _ in range(3):
        asyncio.run(one.turn())
    assert len(server.plan) == 2


def test_a_refused_token_is_tried_again_until_it_is_renewed(
    one: One, server: OAuthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its life says nothing any more; and the key may be out until there is another token."""
    account = one.add()
    server.plan.append(500)
    monkeypatch.setattr("claude_relay.store.vault.renewing.pause_after", lambda *_: 0.0)
    monkeypatch.setattr("claude_relay.store.vault.accounts.SOON", 0.0)

    async def run() -> None:
        await one.stored.take_keys()
        found = await one.renewals.renew(key(one))
        assert found.outcome is Outcome.FAILED
        await one.turn()
        assert one.now(account).generation != account.generation
        await one.turn()

    asyncio.run(run())
    assert server.accounts[0].renewals == 1


def test_the_end_waits_for_a_renewal_under_way(one: One, server: OAuthServer) -> None:
    """What the provider gives is nowhere else."""
    account = one.add()
    server.plan.append("wait")

    async def run() -> None:
        await one.stored.take_keys()
        renewal = one.renewals.renew(key(one))
        assert await asyncio.to_thread(server.came.acquire, timeout=5)
        threading.Timer(0.1, server.go_on.set).start()
        one.renewals.close()
        renewal.cancel()

    asyncio.run(run())
    assert one.now(account).generation != account.generation


def test_a_provider_that_left_relay_yaml_is_left_alone(one: One, server: OAuthServer) -> None:
    one.add(expires_in=OVER)
    with closing(Vault(one.path, environ={})) as vault:
        Accounts(vault).add(
            "elsewhere", Tokens("oat-elsewhere-0123456789", "ort-elsewhere-0123456789", 0.01), time.time()
        )
    asyncio.run(one.turn())
    assert [request["refresh_token"].startswith("ort-elsewhere") for request in server.requests] == [False]
