"""Requests that come before the relay has loaded what is stored: they wait for it, within reason."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.keys.pool import Pool, Pools
from claude_relay.core.keys.replication import collect
from claude_relay.proxy.lifecycle import opening
from claude_relay.store.shared.state import State
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import eventually

from . import steps
from .clients import H2Client, RawClient, messages_body
from .conftest import StartRelay
from .forked import Breeder, ForkedRelay
from .relay import ROOT, SCRIPT, Relay, RelayProcess, config, free_ports, provider, rows
from .upstream import FakeUpstream

OUT, GOOD = "sk-ant-api03-out", "sk-ant-api03-good"


@contextlib.contextmanager
def locked(database: Path) -> Iterator[Callable[[], None]]:
    """Nobody else can read or write the database until the function that comes out of this is called."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("CREATE TABLE IF NOT EXISTS of_the_test (a)")
        holder.execute("COMMIT")  # the lock stays
        yield holder.close


@pytest.fixture
def database(tmp_path: Path, new_ledger: Path) -> Path:
    """One whose vault has two keys; the first rests."""
    found = tmp_path / "relay.db"
    found.write_bytes(new_ledger.read_bytes())
    with contextlib.closing(Vault(found, environ=os.environ)) as vault:
        vault.import_many([NewKey("anthropic", OUT), NewKey("anthropic", GOOD)])
        pool = Pool("anthropic", vault.issue()["anthropic"])
    now = time.time()
    pool.cooldowns.extend(pool.keys[0].id, "", until=now + 600, now=now, reason="limit", stated=True, recheck=math.inf)
    with contextlib.closing(State(found)) as state:
        state.exchange(collect(Pools([pool]), None, now), now)
    return found


@pytest.fixture
def text(upstream: FakeUpstream) -> dict[str, Any]:
    """No key but those of the vault. Keys take turns, so a request that knows nothing of the rest goes to the first."""
    upstream.for_key(OUT, *[steps.status(429, "rate_limit_error", "slow", headers=[("retry-after", "600")])] * 9)
    return config(upstream.url, [])


def with_modes() -> dict[str, Any]:
    """As `scripts/relay` does it: mitmproxy listens before the relay runs."""
    ports = free_ports(2)
    return {"ports": tuple(ports), "settings": {"mode": modes_at(*ports)}}


def modes_at(proxy: int, base: int) -> list[str]:
    return [f"regular@127.0.0.1:{proxy}", f"reverse:http://api.anthropic.com:443@127.0.0.1:{base}"]


def test_early_requests_wait_and_are_decided_with_everything(
    start: StartRelay, database: Path, text: dict[str, Any], upstream: FakeUpstream, stack: contextlib.ExitStack
) -> None:
    """Over both listeners and both protocols. Without the vault they would be a 401, without its rests the first key's."""
    unlock = stack.enter_context(locked(database))
    relay = start(text, relay=with_modes())
    base = stack.enter_context(RawClient(relay.base_port))
    through = stack.enter_context(RawClient.through(relay.proxy_port, relay.ca_file))
    for client in (base, through):
        client.post()
    h2 = stack.enter_context(H2Client.through(relay.proxy_port, relay.ca_file))
    stream = h2.request(body=messages_body(stream=True))
    wait_for_waiting(relay, 3)
    assert base.quiet()
    assert through.quiet()
    assert not upstream.requests
    unlock()
    answers = [base.answer(), through.answer(), h2.answer(stream)]
    assert [(a.status, a.header("x-relay-attempts")) for a in answers] == [(200, "1")] * 3
    assert set(upstream.used_keys()) == {GOOD}
    relay.expected.append("ledger")


def test_a_tunnel_does_not_wait(
    start: StartRelay, database: Path, text: dict[str, Any], stack: contextlib.ExitStack
) -> None:
    stack.enter_context(locked(database))
    other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    relay = start(text, relay=with_modes())
    tunnel = stack.enter_context(socket.create_connection(("127.0.0.1", relay.proxy_port)))
    tunnel.sendall(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\n" % other.getsockname()[1])
    assert b" 200 " in tunnel.recv(1000)
    tunnel.sendall(b"\x00 no HTTP")
    there = stack.enter_context(contextlib.closing(other.accept()[0]))
    assert there.recv(100) == b"\x00 no HTTP"
    assert not addon_of(relay).opening.over


def test_a_client_that_leaves_early(
    start: StartRelay, database: Path, text: dict[str, Any], upstream: FakeUpstream, stack: contextlib.ExitStack
) -> None:
    """It is neither waited for nor asked for upstream."""
    unlock = stack.enter_context(locked(database))
    relay = start(text, relay=with_modes())
    with RawClient(relay.base_port) as client:
        client.post()
        wait_for_waiting(relay, 1)
    wait_for_waiting(relay, 0)
    relay.wait_until_clients_left()
    assert not addon_of(relay).opening.over
    unlock()
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
    assert len(upstream.requests) == len(rows(relay.database)) == 1


def test_the_wait_is_bounded(
    start: StartRelay,
    database: Path,
    text: dict[str, Any],
    upstream: FakeUpstream,
    stack: contextlib.ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then requests are decided with what there is; who has no key but those of the vault is told so, and to come again."""
    monkeypatch.setattr(opening, "PATIENCE", 0.3)
    stack.enter_context(locked(database))
    relay = start(text, relay=with_modes())
    client = stack.enter_context(RawClient(relay.base_port))
    answer = client.ask("POST", "/v1/messages", body=messages_body())
    assert (answer.status, answer.header("retry-after")) == (503, "5")
    found = json.loads(answer.body)
    assert found["type"] == "error"
    assert "cannot read its stored keys" in found["error"]["message"]
    assert client.ask("POST", "/v1/messages", body=messages_body(), key="sk-ant-of-mine").status == 200
    assert upstream.used_keys() == ["sk-ant-of-mine"]
    relay.wait_for_log("keys and cooldowns are not loaded after 0.3 s")


def test_keys_of_the_file_serve_when_the_vault_hangs(
    start: StartRelay,
    database: Path,
    upstream: FakeUpstream,
    stack: contextlib.ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "PATIENCE", 0.1)
    stack.enter_context(locked(database))
    providers = {"file": provider(upstream.url, ["sk-ant-of-the-file"]), "vault": provider(upstream.url)}
    routes = [{"match": {"model": "claude-haiku-*"}, "to": ["vault"]}, {"to": ["file"]}]
    relay = start(config(providers=providers, routes=routes), relay=with_modes())
    with RawClient(relay.base_port) as client:
        assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        answer = client.ask("POST", "/v1/messages", body=messages_body(model="claude-haiku-5"))
    assert (answer.status, answer.header("retry-after"), answer.header("x-should-retry")) == (503, "5", None)
    assert upstream.used_keys() == ["sk-ant-of-the-file"]


# -- as processes


@pytest.mark.parametrize("program", ["scripts/relay", "mitmdump", "mitmdump --mode", "mitmweb"])
def test_each_way_of_starting(
    tmp_path: Path, confdir: Path, database: Path, text: dict[str, Any], upstream: FakeUpstream, program: str
) -> None:
    """A request that is there as soon as the port is."""
    one = "from mitmproxy.tools.main import {0}; {0}()"
    command = {
        "scripts/relay": [sys.executable, str(ROOT / "scripts" / "lib" / "run.py"), "relay"],
        "mitmweb": [sys.executable, "-c", one.format("mitmweb"), "-s", str(SCRIPT)],
    }.get(program, [sys.executable, "-c", one.format("mitmdump"), "-s", str(SCRIPT)])
    relay = RelayProcess(tmp_path, confdir, text, command=command)
    relay.environ["RELAY_CONFIG"] = str(relay.config_file)
    if program == "mitmweb":
        relay.command += ["--no-web-open-browser", "--web-port", str(free_ports(1)[0])]
    if program.endswith("--mode"):
        for mode in modes_at(relay.proxy_port, relay.base_port):
            relay.command += ["--mode", mode]
    with relay, RawClient(relay.base_port) as client:
        answer = client.ask("POST", "/v1/messages", body=messages_body())
        assert (answer.status, answer.header("x-relay-attempts")) == (200, "1"), relay.output()
    assert upstream.used_keys() == [GOOD]


def test_a_relay_that_is_ended_while_it_starts(
    tmp_path: Path, confdir: Path, database: Path, text: dict[str, Any], upstream: FakeUpstream, breeder: Breeder
) -> None:
    """Who waits is answered, and the process ends."""
    with locked(database) as unlock, ForkedRelay(tmp_path, confdir, text, breeder) as relay:
        for mode in modes_at(relay.proxy_port, relay.base_port):
            relay.command += ["--mode", mode]
        relay.start()
        with RawClient(relay.base_port) as client:
            client.post()
            assert client.quiet()
            os.kill(relay.child, signal.SIGTERM)
            answer = client.answer()
            assert answer.status == 503
            assert "ending" in json.loads(answer.body)["error"]["message"]
        unlock()
        eventually(lambda: not Path("/proc", str(relay.child)).exists())
    assert not upstream.requests
    assert "Traceback" not in relay.output()


def wait_for_waiting(relay: Relay, count: int) -> None:
    """Until so many requests are held back."""
    eventually(lambda: relay.on_loop(lambda: len(addon_of(relay).opening._waiting)) == count, relay.log_text)


def addon_of(relay: Relay) -> Any:
    return relay.master.addons.get("claude_relay")
