"""mitmproxy loads a script again when its file changes: the relay lives through that, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mitmproxy.addons import script as mitmproxy_script

from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import PATIENCE, eventually

from . import claude, steps
from .clients import RawClient, messages_body
from .conftest import StartRelay
from .relay import SCRIPT, Relay, config, free_ports, rows
from .upstream import FakeUpstream, Signal

KEYS = [f"sk-ant-api03-secret-{i}" for i in range(1, 4)]
EARLY, LATE = claude.events()[:4], claude.events()[4:]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of addon/relay.py that mitmproxy looks at more often."""
    monkeypatch.setattr(mitmproxy_script, "ReloadInterval", 0.02)
    found = tmp_path / "script.py"
    found.write_text(SCRIPT.read_text())
    return found


def touch(relay: Relay, text: str | None = None) -> None:
    """Change the script and wait until mitmproxy has loaded it."""
    seen = relay.log_text().count("Loading script")
    if text is not None:
        relay.script.write_text(text)
    later = relay.script.stat().st_mtime_ns + 1_000_000_000
    os.utime(relay.script, ns=(later, later))
    relay.wait_for_log("Loading script", seen + 1)
    relay.on_loop(lambda: None)  # what mitmproxy does in one go is done


def ask(client: RawClient) -> Any:
    return client.ask("POST", "/v1/messages", body=messages_body())


def counted(port: int) -> str:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()


def what_runs(relay: Relay) -> tuple[Counter[str], Counter[str], int]:
    """Tasks that stay, threads, and handlers and filters of the log."""
    root, proxy = logging.getLogger(), logging.getLogger("mitmproxy.addons.proxyserver")
    tasks = relay.on_loop(lambda: [t.get_name() for t in asyncio.all_tasks(relay.loop) if "client" not in t.get_name()])
    threads = [t.name.rstrip("0123456789_-") for t in threading.enumerate() if "asyncio" not in t.name]
    return Counter(tasks), Counter(threads), len(root.handlers) + len(proxy.filters)


def test_everything_goes_on(
    start: StartRelay, script: Path, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    (status,) = free_ports(1)
    text = config(upstream.url, KEYS[:1], listen={"status": f"127.0.0.1:{status}"}, log={"json": True})
    relay = start(text, relay={"script": script})
    relay.wait_for_log("scripts/env")
    client, streaming, go = base_client(relay), base_client(relay), Signal("the test's word")
    assert ask(client).status == 200
    upstream.script(steps.stream([*EARLY, go, *LATE]))
    streaming.post(stream=True)
    streaming.head()
    streaming.until(b"Hel")
    before = what_runs(relay)
    for _ in range(3):
        touch(relay)
        assert ask(client).status == 200  # on the same connection
    assert what_runs(relay) == before
    go.set()
    while streaming.piece() is not None:
        pass
    assert streaming.current.complete
    assert [row["finished"] for row in rows(relay.database)] == ["complete"] * 5
    # the vault, relay.yaml, metrics, commands, the listeners
    with contextlib.closing(Vault(relay.database, environ=os.environ)) as vault:
        vault.import_many([NewKey("anthropic", KEYS[1])])
    relay.wait_for_log("keys that the vault issues: 1")
    assert {ask(client).status for _ in range(2)} == {200}
    assert KEYS[1] in upstream.used_keys()
    relay.write_config(
        text | {"retry": {"attempts": 1}, "providers": {"other": text["providers"]["anthropic"]}, "routes": []}
    )
    relay.wait_for_log("was read again")
    with RawClient(relay.base_port) as another:
        assert ask(another).header("x-relay-provider") == "other"
    lines = counted(status).splitlines()
    assert sum(float(line.split()[-1]) for line in lines if line.startswith("claude_relay_requests_total{")) == 8
    assert relay.on_loop(lambda: relay.master.commands.call("relay.names")) == ["other/k1"]


def test_a_broken_script_and_a_mended_one(
    start: StartRelay, script: Path, upstream: FakeUpstream, base_client: Callable[[Relay], RawClient]
) -> None:
    """The relay is gone in between, for that is what mitmproxy does; when it comes back, it is whole."""
    relay = start(keys=KEYS[:1], relay={"script": script})
    relay.expect_error("error in script", "'nonetype' already exists")  # the second is mitmproxy's own mistake
    relay.wait_for_log("scripts/env")
    with RawClient(relay.base_port) as client:
        assert ask(client).status == 200
    good = script.read_text()
    for _ in range(2):
        touch(relay, "def broken(:\n")
        assert relay.master.addons.get("claude_relay") is None
        touch(relay, good)
        with RawClient(relay.base_port) as client:
            assert ask(client).header("x-relay-key") == "k1"
        written = len(rows(relay.database))
        with contextlib.closing(Vault(relay.database, environ=os.environ)) as vault:
            (added,) = vault.import_many([NewKey("anthropic", f"sk-ant-api03-{written}")]).added
        named = f"anthropic/{added.alias}"
        eventually(lambda named=named: named in relay.on_loop(lambda: relay.master.commands.call("relay.names")))
        with contextlib.closing(Vault(relay.database, environ=os.environ)) as vault:
            vault.remove([added.id])
    assert len(rows(relay.database)) == 3
