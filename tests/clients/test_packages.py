"""The npm packages: pinned, fetched once, and missed aloud. (These tests themselves need none of them.)"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from claude_relay.cli.test import NPM_CI, concerns_clients, install_clients
from wire.relay import ROOT

from . import packages

LOCK = packages.HERE / "package-lock.json"
NPM = """#!/bin/sh
echo "$0 $*" >> calls.txt
mkdir -p node_modules
exit "${STATUS:-0}"
"""


def test_versions_are_exact_and_the_lock_holds_hashes_and_no_registry() -> None:
    wanted = json.loads((packages.HERE / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
    text = LOCK.read_text()
    assert "://" not in text
    locked = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
    assert all(entry["integrity"].startswith("sha512-") for entry in locked.values())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a lock file, and an npm that only notes that it was called."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("npm", "node"):
        (tools / name).write_text(NPM)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.defpath}")
    found = tmp_path / "clients"
    found.mkdir()
    shutil.copy(LOCK, found)
    return found


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().splitlines()


def test_they_are_installed_once_and_again_when_the_lock_has_changed(folder: Path) -> None:
    assert install_clients(folder)
    assert install_clients(folder)
    assert [call.split(" ", 1)[1] for call in calls(folder)] == [" ".join(NPM_CI[1:])]
    (folder / LOCK.name).write_text("{}")
    assert install_clients(folder)
    assert len(calls(folder)) == 2


def test_a_failed_installation_is_said_and_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATUS", "1")
    assert not install_clients(folder)
    monkeypatch.setenv("STATUS", "0")
    assert install_clients(folder)
    assert len(calls(folder)) == 2


def test_without_node_nothing_is_done(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install_clients(folder)
    assert [path.name for path in folder.iterdir()] == [LOCK.name]
    assert "install nodejs" in str(packages.missing())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), True),
        (("-x", "-k", "claude"), True),
        (("tests",), True),
        (("tests/clients/test_pool.py::test_every_turn_is_answered",), True),
        ((str(ROOT / "tests" / "clients"), "-x"), True),
        (("tests/core", "tests/cli/test_env.py"), False),
    ],
)
def test_nothing_is_fetched_for_other_tests(arguments: tuple[str, ...], expected: bool) -> None:
    assert concerns_clients(ROOT, arguments) is expected


def test_in_ci_they_must_not_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert packages.must_run()
    monkeypatch.delenv("CI")
    assert not packages.must_run()
    monkeypatch.setattr(packages, "MODULES", Path(sys.prefix) / "nowhere")
    assert packages.claude_code() is None
