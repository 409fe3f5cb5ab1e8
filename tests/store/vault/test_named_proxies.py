"""Outbound proxies of the vault: added, looked at, changed, removed; sealed, and issued with the keys that refer to them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.config import OutboundProxy
from claude_relay.store.audit import Actor, read
from claude_relay.store.db.database import ChangedMeanwhile
from claude_relay.store.vault.copying import copy_vault
from claude_relay.store.vault.lock import SecretMissing
from claude_relay.store.vault.named_proxies import InUse, Proxies
from claude_relay.store.vault.proxy_rows import NewProxy
from claude_relay.store.vault.vault import NewKey, Vault, VaultError

URL = "socks5://me:hunter2@proxy.example:1080"
SECRET = {"RELAY_SECRET": "a secret for tests"}
OFFICE = OutboundProxy("socks5", "proxy.example", 1080, "me", "hunter2", name="office", or_direct=True, timeout=5.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def vault(path: Path):
    with closing(Vault(path, environ=SECRET, actor=Actor("alice", "cli"))) as found:
        yield found


def key(vault: Vault) -> object:
    [[found]] = vault.issue().values()
    return found.proxy


def test_a_key_gets_the_proxy_that_it_refers_to(vault: Vault) -> None:
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", URL, direct=True, timeout=5.0, notes="of the office"))
    vault.add(NewKey("p", "sk-key-1", proxy="office"))
    assert key(vault) == OFFICE
    [stored] = proxies.list()
    assert (stored.address, stored.signed_in, stored.direct, stored.timeout) == (
        "socks5://proxy.example:1080",
        True,
        True,
        5.0,
    )
    assert "hunter2" not in repr(stored) + repr(OFFICE) + repr(NewProxy("office", URL))


def test_a_name_that_nobody_knows_stays_one(vault: Vault) -> None:
    vault.add(NewKey("p", "sk-key-1", proxy="office"))
    assert key(vault) == "office"


def test_whoever_issues_keys_hears_of_it(vault: Vault) -> None:
    vault.add(NewKey("p", "sk-key-1", proxy="office"))
    seen, proxies = [vault.changed()], Proxies(vault)
    proxies.add(NewProxy("office", URL))
    seen.append(vault.changed())
    proxies.edit("office", {"url": "http://other.example:3128"})
    seen.append(vault.changed())
    assert key(vault) == OutboundProxy("http", "other.example", 3128, name="office")
    proxies.edit("office", {"notes": "nothing that a relay needs"})
    assert vault.changed() == seen[-1]
    proxies.remove("office", in_use=True)
    seen.append(vault.changed())
    assert len(set(seen)) == 4
    assert key(vault) == "office"


def test_an_edit_leaves_what_is_not_said(vault: Vault) -> None:
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", URL, direct=True))
    changed = proxies.edit("office", {"timeout": 2.0})
    assert changed is not None
    assert (changed.signed_in, changed.direct, changed.timeout) == (True, True, 2.0)
    assert proxies.opened()[0]["office"].password == "hunter2"
    assert proxies.edit("lost", {"timeout": 2.0}) is None
    with pytest.raises(ChangedMeanwhile):
        proxies.edit("office", {"timeout": 3.0}, seen="2026-01-01T00:00:00.000Z")


def test_the_audit_log_has_no_password(vault: Vault, path: Path) -> None:
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", URL))
    proxies.edit("office", {"url": URL.replace("hunter2", "hunter3")})
    proxies.edit("office", {"direct": True})
    proxies.remove("office")
    entries = read(path, kind="proxy", subject="office")
    assert [entry.act for entry in entries] == ["remove", "edit", "edit", "add"]
    assert entries[2].after == {"url": "another one"}
    assert entries[1].after == {"direct": True}
    assert "hunter" not in repr(entries)


def test_the_file_has_no_password(vault: Vault, path: Path) -> None:
    Proxies(vault).add(NewProxy("office", URL))
    assert not any(b"hunter2" in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize(
    ("name", "url", "more"),
    [
        ("direct", URL, {}),
        ("two words", URL, {}),
        ("office", "socks4://me:hunter2@h:1", {}),
        ("office", "office", {}),
        ("office", "http://me:hunter2@h:1/path", {}),
        ("office", URL, {"timeout": 0.0}),
        ("office", URL, {"timeout": 301.0}),
        ("office", URL, {"notes": "it is hunter2"}),
        ("office", "http://h:1" + "1" * 2000, {}),
    ],
)
def test_what_is_none(name: str, url: str, more: dict) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its words are for people
        NewProxy(name, url, **more)
    assert "hunter2" not in str(caught.value)


def test_a_name_is_taken_once(vault: Vault) -> None:
    Proxies(vault).add(NewProxy("office", URL))
    with pytest.raises(ValueError, match="office in the vault already"):
        Proxies(vault).add(NewProxy("office", URL))


def test_one_that_keys_refer_to_stays(vault: Vault) -> None:
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", URL))
    [added] = vault.add(NewKey("p", "sk-key-1", proxy="office")).added
    with pytest.raises(InUse, match="p/v1"):
        proxies.remove("office")
    vault.remove([added.id])
    assert proxies.remove("office")
    assert not proxies.remove("office")


def test_another_secret_opens_them_as_before(vault: Vault, path: Path) -> None:
    Proxies(vault).add(NewProxy("office", URL, direct=True, timeout=5.0))
    vault.rotate_secret("file")
    with closing(Vault(path, environ={})) as again:
        assert Proxies(again).opened() == ({"office": OFFICE}, ())


def test_a_vault_with_a_proxy_gets_no_new_lock(vault: Vault, path: Path) -> None:
    """Else a secret that is not set in this shell would cost its URL."""
    Proxies(vault).add(NewProxy("office", URL))
    with closing(Vault(path, environ={})) as elsewhere:
        with pytest.raises(SecretMissing):
            elsewhere.add(NewKey("p", "sk-key-1"))
        assert Proxies(elsewhere).remove("office")  # which needs none
        elsewhere.add(NewKey("p", "sk-key-1"))


def test_one_that_was_tampered_with_is_left_out(vault: Vault, path: Path) -> None:
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", URL))
    proxies.add(NewProxy("spare", URL))
    vault.add(NewKey("p", "sk-key-1", proxy="office"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE proxies SET url = (SELECT url FROM proxies WHERE name = 'spare') WHERE name = 'office'"
        )
    assert key(vault) == "office"
    assert vault.damaged == vault.inspect().damaged == ("proxy office",)
    with pytest.raises(VaultError, match="proxies remove"):
        vault.rotate_secret()


def test_they_go_along_with_a_copy(vault: Vault, path: Path, tmp_path: Path) -> None:
    Proxies(vault).add(NewProxy("office", URL, direct=True, timeout=5.0))
    (tmp_path / "copy").mkdir()
    copy_vault(path, tmp_path / "copy" / "relay.db")
    with closing(Vault(tmp_path / "copy" / "relay.db", environ=SECRET)) as copy:
        assert Proxies(copy).opened()[0] == {"office": OFFICE}
