"""All keys: of the vault, of relay.yaml, of the relays that run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.store.shared.all_keys import CONFIGURED, RUNNING, VAULT, Keyring
from claude_relay.store.shared.relays import RelayRow
from claude_relay.store.shared.remembered import Aliases
from claude_relay.store.vault.filtering import Filter
from claude_relay.store.vault.records import NewKey, mask
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")
OWN, OTHER, SEALED = (f"sk-ant-api03-{word}-0123456789abcdef" for word in ("own", "other", "sealed"))
YAML = (
    f"providers:\n  a: {{base_url: 'http://127.0.0.1:9', keys: ['{OWN}']}}\n  b: {{base_url: 'http://127.0.0.1:9'}}\n"
)


def relay(keys: list[tuple[str, str]]) -> RelayRow:
    pools = {"a": {"keys": [{"alias": alias, "mask": mask(key), "source": CONFIGURED} for alias, key in keys]}}
    return RelayRow("r", 1, "h", "1", "", "", 0, None, "", "{}", json.dumps(pools), "{}")


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "relay.db", environ={})
    vault.import_many([NewKey("b", SEALED, label="Team A", tier="admin", group="g")])
    return vault


def keyring(vault: Vault, *rows: RelayRow) -> Keyring:
    return Keyring(parse(YAML, environ={}), vault, rows, Aliases(vault.path))


def test_they_come_from_three_places(vault: Vault) -> None:
    found = keyring(vault, relay([("k1", OWN), ("k2", OTHER)])).every()
    assert [(key.name, key.source) for key in found] == [("b/v1", VAULT), ("a/k1", CONFIGURED), ("a/k2", RUNNING)]
    assert not any(secret in repr(found) for secret in (OWN, OTHER, SEALED))


def test_what_the_relay_has_counts_where_it_is_another_key(vault: Vault) -> None:
    found = keyring(vault, relay([("k1", OTHER.replace("cdef", "0000"))])).every()
    assert [(key.name, key.source) for key in found][1:] == [("a/k1", RUNNING)]


def test_secrets_of_both(vault: Vault) -> None:
    keys = keyring(vault)
    assert {key.secret for key in keys.secrets(keys.every()).values()} == {OWN, SEALED}


def test_one_goes_before_the_others_wherever_it_comes_from(vault: Vault) -> None:
    keys = keyring(vault, relay([("k1", OWN), ("k2", OTHER)]))
    sealed, own, elsewhere = keys.every()
    assert keys.choose("b", sealed)
    assert keys.choose("a", own)
    assert [key.chosen for key in keyring(vault).every()] == [True, True]
    with pytest.raises(ValueError, match="running relay alone"):
        keys.choose("a", elsewhere)
    vault.disable([sealed.id])
    with pytest.raises(ValueError, match="is disabled"):
        keys.choose("b", keyring(vault).every()[0])
    vault.erase([sealed.id])
    assert keys.choose("b", None) is False, "with the key its choice went"
    assert keys.choose("a", None)
    assert vault.chosen() == {}


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Filter(), True),
        (Filter(provider="b", group="g", tier="admin", search="team", status="unchecked"), True),
        (Filter(provider="a"), False),
        (Filter(group=""), False),
        (Filter(tier="public"), False),
        (Filter(status="disabled"), False),
        (Filter(search="team b"), False),
    ],
)
def test_filters(vault: Vault, wanted: Filter, fits: bool) -> None:
    assert wanted.fits(vault.list()[0], 0.0) is fits
