"""A relay and its panel: two processes, of which the one ends with the other, and no request waits for either."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import threading
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from claude_relay.core.installation import missing_for_panel
from waiting import PATIENCE, eventually

from .clients import RawClient, messages_body
from .relay import RelayProcess, config, free_ports, rows
from .upstream import FakeUpstream

pytestmark = pytest.mark.skipif(bool(missing_for_panel()), reason="the panel is not installed")


def answers(port: int) -> bool:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().read() == b'{"ok":true}'
        except OSError:
            return False


def children(pid: int) -> list[int]:
    """Of a process, by what Linux says."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = {int(child) for child in text.split()}
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return sorted(found)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def with_panel(upstream: FakeUpstream, port: int) -> dict[str, Any]:
    return config(upstream.url, ["good-1"], listen={"panel": f"127.0.0.1:{port}"})


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_panel_comes_back_while_requests_go_on_and_ends_with_its_relay(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, port: int
) -> None:
    """Both are killed: neither has a chance to say good-bye."""
    with RelayProcess(tmp_path, confdir, with_panel(upstream, port)) as relay:
        link = eventually(lambda: re.search(r"panel: choose a password, once: (http://\S+)", relay.output()))[1]
        assert link.startswith(f"http://127.0.0.1:{port}/welcome?link=")
        assert relay.output().count("welcome?link=") == 1
        [first] = children(relay.process.pid)
        statuses: list[int] = []
        over = threading.Event()

        def work() -> None:
            with RawClient(relay.base_port) as client:
                while not over.is_set():
                    statuses.append(client.ask("POST", "/v1/messages", body=messages_body()).status)

        worker = threading.Thread(target=work)
        worker.start()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not alive(first))
        eventually(lambda: answers(port))
        over.set()
        worker.join(PATIENCE)
        assert set(statuses) == {200}
        assert len(statuses) > 5
        assert "the panel ended (status -9)" in relay.output()
        [second] = children(relay.process.pid)
        assert second != first
        eventually(lambda: listeners(tmp_path).get("panel") == f"127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port)) as held:
            held.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\n")  # a request that never comes to its end
            relay.kill()
            eventually(lambda: not alive(second))
        assert not answers(port)


def test_without_the_panels_packages_the_relay_runs(
    tmp_path: Path, confdir: Path, upstream: FakeUpstream, port: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['fastapi'] = None\n")
    environ = {"PYTHONPATH": str(tmp_path)}
    with RelayProcess(tmp_path, confdir, with_panel(upstream, port), environ=environ) as relay:
        with RawClient(relay.base_port) as client:
            assert client.ask("POST", "/v1/messages", body=messages_body()).status == 200
        eventually(lambda: "no panel: the package fastapi is missing; this installs it:" in relay.output())
        assert relay.output().count("fastapi") == 1
        assert "panel" not in listeners(tmp_path)
    assert rows(relay.database)[0]["status"] == 200


def listeners(folder: Path) -> dict[str, str]:
    """As the relay has written them down; its ports answer before it does."""
    with closing(sqlite3.connect(folder / "relay.db", timeout=PATIENCE)) as db:
        eventually(lambda: db.execute("SELECT count(*) FROM relays").fetchone()[0])
        return json.loads(db.execute("SELECT listeners FROM relays").fetchone()[0])  # type: ignore[no-any-return]
