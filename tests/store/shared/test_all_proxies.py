"""Outbound proxies of relay.yaml and of the vault, and who goes out through each."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.core.oauth.grants import Tokens
from claude_relay.store.shared.all_proxies import AllProxies
from claude_relay.store.vault.accounts import Accounts
from claude_relay.store.vault.named_proxies import Proxies
from claude_relay.store.vault.proxy_rows import NewProxy
from claude_relay.store.vault.vault import NewKey, Vault

URL = "socks5://me:hunter2@{}:1080"


@pytest.fixture
def known(tmp_path: Path):
    text = {
        "providers": {"p": {"base_url": "http://p.example", "proxy": "office"}, "q": {"base_url": "http://q.example"}},
        "proxies": {"office": {"url": URL.format("office.example")}, "twice": {"url": "http://mine.example:3128"}},
    }
    with closing(Vault(tmp_path / "relay.db", environ={"RELAY_SECRET": "a secret for tests"})) as vault:
        for name in ("twice", "spare"):
            Proxies(vault).add(NewProxy(name, URL.format("vault.example")))
        new = {"v1": "spare", "v2": "twice", "v3": "lost", "v4": "http://own.example:1", "v5": "direct"}
        vault.import_many([NewKey("q", f"sk-key-{n}", proxy=way) for n, way in enumerate(new.values())])
        Accounts(vault).add("p", Tokens("at-1234567890", "rt-1", None, ()), 1.0, {"proxy": "spare"})
        yield AllProxies(parse(json.dumps(text), environ={}, folder=tmp_path), vault)


def test_who_goes_out_through_which(known: AllProxies) -> None:
    found = {(one.name, one.source): one for one in known.every()}
    assert list(found) == [
        ("office", "relay.yaml"),
        ("spare", "vault"),
        ("twice", "relay.yaml"),
        ("twice", "vault"),
    ]
    assert found["office", "relay.yaml"].providers == ("p",)
    assert (found["spare", "vault"].keys, found["spare", "vault"].accounts) == (("q/v1",), ("p/v1",))
    assert found["twice", "relay.yaml"].users == ("q/v2",)
    assert (found["twice", "vault"].shadowed, found["twice", "vault"].users) == (True, ())
    assert "hunter2" not in repr(found)
    assert known.elsewhere() == {"lost": ["q/v3"], "http://own.example:1": ["q/v4"]}


def test_relay_yaml_comes_first(known: AllProxies) -> None:
    opened = known.opened()
    assert {name: str(one) for name, one in opened.items()} == {
        "office": "socks5://office.example:1080",
        "twice": "http://mine.example:3128",
        "spare": "socks5://vault.example:1080",
    }
    found = known.find("twice")
    assert found is not None
    assert found.source == "relay.yaml"


def test_where_one_is_tried_to(known: AllProxies) -> None:
    targets = {one.name: known.target(one).base_url for one in known.every() if not one.shadowed}
    assert targets == {"office": "http://p.example", "spare": "http://p.example", "twice": "http://q.example"}


def test_what_a_key_may_have(known: AllProxies) -> None:
    for said in ("office", "spare", "direct", "http://h:1", None, ""):
        known.check({"proxy": said})
    known.check({})
    with pytest.raises(ValueError, match="spare"):
        known.check({"proxy": "spar"})
