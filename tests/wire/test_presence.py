"""The relay's row in the table of running relays, while requests run; and real SDKs in the environment that `scripts/env` makes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anthropic
import pytest
from click.testing import CliRunner

from claude_relay.cli.env import env
from claude_relay.core.exchange import Key
from claude_relay.proxy.lifecycle.presence import PIECE, Presence
from claude_relay.store.shared.relays import RelayRow, running
from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import ROOT, Relay
from .upstream import FakeUpstream, Signal

RUN = ROOT / "scripts" / "lib" / "run.py"
KEYS = ["sk-ant-api03-pool-secret-number-1", "sk-ant-api03-pool-secret-number-2"]


def wait_for(relay: Relay, good: Callable[[RelayRow], bool]) -> RelayRow:
    """The relay's row as soon as it says so; it is written once a second."""
    (row,) = eventually(lambda: [row for row in running(relay.database, time.time())[:1] if good(row)])
    return row


def loads(row: RelayRow) -> dict[str, dict[str, object]]:
    return {key["alias"]: key for key in row.keys()["anthropic"]}


def test_what_runs_and_what_is_in_cooldown_is_reported(
    start: StartRelay, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    relay, go = start(keys=KEYS), Signal()
    limited = steps.status(429, "rate_limit_error", "slow \ud800 down", headers=[("retry-after", "3000")])
    events = claude.events()
    upstream.script(limited, steps.stream([*events[:4], go, *events[4:]]))
    client = base_client(relay)
    client.post(stream=True)
    row = wait_for(relay, lambda row: row.in_flight == 1 and loads(row)["k2"]["in_flight"] == 1)
    told = loads(row)
    assert (told["k1"]["state"], told["k2"]["state"]) == ("cooldown", "ready")
    assert (told["k1"]["in_flight"], told["k1"]["used"], told["k2"]["used"]) == (0, 1, 1)
    assert str(told["k1"]["until"]).endswith("Z")
    assert "429" in str(told["k1"]["reason"])
    assert not [key for key in KEYS if key in str(row)]
    go.set()
    assert client.answer().status == 200
    assert loads(wait_for(relay, lambda row: row.in_flight == 0))["k2"]["in_flight"] == 0


def test_a_database_that_cannot_be_written_concerns_no_request_and_is_said_once(
    start: StartRelay, base_client: Callable[[Relay], RawClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_relay.proxy.lifecycle.presence.INTERVAL", 0.02)
    relay = start(keys=KEYS, ledger={"durability": "relaxed"})
    wait_for(relay, lambda row: True)
    with contextlib.closing(sqlite3.connect(relay.database, isolation_level=None)) as other:
        other.execute("DROP TABLE relays")
        relay.wait_for_log("other terminals cannot see that this relay runs")
        for _ in range(3):
            assert base_client(relay).ask("POST", "/v1/messages", body=messages_body()).status == 200
        other.execute("DELETE FROM _sqlite_migrations WHERE name = 'create_relays'")
    relay.wait_for_log("other terminals can see again that this relay runs")
    assert relay.log_text().count("other terminals cannot see") == 1
    wait_for(relay, lambda row: True)


def test_a_thousand_keys_are_told_in_small_pieces(start: StartRelay) -> None:
    """The event loop has its turn in between, whatever the keys do."""
    relay = start(keys=[f"sk-ant-api03-key-of-a-thousand-{n:04}" for n in range(1000)])
    wait_for(relay, lambda row: len(row.keys()["anthropic"]) == 1000)

    async def look() -> tuple[int, list[float]]:
        addon = relay.master.addons.get("claude_relay")
        pool = addon.runtime.pools["anthropic"]
        for n, key in enumerate(pool.keys):
            pool.started(key, "m", 0.0)
            if n % 2:
                pool.cooldowns.extend(key.id, "", until=time.time() + 900, now=time.time(), reason="x", stated=True)
        presence: Presence = addon.presence
        pieces, turn = [], time.perf_counter()
        task = asyncio.ensure_future(presence.look())
        while not task.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            pieces.append(now - turn)
            turn = now
        sight = task.result()
        for key in pool.keys:
            pool.finished(key)
        return len(sight.pools["anthropic"].notable), pieces

    count, pieces = asyncio.run_coroutine_threadsafe(look(), relay.loop).result(PATIENCE)
    assert count == 1000
    assert len(pieces) > 3
    assert sorted(pieces)[len(pieces) // 2] < 10 * PIECE  # most, as the machine may do something else meanwhile


def test_a_pool_that_changes_while_it_is_looked_at(start: StartRelay) -> None:
    relay = start(keys=KEYS)

    async def look() -> int:
        addon = relay.master.addons.get("claude_relay")
        pool = addon.runtime.pools["anthropic"]
        for key in pool.keys:
            pool.started(key, "m", 0.0)
        found = pool.notable(time.time())
        next(found)
        before = pool.keys
        pool.replace([Key("anthropic", "v1", "another-secret", "another")])
        rest = list(found)
        pool.replace(before)
        return len(rest)

    assert asyncio.run_coroutine_threadsafe(look(), relay.loop).result(PATIENCE) <= 1


@pytest.mark.parametrize("way", [(), ("--base-url",)])
@pytest.mark.parametrize("empty", [{}, {"ANTHROPIC_API_KEY": ""}])
def test_the_python_sdk_needs_the_token_alone(
    start: StartRelay,
    upstream: FakeUpstream,
    way: tuple[str, ...],
    empty: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = start(keys=KEYS)
    wait_for(relay, lambda row: True)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEYS", "RELAY_ENV", *way):
        monkeypatch.delenv(name, raising=False)
    for name, value in empty.items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(env, [*way, "--config", str(relay.config_file)])
    assert (told.exit_code, told.stderr) == (0, "")
    for line in told.stdout.splitlines():
        (assigned,) = shlex.split(line.removeprefix("export "))
        monkeypatch.setenv(*assigned.split("=", 1))
    with anthropic.Anthropic(max_retries=0) as client:
        message = client.messages.create(model=claude.MODEL, max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    assert message.content[0].text == "Hello!"
    (asked,) = upstream.requests
    assert upstream.used_keys() == KEYS[:1]
    assert "placeholder" not in str(asked.headers)


def test_a_relay_without_keys_hides_nobodys_login(start: StartRelay) -> None:
    relay = start(keys=[])
    wait_for(relay, lambda row: True)
    environ = {"PATH": os.environ["PATH"], "HOME": str(relay.folder), "RELAY_CONFIG": str(relay.config_file)}
    # This terminal has keys, but they are none of the relay's.
    words = [sys.executable, str(RUN), "env", "--base-url"]
    done = subprocess.run(words, env=environ | {"ANTHROPIC_API_KEYS": "k"}, capture_output=True, text=True, check=True)
    assert "ANTHROPIC_AUTH_TOKEN" not in done.stdout
    assert done.stderr == ""


def test_the_row_names_the_folder_of_the_ca(start: StartRelay, confdir: Path) -> None:
    assert wait_for(start(keys=KEYS), lambda row: True).confdir == str(confdir)
