"""The vault of one database in another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from claude_relay.store.vault.copying import copy_vault
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault


def keys(path: Path, environ: dict[str, str]) -> list[str]:
    return [key.secret for group in Vault(path, environ=environ).issue().values() for key in group]


@pytest.mark.parametrize("environ", [{}, {"RELAY_SECRET": "a-secret-of-sixteen-or-more"}], ids=["file", "environment"])
def test_keys_can_be_issued_from_the_copy(tmp_path: Path, environ: dict[str, str]) -> None:
    source, target = tmp_path / "one.db", tmp_path / "other.db"
    vault = Vault(source, environ=environ)
    vault.add(NewKey("anthropic", "sk-ant-api03-first"))
    vault.add(NewKey("glm", "secret-second"))
    copy_vault(source, target)
    assert keys(target, environ) == keys(source, environ) == ["sk-ant-api03-first", "secret-second"]
    assert b"sk-ant-api03-first" not in target.read_bytes()
    secret = Path(f"{target}.secret")
    assert secret.exists() is not bool(environ)
    assert not secret.exists() or stat.S_IMODE(secret.stat().st_mode) == 0o600
    Vault(target, environ=environ).add(NewKey("glm", "secret-third"))
    assert len(keys(source, environ)) == 2


def test_without_a_vault_there_is_an_empty_one(tmp_path: Path) -> None:
    copy_vault(tmp_path / "nowhere.db", tmp_path / "other.db")
    assert keys(tmp_path / "other.db", {}) == []
    assert not (tmp_path / "nowhere.db").exists()
