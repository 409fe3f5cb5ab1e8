"""What answers say of windows: written down, and heard by other relays. On the wire: tests/wire/test_accounts."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_relay.core.config import parse
from claude_relay.core.exchange import Key
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.proxy.running.stored import Stored
from claude_relay.proxy.running.windows import Windows
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault

pytestmark = pytest.mark.usefixtures("cheap_secrets")
UNIFIED = "anthropic-ratelimit-unified"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)


class One:
    def __init__(self, path: Path) -> None:
        text = {"providers": {"anthropic": {"base_url": "http://127.0.0.1:9"}}}
        self.runtime = Runtime.of(parse(json.dumps(text), environ={}), environ={})
        self.stored = Stored(path, {}, lambda: self.runtime, self.runtime.issue)
        self.windows = Windows(self.stored, lambda: self.runtime)

    async def turn(self) -> None:
        await self.stored.take_keys()
        await self.windows.turn()

    @property
    def keys(self) -> tuple[Key, ...]:
        return self.runtime.pools["anthropic"].keys

    def headroom(self, model: str = "claude-sonnet-5") -> list[float]:
        pool = self.runtime.pools["anthropic"]
        pool.choose(model, time.time())
        return [round(pool.headroom(key), 3) for key in pool.keys]

    def close(self) -> None:
        self.windows.close()
        self.stored.thread.shutdown()
        self.stored.vault.close()


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[One, One]]:
    path = tmp_path / "relay.db"
    vault = Vault(path, environ={})
    vault.import_many([NewKey("anthropic", f"sk-ant-api03-{n}-0123456789") for n in (1, 2)])
    vault.close()
    found = One(path), One(path)
    yield found
    for one in found:
        one.close()


def said(**used: float) -> dict[str, str]:
    reset = str(int(time.time()) + 3600)
    fields = {f"{UNIFIED}-status": "allowed"}
    for name, share in used.items():
        fields |= {
            f"{UNIFIED}-{name.lstrip('w')}-utilization": str(share),
            f"{UNIFIED}-{name.lstrip('w')}-reset": reset,
        }
    return fields


def test_another_relay_knows_what_is_left(two: tuple[One, One]) -> None:
    one, other = two

    async def run() -> None:
        for relay in two:
            await relay.turn()
        assert other.headroom() == [1.0, 1.0]
        one.windows.saw(one.keys[0], said(w5h=0.75, w7d=0.5))
        await one.turn()
        await other.turn()

    asyncio.run(run())
    assert other.headroom() == [0.25, 1.0]


def test_who_comes_later_knows_it_too(two: tuple[One, One]) -> None:
    one, later = two

    async def run() -> None:
        await one.turn()
        one.windows.saw(one.keys[1], said(w5h=0.9))
        await one.turn()
        await later.turn()

    asyncio.run(run())
    assert later.headroom() == [1.0, 0.1]


def test_other_answers_are_not_kept(two: tuple[One, One]) -> None:
    one, _ = two
    asyncio.run(one.turn())
    one.windows.saw(one.keys[0], {"anthropic-ratelimit-requests-remaining": "5"})
    one.windows.saw(None, said(w5h=0.5))
    assert one.windows.latest == {}


def test_a_window_of_a_family_counts_for_its_requests(two: tuple[One, One]) -> None:
    one, _ = two
    asyncio.run(one.turn())
    pool = one.runtime.pools["anthropic"]
    pool.started(pool.keys[0], "claude-opus-5", time.time())
    pool.answered(pool.keys[0])
    pool.succeeded(pool.keys[0], "claude-opus-5", said(w5h=0.25, w7d_opus=0.95), time.time())
    assert one.headroom("claude-opus-5")[0] == pytest.approx(0.05, abs=0.01)
    assert one.headroom("claude-sonnet-5")[0] == pytest.approx(0.75, abs=0.01)
