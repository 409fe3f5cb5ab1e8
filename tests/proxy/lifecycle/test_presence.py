"""A relay's row in the database, as commands in other terminals read it: no secret is in it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.proxy.mode_specs import ProxyMode

from claude_relay.core.config import Address, parse
from claude_relay.proxy.common.clock import NOW
from claude_relay.proxy.lifecycle.presence import Presence, version
from claude_relay.proxy.running.runtime import Runtime
from claude_relay.store.shared.relays import running
from proxy.stage import mitmproxy_with

TEXT = """
listen: {proxy: '127.0.0.1:8080', base_url: '127.0.0.1:8082'}
providers:
  anthropic: {preset: anthropic, keys: [sk-ant-api03-first-0123456789, sk-ant-api03-second-0123456789]}
  other: {base_url: 'https://h.example', empty_pool: passthrough}
routes: [{to: [anthropic, other]}]
"""


def served(mode: str, *addresses: tuple[str, int]) -> Any:
    return SimpleNamespace(mode=ProxyMode.parse(mode), listen_addrs=addresses)


PROXYSERVER = SimpleNamespace(
    name="proxyserver",
    servers=[
        served("regular", ("127.0.0.1", 8080)),
        served("reverse:https://api.anthropic.com", ("127.0.0.1", 9999)),
        served("socks5", ("127.0.0.1", 1080)),
    ],
)
STATUS: Any = SimpleNamespace(port=8084, address=Address("127.0.0.1", 8084))


def reported(folder: Path, times: int = 1) -> Any:
    """The row of a relay that runs, and the presence after it has ended."""
    runtime = Runtime.of(parse(TEXT, environ={}), environ={})
    pool = runtime.pools["anthropic"]
    pool.cooldowns.extend(
        pool.keys[1].id, "", until=NOW() + 600, now=NOW(), reason="limit \udce9", stated=True, recheck=math.inf
    )
    presence = Presence(folder / "relay.db", lambda: runtime, lambda: folder / "relay.yaml", [STATUS])

    async def main() -> Any:
        with mitmproxy_with(PROXYSERVER) as context:
            context.options.update(confdir=str(folder))
            for _ in range(times):
                await presence.report()
            found = running(folder / "relay.db", time.time())
            await asyncio.to_thread(presence.close)
            return found

    return asyncio.run(main()), presence


def test_a_row_while_it_runs_and_none_afterwards(tmp_path: Path) -> None:
    (row,), _ = reported(tmp_path, times=2)
    assert (row.pid, row.config, row.confdir) == (os.getpid(), str(tmp_path / "relay.yaml"), str(tmp_path))
    assert (row.version, row.in_flight) == (version(), 0)
    assert json.loads(row.listeners) == {
        "proxy": "127.0.0.1:8080",
        "base_url": "127.0.0.1:9999",
        "status": "127.0.0.1:8084",
    }
    assert running(tmp_path / "relay.db", time.time()) == ()


def test_keys_by_their_aliases_and_masks(tmp_path: Path) -> None:
    (row,), _ = reported(tmp_path)
    first, second = row.keys()["anthropic"]
    assert (first["alias"], first["source"], second["state"], second["reason"]) == (
        "k1",
        "relay.yaml",
        "cooldown",
        "limit ?",
    )
    assert "0123456789" not in row.pools + row.load
    assert json.loads(row.pools)["other"] == {"count": 0, "keys": [], "own": True}


def test_a_database_that_cannot_be_written_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "relay.db").write_bytes(b"no database at all, whoever reads it" * 100)
    with pytest.raises(Exception, match=r"relay\.db"):
        reported(tmp_path, times=3)
    assert caplog.text.count("other terminals cannot see that this relay runs") == 1


def test_when_it_can_be_written_again_that_is_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reported(tmp_path)
    runtime = Runtime.of(parse(TEXT, environ={}), environ={})
    presence = Presence(tmp_path / "relay.db", lambda: runtime, lambda: None)

    async def main() -> None:
        with mitmproxy_with(PROXYSERVER):
            with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as holder:
                holder.execute("BEGIN EXCLUSIVE")
                await presence.report()
                holder.execute("ROLLBACK")
            await presence.report()
            await asyncio.to_thread(presence.close)

    asyncio.run(main())
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "other terminals cannot see that this relay runs",
        "other terminals can see again that this relay runs",
    ]
