"""Keys that go out through a proxy of the vault, by its name: a running relay follows each change, and says what went which way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from claude_relay.store.vault.named_proxies import Proxies
from claude_relay.store.vault.proxy_rows import NewProxy
from claude_relay.store.vault.vault import NewKey, Vault
from waiting import eventually

from .certs import Authority
from .clients import RawClient, messages_body
from .company import CompanyProxy
from .conftest import StartRelay
from .relay import Relay, config, provider, rows
from .socks import microsocks
from .upstream import FakeUpstream, refusing_port

SECRET = {"RELAY_SECRET": "a secret for tests"}
PASSWORD = "pa:ss/wörd"
QUICK = {"attempts": 2, "max_wait": "1s", "first_byte": "5s"}
MINE = "sk-ant-api03-the-clients-own"


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    with closing(Vault(tmp_path / "relay.db", environ=SECRET)) as found:
        yield found


def ask(relay: Relay) -> Any:
    with RawClient(relay.base_port) as client:
        return client.ask("POST", "/v1/messages", body=messages_body(), key=MINE)


def started(start: StartRelay, there: FakeUpstream, **more: Any) -> Relay:
    text = config(providers={"p": provider(there.url)}, retry=QUICK, **more)
    return start(text, relay={"environ": SECRET})


def ways(tmp_path: Path, table: str = "attempts") -> list[tuple[str | None, str | None]]:
    column = "verdict" if table == "attempts" else "finished"
    return [(row["proxy"], row[column]) for row in rows(tmp_path / "relay.db", table)]


def test_a_relay_follows_each_change(
    start: StartRelay, upstream: FakeUpstream, vault: Vault, stack: ExitStack, tmp_path: Path
) -> None:
    office = stack.enter_context(microsocks("me", PASSWORD))
    spare = stack.enter_context(CompanyProxy({f"127.0.0.1:{upstream.port}": upstream.port}, users={"you": PASSWORD}))
    proxies = Proxies(vault)
    proxies.add(NewProxy("office", office.url_for("me", PASSWORD)))
    [added] = vault.add(NewKey("p", "sk-key-one", proxy="office")).added
    relay = started(start, upstream)
    assert ask(relay).status == 200
    proxies.edit("office", {"url": spare.url_for("you")})
    eventually(lambda: ask(relay).status == 200 and bool(spare.requests))
    proxies.edit("office", {"url": f"socks5://me:wrong-one@127.0.0.1:{office.port}"})
    eventually(lambda: ask(relay).status == 502)
    assert upstream.used_keys() == ["sk-key-one"] * len(upstream.requests)
    vault.edit([added.id], {"proxy": "direct"})
    eventually(lambda: ask(relay).status == 200)
    assert {proxy for proxy, verdict in ways(tmp_path) if verdict == "ok"} == {"office", None}
    assert {proxy for proxy, _ in ways(tmp_path, "requests")} == {"office", "direct"}
    assert PASSWORD not in relay.log_text()
    assert "wrong-one" not in relay.log_text()


def test_a_dead_one_is_named(
    start: StartRelay, upstream: FakeUpstream, vault: Vault, stack: ExitStack, tmp_path: Path
) -> None:
    with microsocks("me", PASSWORD) as office:
        Proxies(vault).add(NewProxy("office", office.url_for("me", PASSWORD)))
        vault.add(NewKey("p", "sk-key-one", proxy="office"))
        relay = started(start, upstream)
        assert ask(relay).status == 200
    relay.wait_until_upstreams_left()
    answer = ask(relay)
    said = str(answer.json()["error"]["message"])
    assert answer.status == 502
    assert f"through {office.url} (office)" in said
    assert ("office", "proxy_failed") in ways(tmp_path)
    assert ways(tmp_path, "requests")[-1] == ("office", "error")
    assert len(upstream.requests) == 1
    assert PASSWORD not in said + relay.log_text()


def test_one_that_may_be_done_without(
    start: StartRelay, upstream: FakeUpstream, vault: Vault, stack: ExitStack, tmp_path: Path
) -> None:
    port = stack.enter_context(refusing_port())
    Proxies(vault).add(NewProxy("office", f"http://127.0.0.1:{port}", direct=True, timeout=1.0))
    vault.add(NewKey("p", "sk-key-one", proxy="office"))
    assert ask(started(start, upstream)).status == 200
    assert ways(tmp_path, "requests") == [("direct, not office", "complete")]


def test_relay_yaml_comes_first(
    start: StartRelay, upstream: FakeUpstream, vault: Vault, stack: ExitStack, tmp_path: Path
) -> None:
    good, port = stack.enter_context(microsocks()), stack.enter_context(refusing_port())
    Proxies(vault).add(NewProxy("office", f"http://127.0.0.1:{port}"))
    vault.add(NewKey("p", "sk-key-one", proxy="office"))
    assert ask(started(start, upstream, proxies={"office": {"url": good.url}})).status == 200


def test_an_https_proxy_of_the_companys_authority(
    start: StartRelay, upstream: FakeUpstream, vault: Vault, stack: ExitStack, tmp_path: Path
) -> None:
    """Which `upstream.ca` names, for what keys have of their own, too."""
    company = Authority(tmp_path / "company")
    proxy = stack.enter_context(
        CompanyProxy({f"127.0.0.1:{upstream.port}": upstream.port}, context=company.server_context())
    )
    Proxies(vault).add(NewProxy("office", proxy.url))
    vault.import_many([NewKey("p", "sk-key-one", proxy="office"), NewKey("p", "sk-key-two", proxy=proxy.url)])
    relay = started(start, upstream, upstream={"ca": str(company.ca_file)})
    assert [ask(relay).status for _ in range(4)] == [200] * 4
    assert len(set(upstream.used_keys())) == 2
