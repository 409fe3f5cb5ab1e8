"""The examples for systemd and launchd: read as those read them, and the latter's command is run."""

from __future__ import annotations

import configparser
import plistlib
import stat
import subprocess
from pathlib import Path
from typing import Any

from claude_relay.core.config import default

from .pages import DOCS, ROOT

EXAMPLES = ROOT / "docs" / "examples"
HOME = "%h/claude-relay/"


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(EXAMPLES / "claude-relay.service", "utf-8")
    return parser


def plist() -> dict[str, Any]:
    with (EXAMPLES / "claude-relay.plist").open("rb") as file:
        found: dict[str, Any] = plistlib.load(file)
    return found


def test_all_examples_are_named() -> None:
    text = DOCS["docs/operating.md"].text
    assert all(f"docs/examples/{path.name}" in text for path in EXAMPLES.iterdir())


def test_they_leave_running_requests_their_time() -> None:
    assert int(unit()["Service"]["TimeoutStopSec"]) > default({}).shutdown
    assert plist()["ExitTimeOut"] > default({}).shutdown


def test_systemd_starts_the_script_of_the_checkout() -> None:
    service = unit()["Service"]
    assert service["ExecStart"].startswith(HOME)
    assert (ROOT / service["ExecStart"].removeprefix(HOME)).is_file()
    assert service["EnvironmentFile"].startswith("-%h/.config/claude-relay/")


def test_launchd_starts_it_with_the_variables_of_the_file(tmp_path: Path) -> None:
    """In a home with a script in the relay's place that says what it was given."""
    script = tmp_path / "claude-relay" / "scripts" / "relay"
    script.parent.mkdir(parents=True)
    script.write_text('#!/bin/sh\necho "keys: $ANTHROPIC_API_KEYS"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    log = tmp_path / "Library" / "Logs" / "claude-relay.log"
    log.parent.mkdir(parents=True)
    command, environ = plist()["ProgramArguments"], {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    subprocess.run(command, env=environ, check=True)
    variables = tmp_path / ".config" / "claude-relay" / "environment"
    variables.parent.mkdir(parents=True)
    variables.write_text("ANTHROPIC_API_KEYS=sk-ant-1,sk-ant-2\n")
    subprocess.run(command, env=environ, check=True)
    assert log.read_text().splitlines() == ["keys: ", "keys: sk-ant-1,sk-ant-2"]
