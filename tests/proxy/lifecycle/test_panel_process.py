"""The panel as the relay keeps it, without a relay: a real process each time."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from queue import Queue

import pytest

from claude_relay.core.installation import ADDON, missing_for_panel
from claude_relay.proxy.lifecycle import panel_process
from claude_relay.proxy.lifecycle.panel_process import PanelProcess, environment
from waiting import PATIENCE, eventually
from wire.relay import free_ports

pytestmark = pytest.mark.skipif(bool(missing_for_panel()), reason="the panel is not installed")


@dataclass
class Stage:
    """A relay.yaml, and a panel over it. `shown`: URLs and links, as they came."""

    folder: Path
    port: int
    shown: Queue[tuple[str, str | None]] = field(default_factory=Queue)
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "relay.yaml"

    def write(self, panel: str | None = None) -> None:
        own = f"127.0.0.1:{self.port}" if panel is None else panel
        self.config.write_text(f"listen: {{proxy: null, base_url: '127.0.0.1:1', status: null, panel: '{own}'}}\n")

    @contextmanager
    def panel(self) -> Iterator[PanelProcess]:
        found = PanelProcess(self.config, {**os.environ, **self.environ}, lambda url, link: self.shown.put((url, link)))
        found.start()
        try:
            yield found
        finally:
            found.end()
            found.wait()
            assert not found._thread.is_alive()

    def answers(self) -> bool:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            try:
                connection.request("GET", "/healthz")
                return connection.getresponse().read() == b'{"ok":true}'
            except OSError:
                return False


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    found = Stage(tmp_path, *free_ports(1))
    found.write()
    return found


def pid_of(panel: PanelProcess) -> int:
    assert panel._process is not None
    return panel._process.pid


def test_it_comes_back_and_ends(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_process, "SHORTEST", 0.01)
    with stage.panel() as panel:
        url, link = stage.shown.get(timeout=PATIENCE)
        assert (url, panel.address) == (f"http://127.0.0.1:{stage.port}", f"127.0.0.1:{stage.port}")
        assert link is not None
        assert link.startswith(f"{url}/welcome?link=")
        assert stage.answers()
        first = pid_of(panel)
        os.kill(first, signal.SIGKILL)
        stage.shown.get(timeout=PATIENCE)
        assert pid_of(panel) != first
        assert stage.answers()
        last = pid_of(panel)
    assert not stage.answers()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)
    said = [record for record in caplog.records if record.name == panel_process.__name__]
    assert [record.getMessage() for record in said] == ["the panel ended (status -9); it is started again in 0.01 s"]
    assert link not in caplog.text


def test_what_is_unable_waits_for_another_configuration(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.write("192.0.2.1:1")
    with stage.panel() as panel:
        eventually(lambda: "cannot listen on 192.0.2.1:1" in caplog.text)
        eventually(lambda: panel._process is None)
        stage.write()
        panel.changed()
        stage.shown.get(timeout=PATIENCE)
        assert stage.answers()
    assert caplog.text.count("cannot listen") == 1
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_taken_port_is_waited_for_and_told_once(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_process, "LONGEST", 0.01)
    with socket.create_server(("127.0.0.1", stage.port)) as other, stage.panel() as panel:
        eventually(lambda: "cannot listen" in caplog.text)
        first = pid_of(panel)
        eventually(lambda: panel._process is not None and panel._process.pid != first)
        other.close()
        stage.shown.get(timeout=PATIENCE)
        assert stage.answers()
    assert caplog.text.count("cannot listen") == 1


def test_what_one_of_before_said_of_a_taken_port_is_not_said_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    panel = PanelProcess(stage.config, {}, lambda url, link: None)
    said = 'import sys; print(\'{"level": "ERROR", "text": "\' + sys.argv[1] + \'"}\', file=sys.stderr); sys.exit(int(sys.argv[2]))'
    for text, status in (("taken", "4"), ("taken", "4"), ("other", "1"), ("taken", "4")):
        process = subprocess.Popen([sys.executable, "-c", said, text, status], stderr=subprocess.PIPE)
        assert process.stderr is not None
        with process.stderr as stream:
            panel._listen(process, stream)
    assert [record.getMessage() for record in caplog.records] == ["taken", "other", "taken"]


def test_one_that_cannot_even_start_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    (stage.folder / "sitecustomize.py").write_text("import sys; sys.modules['uvicorn'] = None\n")
    stage.environ["PYTHONPATH"] = str(stage.folder)
    with stage.panel():
        eventually(lambda: "the panel ended (status 1)" in caplog.text)
    assert "ModuleNotFoundError" in caplog.text


def test_the_password_of_the_environment(stage: Stage) -> None:
    stage.environ["RELAY_ADMIN_PASSWORD"] = "correct horse battery"
    with stage.panel():
        assert stage.shown.get(timeout=PATIENCE)[1] is None
    with closing(sqlite3.connect(stage.folder / "relay.db")) as db:
        assert db.execute("SELECT name, role FROM admins").fetchall() == [("admin", "admin")]


def test_what_the_panel_is_told_of_the_relays_environment(tmp_path: Path) -> None:
    given = {
        "PATH": "/bin",
        "PYTHONPATH": "/mine",
        "RELAY_SECRET": "s",
        "RELAY_ADMIN_PASSWORD": "p",
        "GLM_KEYS": "g",
        "ANTHROPIC_API_KEYS": "a",
        "ANTHROPIC_AUTH_TOKEN": "t",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=o",
    }
    of_relay = {"PATH", "PYTHONPATH", "RELAY_SECRET", "RELAY_ADMIN_PASSWORD", "GLM_KEYS"}
    found = environment(given, None)
    assert found.keys() == of_relay | {"ANTHROPIC_API_KEYS"}
    assert found["PYTHONPATH"] == f"{ADDON}{os.pathsep}/mine"
    config = tmp_path / "relay.yaml"
    config.write_text("providers: {a: {preset: anthropic, keys: ['${ANTHROPIC_AUTH_TOKEN:-x}']}}")
    assert environment(given, config).keys() == of_relay | {"ANTHROPIC_AUTH_TOKEN"}
    assert sys.executable
