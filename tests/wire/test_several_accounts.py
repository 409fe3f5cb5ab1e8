"""Several relay processes over one database share an account: it is renewed once, and no request is lost, also when a relay is killed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.oauth.grants import Tokens
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts
from upstream.oauth_server import OAuthServer
from upstream.providers import serving
from waiting import PATIENCE, eventually

from . import steps
from .forked import Breeder
from .test_several import Group
from .upstream import Exchange, FakeUpstream

pytestmark = pytest.mark.usefixtures("cheap_secrets")


@pytest.fixture
def server() -> Iterator[OAuthServer]:
    with serving(OAuthServer(grace=1)) as found:  # type: ignore[arg-type]
        yield found  # type: ignore[misc]


@pytest.fixture
def group(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, breeder: Breeder, server: OAuthServer
) -> Iterator[Group]:
    good = steps.claude_default()

    async def answer(exchange: Exchange) -> None:
        known = server.knows(exchange.request.key)
        await (good if known else steps.status(401, "authentication_error", "expired")).run(exchange)

    upstream.default = steps.Step(answer)
    with closing(Group(tmp_path, confdir, upstream.url, breeder)) as found:
        found.config["providers"]["anthropic"]["oauth"] = server.section()
        yield found


def add(group: Group, server: OAuthServer) -> Account:
    first = server.login()
    found = Accounts(group.vault).add(
        "anthropic", Tokens(first["access_token"], first["refresh_token"], 28800.0), time.time()
    )
    assert isinstance(found, Account)
    return found


def test_relays_that_meet_a_refused_token_at_once_renew_it_once(group: Group, server: OAuthServer) -> None:
    add(group, server)
    members = group.start(2)
    for turn in range(1, 4):
        server.expire()
        with ThreadPoolExecutor(2) as threads:
            answers = list(threads.map(lambda member: member.ask(), members))
        assert [answer.status for answer in answers] == [200, 200]
        assert server.accounts[0].renewals == turn
    assert server.most_under_way == 1


def test_a_relay_that_is_killed_while_it_renews_loses_no_account(
    group: Group, server: OAuthServer, upstream: FakeUpstream
) -> None:
    """The provider has given the next tokens to it, and takes the old one once more."""
    account = add(group, server)
    one, other = group.start(2)
    assert [member.ask().status for member in (one, other)] == [200, 200]
    server.expire()
    server.plan.append("wait")
    assert one.client is not None
    one.client.post()
    assert server.came.acquire(timeout=PATIENCE)
    one.kill()
    server.go_on.set()
    accounts = Accounts(group.vault)
    found = accounts.get(account.id)
    assert found is not None
    assert found.dispatched_at is not None
    with closing(sqlite3.connect(group.database, isolation_level=None)) as connection:
        connection.execute("UPDATE accounts SET lease_until = 0.0")  # the lock's time is over
    eventually(lambda: other.ask().status == 200)
    found = accounts.get(account.id)
    assert found is not None
    assert (found.state(time.time()), found.dispatched_at) == ("active", None)
