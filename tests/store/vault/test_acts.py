"""What is done to keys is in the audit log, in the same transaction, without secrets."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_relay.core.keys.check_results import CheckResult
from claude_relay.store import audit
from claude_relay.store.audit import Actor, Entry
from claude_relay.store.vault import acts
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault, VaultError

pytestmark = pytest.mark.usefixtures("cheap_secrets")

SECRET = "sk-ant-api03-one-0123456789abcdef"
SECRETS = {"RELAY_SECRET": "correct horse battery staple, and more"}
ME = Actor("me", "cli", "here")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "relay.db", environ=SECRETS, actor=ME)


def entries(vault: Vault) -> list[Entry]:
    return audit.read(vault.path)[::-1]


def add(vault: Vault) -> str:
    return vault.add(NewKey("anthropic", SECRET, label="team a", tier="admin")).added[0].id


def test_a_new_key_is_told_without_its_secret(vault: Vault) -> None:
    add(vault)
    add_again = vault.add(NewKey("anthropic", SECRET))
    assert add_again.added == ()
    [entry] = entries(vault)
    assert (entry.who, entry.act, entry.kind, entry.subject) == ("me", "add", "key", "anthropic/v1")
    assert (entry.before, entry.after) == (None, {"mask": "sk-ant-…cdef", "label": "team a", "tier": "admin"})
    assert b"one-0123456789" not in vault.path.read_bytes()


CHANGES: dict[str, Callable[[Vault, str], object]] = {
    "disable": lambda vault, id: vault.disable([id, "nobody"]),
    "enable": lambda vault, id: vault.enable([id]),
    "edit": lambda vault, id: vault.edit([id], {"tier": "public", "label": "team a"}),
    "check": lambda vault, id: vault.record({id: CheckResult("revoked", reason="401")}),
    "prune": lambda vault, id: vault.prune([id], ["revoked"]),
    "restore": lambda vault, id: vault.restore([id]),
    "remove": lambda vault, id: vault.remove([id]),
    "erase": lambda vault, id: vault.erase([id]),
}


def test_each_act_has_its_line(vault: Vault) -> None:
    id = add(vault)
    for change in CHANGES.values():
        change(vault, id)
        change(vault, id)  # once more, which changes nothing
    found = entries(vault)[1:]
    assert [entry.act for entry in found] == [*CHANGES]
    assert {entry.subject for entry in found} == {"anthropic/v1"}
    assert [(entry.before, entry.after) for entry in found[:4]] == [
        ({"enabled": 1}, {"enabled": 0}),
        ({"enabled": 0}, {"enabled": 1}),
        ({"tier": "admin"}, {"tier": "public"}),
        ({"check_status": None}, {"check_status": "revoked"}),
    ]
    assert found[-1].after is None


def test_another_secret_is_an_act(vault: Vault) -> None:
    add(vault)
    vault.rotate_secret("file")
    assert [(entry.act, entry.kind, entry.after) for entry in entries(vault)[1:]] == [
        ("rotate-secret", "vault", {"keys": 1})
    ]


def test_a_relay_leaves_no_line(vault: Vault) -> None:
    id = add(vault)
    relay = Vault(vault.path, environ=SECRETS)
    relay.disable([id])
    relay.record({id: CheckResult("valid")})
    assert len(entries(vault)) == 1


def test_what_cannot_be_written_down_does_not_happen(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    id = add(vault)

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(acts, "write", full)
    with pytest.raises(VaultError):
        vault.disable([id])
    assert vault.list()[0].enabled
