"""OAuth accounts in the vault: what is stored, what each step of a renewal changes, and what nobody may see."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.keys.check_results import CheckResult
from claude_relay.core.oauth.grants import Tokens
from claude_relay.core.times import HOUR
from claude_relay.store.audit import Actor, read
from claude_relay.store.shared.state import State
from claude_relay.store.vault.account_rows import Account
from claude_relay.store.vault.accounts import Accounts, Taken, Why
from claude_relay.store.vault.copying import copy_vault
from claude_relay.store.vault.vault import Duplicate, Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")

NOW = 1_795_000_000.0
TOKENS = Tokens("oat-first-0123456789", "ort-first-0123456789", 8 * HOUR, ("user:inference",), "me@example.com")
NEXT = Tokens("oat-second-0123456789", "ort-second-0123456789", 8 * HOUR)


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def accounts(path: Path) -> Iterator[Accounts]:
    with closing(Vault(path, environ={}, actor=Actor("alice", "cli", "laptop"))) as vault:
        yield Accounts(vault)


@pytest.fixture
def account(accounts: Accounts) -> Account:
    added = accounts.add("anthropic", TOKENS, NOW)
    assert isinstance(added, Account)
    return added


def taken(accounts: Accounts, account: Account, owner: str = "a", ticks: float = 100.0, **more: object) -> Taken | Why:
    return accounts.take(account.id, owner, NOW, ticks, lease=30.0, **more)  # type: ignore[arg-type]


def got(accounts: Accounts, account: Account, **more: object) -> Taken:
    found = taken(accounts, account, **more)
    assert isinstance(found, Taken)
    return found


def test_an_account_is_a_key(accounts: Accounts, account: Account) -> None:
    (key,) = accounts.vault.issue()["anthropic"]
    assert (key.secret, key.kind, key.renews, key.id) == (TOKENS.access, "oauth", True, account.id)
    (stored,) = accounts.vault.list()
    assert (stored.kind, stored.label) == ("oauth", "me@example.com")
    assert (account.name, account.expires_at, account.state(NOW)) == ("anthropic/v1", NOW + 8 * HOUR, "active")


def test_nothing_of_a_token_lies_open(accounts: Accounts, account: Account, path: Path) -> None:
    accounts.renewed(got(accounts, account), NEXT, NOW)
    data = b"".join(file.read_bytes() for file in path.parent.glob("relay.db*"))
    for tokens in (TOKENS, NEXT):
        assert tokens.access.encode() not in data
        assert str(tokens.refresh).encode() not in data
    assert TOKENS.access not in repr(TOKENS)
    assert "ort-" not in repr(TOKENS) + repr(got(accounts, account))


def test_acts_are_in_the_audit_log(accounts: Accounts, account: Account, path: Path) -> None:
    accounts.login_again(account.id, NEXT, NOW)
    accounts.vault.disable([account.id])
    assert [(entry.act, entry.subject, entry.who) for entry in read(path, kind="key")] == [
        (act, "anthropic/v1", "alice") for act in ("disable", "login", "login")
    ]


def test_the_same_token_twice_is_one_account(accounts: Accounts, account: Account) -> None:
    again = accounts.add("anthropic", TOKENS, NOW)
    assert isinstance(again, Duplicate)
    assert again.name == "anthropic/v1"


def test_a_renewal(accounts: Accounts, account: Account) -> None:
    before = accounts.vault.changed()
    taking = got(accounts, account)
    assert (taking.refresh, taking.dispatched_before) == (TOKENS.refresh, None)
    assert accounts.renewed(taking, NEXT, NOW + 60)
    assert accounts.vault.changed() != before
    (key,) = accounts.vault.issue()["anthropic"]
    assert (key.secret, key.id) == (NEXT.access, account.id)
    found = accounts.get(account.id)
    assert found is not None
    assert (found.account, found.scopes, found.renewed_at, found.dispatched_at) == (
        TOKENS.account,
        TOKENS.scopes,
        NOW + 60,
        None,
    )
    assert got(accounts, account).refresh == NEXT.refresh


def test_a_server_that_keeps_the_refresh_token_need_not_repeat_it(accounts: Accounts, account: Account) -> None:
    accounts.renewed(got(accounts, account), Tokens("oat-third-0123456789"), NOW)
    found = got(accounts, account)
    assert (found.refresh, found.account.expires_at) == (TOKENS.refresh, None)


def test_one_at_a_time(accounts: Accounts, account: Account) -> None:
    first = got(accounts, account, owner="a", ticks=100.0)
    assert taken(accounts, account, "b", 129.9) is Why.BUSY
    second = got(accounts, account, owner="b", ticks=130.1)
    assert second.dispatched_before == NOW
    assert accounts.renewed(second, NEXT, NOW)
    assert not accounts.renewed(first, Tokens("oat-late-0123456789", "ort-late-0123456789"), NOW)
    assert accounts.vault.issue()["anthropic"][0].secret == NEXT.access


def test_a_lease_from_before_the_machine_began_anew_is_none(accounts: Accounts, account: Account) -> None:
    got(accounts, account, owner="a", ticks=90_000.0)
    got(accounts, account, owner="b", ticks=5.0)


def test_who_comes_later_uses_what_is_there(accounts: Accounts, account: Account) -> None:
    seen = account.generation
    accounts.renewed(got(accounts, account), NEXT, NOW)
    assert taken(accounts, account, seen=seen) is Why.OTHERS
    assert taken(accounts, account, refused=TOKENS.access) is Why.OTHERS
    got(accounts, account, refused=NEXT.access)


def test_a_refused_token_counts_only_while_it_is_the_stored_one(accounts: Accounts, account: Account) -> None:
    taking = got(accounts, account)
    accounts.login_again(account.id, NEXT, NOW)
    assert not accounts.revoked(taking, "invalid_grant", NOW)
    found = accounts.get(account.id)
    assert found is not None
    assert found.state(NOW) == "active"
    assert accounts.revoked(got(accounts, account), "invalid_grant", NOW)
    found = accounts.get(account.id)
    assert found is not None
    assert (found.state(NOW), found.reason) == ("revoked", "invalid_grant")
    assert taken(accounts, account) is Why.REVOKED
    assert accounts.vault.issue()["anthropic"][0].renews is False
    accounts.login_again(account.id, TOKENS, NOW)
    found = accounts.get(account.id)
    assert found is not None
    assert (found.state(NOW), found.reason) == ("active", "")


def test_failures_have_growing_pauses_and_change_nothing(accounts: Accounts, account: Account) -> None:
    accounts.failed(got(accounts, account), "503", NOW, 30.0, undone=False)
    found = accounts.get(account.id)
    assert found is not None
    assert (found.failures, found.retry_at, found.reason) == (1, NOW + 30, "503")
    assert (found.generation, found.dispatched_at) == (account.generation, NOW)
    at = [(NOW + 1, True), (NOW + 10, False), (NOW + 10, True), (NOW + 31, False)]
    for now, hurry in at[:2]:
        assert accounts.take(account.id, "a", now, 0.0, lease=30, hurry=hurry) is Why.SOON
    for now, hurry in at[2:]:
        assert isinstance(accounts.take(account.id, "a", now, 0.0, lease=30, hurry=hurry), Taken)


def test_a_pause_is_not_longer_because_the_clock_was_set_back(accounts: Accounts, account: Account) -> None:
    accounts.failed(got(accounts, account), "503", NOW, 30.0, undone=True)
    assert isinstance(accounts.take(account.id, "a", NOW - 90 * HOUR, 0.0, lease=30, hurry=False), Taken)


def test_what_a_provider_did_not_do_was_not_sent(accounts: Accounts, account: Account) -> None:
    accounts.failed(got(accounts, account), "invalid_client", NOW, 0.0, undone=True)
    found = accounts.get(account.id)
    assert found is not None
    assert found.dispatched_at is None


def test_removed_accounts_are_left_alone_and_disabled_ones_are_not(accounts: Accounts, account: Account) -> None:
    accounts.vault.disable([account.id])
    got(accounts, account)
    accounts.vault.remove([account.id])
    assert taken(accounts, account) is Why.GONE
    accounts.vault.restore([account.id])
    got(accounts, account)
    accounts.vault.erase([account.id])
    assert accounts.list() == ()
    assert taken(accounts, account) is Why.GONE


def test_without_a_refresh_token_it_ends_with_its_life(accounts: Accounts) -> None:
    account = accounts.add("anthropic", Tokens("oat-only-0123456789", None, 60.0), NOW)
    assert isinstance(account, Account)
    assert taken(accounts, account) is Why.FINAL
    assert (account.state(NOW), account.state(NOW + 55), account.state(NOW + 61)) == ("active", "expiring", "expired")


def test_a_key_that_was_out_is_used_again_with_its_next_token(accounts: Accounts, account: Account, path: Path) -> None:
    with closing(State(path)):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO cooldowns VALUES ('anthropic', ?, '', ?, NULL, NULL, 1, 0, 0, '401', 0, 1)", [account.id, NOW]
        )
    assert "out" in accounts.vault.list()[0].states(NOW)
    accounts.renewed(got(accounts, account), NEXT, NOW + 1)
    assert "out" not in accounts.vault.list()[0].states(NOW)


def test_a_new_secret_seals_refresh_tokens_too(accounts: Accounts, account: Account, path: Path) -> None:
    taking = got(accounts, account)
    accounts.vault.rotate_secret("file")
    assert accounts.renewed(taking, NEXT, NOW), "in the midst of a renewal"
    accounts.vault.rotate_secret("file")
    with closing(Vault(path, environ={})) as other:
        assert got(Accounts(other), account).refresh == NEXT.refresh


def test_a_token_that_was_tampered_with_is_named(accounts: Accounts, account: Account, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE accounts SET refresh = ?", [os.urandom(60)])
    assert accounts.vault.inspect().damaged == ("anthropic/v1",)


def test_a_copy_of_the_vault_has_no_refresh_tokens(
    accounts: Accounts, account: Account, path: Path, tmp_path: Path
) -> None:
    """Two databases that renew the same account would log each other out."""
    copy_vault(path, tmp_path / "copy.db")
    with closing(Vault(tmp_path / "copy.db", environ={})) as copy:
        assert copy.issue()["anthropic"][0].renews is False
        assert Accounts(copy).list() == ()


def test_checks_of_keys_work_for_accounts(accounts: Accounts, account: Account) -> None:
    accounts.vault.record({account.id: CheckResult("valid")})
    assert accounts.vault.list()[0].check_status == "valid"
