"""`panel`: alone, and one-time links; what `doctor` says of a panel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from claude_relay.cli.checks import OK, WARN
from claude_relay.cli.console.running import NONE
from claude_relay.cli.entrance import panel as panel_checks
from claude_relay.cli.panel import panel
from claude_relay.core.config import parse
from claude_relay.core.installation import missing_for_panel
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admins, Role
from claude_relay.store.panel.second_factors import SecondFactors

ROOT = Path(__file__).parents[2]
RUN = ROOT / "scripts" / "lib" / "run.py"
ACTOR = Actor("test", "cli", "here")
needs_panel = pytest.mark.skipif(bool(missing_for_panel()), reason="the panel is not installed")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "relay.yaml"
    file.write_text("listen: {proxy: null, base_url: '127.0.0.1:1', status: null, panel: '127.0.0.1:18083'}\n")
    return file


def run(config: Path, *words: str, **environ: str) -> Result:
    own = {"RELAY_CONFIG": str(config), "RELAY_ADMIN_PASSWORD": None, **environ}
    return CliRunner().invoke(panel, words, env=own)


def test_the_first_link_is_for_admin(config: Path) -> None:
    found = run(config, "reset-password")
    assert found.exit_code == 0, found.output
    assert found.stdout.startswith("http://127.0.0.1:18083/welcome?link=")
    assert "For admin, once, within a day" in found.stderr
    secret = found.stdout.strip().partition("=")[2]
    assert Admins(config.parent / "relay.db").linked(secret, time.time()) == "admin"
    again = run(config, "reset-password", "--config", str(config)).stdout.strip().partition("=")[2]
    assert Admins(config.parent / "relay.db").linked(secret, time.time()) is None
    assert Admins(config.parent / "relay.db").linked(again, time.time()) == "admin"


def test_only_somebody_who_is_there_gets_another_one(config: Path) -> None:
    assert (
        "There is no admin 'ann'; there is: only admin, who comes first." in run(config, "reset-password", "ann").output
    )
    admins = Admins(config.parent / "relay.db")
    admins.add(ACTOR, "ann", Role.ADMIN, "encoded")
    assert "There is no admin 'admin'; there is: ann." in run(config, "reset-password").output
    found = run(config, "reset-password", "ANN")
    assert found.exit_code == 0
    assert "For ann" in found.stderr
    assert [admin.password for admin in admins.all()] == ["encoded"]


def test_a_second_factor_that_is_lost(config: Path) -> None:
    admins = Admins(config.parent / "relay.db")
    admins.add(ACTOR, "admin", Role.ADMIN, "encoded")
    SecondFactors(config.parent / "relay.db", {}).enable(ACTOR, "admin", "JBSWY3DPEHPK3PXP", ["a"], 1)
    assert "asks for the code" in run(config, "reset-password").stderr
    assert [admin.totp is None for admin in admins.all()] == [False]
    found = run(config, "reset-password", "--without-second-factor", RELAY_ADMIN_PASSWORD="x" * 12)
    assert "RELAY_ADMIN_PASSWORD is set" in found.stderr
    assert [admin.totp is None for admin in admins.all()] == [True]


def test_there_is_no_panel(config: Path) -> None:
    config.write_text("listen: {panel: null}")
    assert "set it to 127.0.0.1:8083" in run(config, "reset-password").output


@needs_panel
def test_alone_it_says_what_is_wrong(config: Path) -> None:
    config.write_text("listen: {panel: null}")
    environ = os.environ | {"RELAY_CONFIG": str(config)}
    done = subprocess.run([sys.executable, str(RUN), "panel"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("panel: listen.panel is null in relay.yaml")


def test_without_its_packages(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    found = run(config)
    assert found.exit_code == 1
    assert "The package uvicorn is missing; this installs it: scripts/relay" in found.output
    [check] = panel_checks(parse(config.read_text(), environ={}), NONE)
    assert (check.status, check.found) == (WARN, "does not run, for the package uvicorn is missing")


@needs_panel
def test_what_the_doctor_says(tmp_path: Path) -> None:
    from panel.stage import running

    with running(tmp_path, password=None) as stage:
        here = parse(stage.config.read_text(), environ={}, folder=tmp_path)
        answers, nobody = panel_checks(here, NONE)
        assert (answers.status, answers.found) == (OK, f"answers at {stage.url}")
        assert (nobody.status, nobody.remedy) == (WARN, "choose a password: scripts/panel reset-password")
        assert json.loads(stage.ask("GET", "/healthz").body) == {"ok": True}
    assert list(panel_checks(here, NONE)) == []
    off = parse("listen: {panel: null}", environ={})
    assert list(panel_checks(off, NONE)) == []
