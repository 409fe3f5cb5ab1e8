"""Admin keys in the vault: sealed for one address, issued to nobody, known to the audit log by their mask."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.store.audit import Actor, read
from claude_relay.store.vault.admin_keys import AdminKeys
from claude_relay.store.vault.copying import copy_vault
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault, VaultError

pytestmark = pytest.mark.usefixtures("cheap_secrets")

SECRET = "sk-ant-admin01-0123456789abcdef"
HERE = "https://api.anthropic.com"
ALICE = Actor("alice", "cli", "laptop")


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def vault(path: Path) -> Iterator[Vault]:
    with closing(Vault(path, environ={})) as found:
        yield found


@pytest.fixture
def keys(vault: Vault) -> AdminKeys:
    found = AdminKeys(vault)
    found.put(ALICE, "anthropic", "anthropic", HERE, SECRET)
    return found


def test_it_comes_out_for_its_own_address_alone(keys: AdminKeys) -> None:
    assert keys.secret("anthropic", HERE) == SECRET
    assert keys.secret("openai", HERE) is None
    with pytest.raises(VaultError, match=r"entered for https://api\.anthropic\.com.*enter it again"):
        keys.secret("anthropic", "https://gateway.example.net")


def test_no_pool_ever_gets_it(vault: Vault, keys: AdminKeys) -> None:
    assert vault.issue() == {}
    vault.add(NewKey.of("anthropic", "sk-ant-api03-0123456789abcdef", {}))
    everything = vault.issue({key.id for key in vault.list()} | {"anthropic", HERE})
    assert [key.secret for key in everything["anthropic"]] == ["sk-ant-api03-0123456789abcdef"]
    assert "admin" not in repr(vault.list())


def test_the_file_does_not_hold_it(path: Path, keys: AdminKeys) -> None:
    (only,) = keys.list()
    assert (only.provider, only.origin, only.mask) == ("anthropic", HERE, "sk-ant-…cdef")
    for file in path.parent.iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_moved_to_another_row_it_does_not_open(path: Path, keys: AdminKeys) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE admin_keys SET origin = 'https://gateway.example.net'")
    with pytest.raises(VaultError, match="cannot be opened any more: enter it again"):
        keys.secret("anthropic", "https://gateway.example.net")


def test_a_new_secret_of_the_vault_opens_it(path: Path, vault: Vault, keys: AdminKeys) -> None:
    vault.add(NewKey.of("anthropic", "sk-ant-api03-0123456789abcdef", {}))
    vault.rotate_secret()
    assert keys.secret("anthropic", HERE) == SECRET
    with closing(Vault(path, environ={})) as other:
        assert AdminKeys(other).secret("anthropic", HERE) == SECRET


def test_another_one_takes_its_place_and_it_can_be_forgotten(path: Path, keys: AdminKeys) -> None:
    keys.put(ALICE, "anthropic", "anthropic", HERE, f"{SECRET}-2")
    assert keys.secret("anthropic", HERE) == f"{SECRET}-2"
    assert keys.remove(ALICE, "anthropic")
    assert not keys.remove(ALICE, "anthropic")
    assert (keys.secret("anthropic", HERE), keys.list()) == (None, ())
    entries = read(path, kind="admin key")
    assert [entry.act for entry in entries] == ["remove", "edit", "add"]
    assert entries[2].after == {"mask": "sk-ant-…cdef", "origin": HERE}
    assert SECRET not in repr(entries)


def test_what_is_no_admin_key_is_not_taken(keys: AdminKeys) -> None:
    with pytest.raises(ValueError, match="begin with sk-ant-admin"):
        keys.put(ALICE, "anthropic", "anthropic", HERE, "sk-ant-api03-0123456789abcdef")
    assert keys.secret("anthropic", HERE) == SECRET


def test_a_copy_of_the_vault_for_trying_things_has_none(tmp_path: Path, path: Path, keys: AdminKeys) -> None:
    os.mkdir(tmp_path / "copy")
    copy_vault(path, tmp_path / "copy" / "relay.db")
    with closing(Vault(tmp_path / "copy" / "relay.db", environ={})) as copy:
        assert AdminKeys(copy).list() == ()


def test_without_a_database_there_is_none(tmp_path: Path) -> None:
    with closing(Vault(tmp_path / "none.db", environ={})) as vault:
        keys = AdminKeys(vault)
        assert (keys.list(), keys.secret("anthropic", HERE)) == ((), None)
    assert not (tmp_path / "none.db").exists()
