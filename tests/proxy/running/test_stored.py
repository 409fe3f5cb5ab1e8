"""What a relay shares with its database: keys of the vault, cooldowns, resources; and a database that cannot be used."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Key
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")
LONG = "sk-ant-api03-a-key-of-the-file-that-is-long-enough-0123456789"


class One:
    """A relay, as far as the database is concerned."""

    def __init__(self, database: Path, keys: list[str], **more: str) -> None:
        text = json.dumps({"providers": {"anthropic": {"preset": "anthropic", "keys": keys, **more}}})
        self.runtime = Runtime.of(parse(text, environ={}), environ={})
        self.stored = Stored(database, {}, lambda: self.runtime, self.issue, lambda names: self.rename(names))

    def issue(self, issued: Any) -> None:
        self.runtime.issue(issued, dict(self.stored.names) or None)

    def rename(self, names: Any) -> None:
        self.runtime.issue({}, names)

    def keys(self) -> dict[str, Key]:
        return {key.alias: key for key in self.runtime.pools["anthropic"].keys}

    def cool_down(self, alias: str, seconds: float = 600.0) -> None:
        self.runtime.pools["anthropic"].cooldowns.extend(
            self.keys()[alias].id, "", until=NOW() + seconds, now=NOW(), reason="limit", stated=True, recheck=math.inf
        )

    def states(self) -> dict[str, str]:
        return {state.alias: state.status for state in self.runtime.pools["anthropic"].state(NOW()).keys}


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)


def on(*relays: One, do: Callable[[], Awaitable[None]]) -> None:
    """Do something on an event loop, then close them."""

    async def main() -> None:
        try:
            await do()
        finally:
            for one in relays:
                await asyncio.to_thread(one.stored.close)

    asyncio.run(main())


def test_keys_of_the_vault_are_lent_as_soon_as_they_are_there(tmp_path: Path) -> None:
    one = One(tmp_path / "relay.db", [LONG])

    async def do() -> None:
        await one.stored.look()
        assert list(one.keys()) == ["k1"]
        vault = Vault(tmp_path / "relay.db", environ={})
        await asyncio.to_thread(vault.add, NewKey("anthropic", "sk-ant-api03-of-the-vault-0123456789"))
        await asyncio.to_thread(vault.close)
        await one.stored.look()
        assert list(one.keys()) == ["k1", "v1"]
        assert one.stored.keys_unread is None

    on(one, do=do)


def test_a_cooldown_of_one_is_known_to_the_other_and_over_a_restart(tmp_path: Path) -> None:
    one, two = (One(tmp_path / "relay.db", [LONG]) for _ in range(2))

    async def do() -> None:
        await one.stored.look()
        await two.stored.look()
        one.cool_down("k1")
        await one.stored.look()
        assert two.states() == {"k1": "ready"}
        await two.stored.look()
        assert two.states() == {"k1": "cooldown"}

    on(one, two, do=do)
    three = One(tmp_path / "relay.db", [LONG])
    on(three, do=three.stored.look)
    assert three.states() == {"k1": "cooldown"}


def test_the_last_word_of_a_relay_is_stored(tmp_path: Path) -> None:
    one = One(tmp_path / "relay.db", [LONG])

    async def do() -> None:
        await one.stored.look()
        one.cool_down("k1")

    on(one, do=do)
    two = One(tmp_path / "relay.db", [LONG])
    on(two, do=two.stored.look)
    assert two.states() == {"k1": "cooldown"}


def test_who_has_made_something(tmp_path: Path) -> None:
    one = One(tmp_path / "relay.db", [LONG])

    async def do() -> None:
        stored = one.stored
        await stored.look()
        assert stored.has_resources is False
        key = one.keys()["k1"]
        await stored.remember(["file_1"], "anthropic", key.id)
        assert stored.has_resources is True
        owner = await stored.owner(["file_0", "file_1"])
        assert owner is not None
        assert (owner.provider, owner.key_id) == ("anthropic", key.id)
        assert await stored.owner(["file_0"]) is None
        assert [await stored.first_results("batch_1") for _ in range(2)] == [True, False]
        await stored.remember_calls({"call_1": "memory"})
        assert await stored.recall(["call_1", "call_2"]) == {"call_1": "memory"}

    on(one, do=do)


def test_a_database_that_cannot_be_used_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "relay.db").write_bytes(b"this is no database, as everybody can see" * 100)
    one = One(tmp_path / "relay.db", [], empty_pool="reject")

    async def do() -> None:
        for _ in range(3):
            await one.stored.look()
        assert await one.stored.first_results("batch_1") is True
        assert await one.stored.recall(["call_1"]) == {}
        assert "the stored keys cannot be read" in one.stored.without_keys()

    on(one, do=do)
    assert caplog.text.count("stored keys cannot be used") == 1
