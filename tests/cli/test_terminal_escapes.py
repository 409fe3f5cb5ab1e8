"""Names that others choose do nothing to the terminal on which a command shows them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from claude_relay.core.printable import harmless, harmless_json
from claude_relay.store.db.database import connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.ledger.bodies import Bodies
from claude_relay.store.ledger.ledger import Ledger
from store.rows import STARTED, attempt, request

ROOT = Path(__file__).resolve().parents[2]
NASTY = [
    "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\x9d0;t\x9c", "\x08\x08", "\x7f", "\r", "\x0b", "\x85",
    "\u202a", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\u2028", "\u2029",
    "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\U000e0041", "\ufff9",
]  # fmt: skip
PLAIN = ["模型-名前", "модель", "naïve é", "नमस्ते", "🦊", "a\u0301", "x\u00a0y", "שלום", "مرحبا"]
OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|1A|2K)|\r")
"""Colours, and what a progress bar needs."""


def harmful(text: str) -> list[str]:
    """What is in a command's output, beside its own colours, that a terminal would obey or that nobody sees."""
    text = OWN.sub("", text)
    return sorted(
        {hex(ord(c)) for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
    )


@pytest.mark.parametrize("nasty", NASTY)
def test_every_such_character_becomes_one_that_is_seen(nasty: str) -> None:
    shown = harmless(f"a{nasty}b")
    assert harmful(shown) == []
    assert (shown[0], shown[-1], len(shown)) == ("a", "b", len(nasty) + 2)
    document = json.dumps({nasty: nasty}, ensure_ascii=False)
    assert harmful(harmless_json(document)) == []
    assert json.loads(harmless_json(document)) == {nasty: nasty}


@pytest.mark.parametrize("plain", PLAIN)
def test_ordinary_names_stay_as_they_are(plain: str) -> None:
    assert harmless(plain) == plain
    assert harmless_json(plain) == plain


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger all of whose names are nasty, each with an innocent one before it."""
    path = tmp_path_factory.mktemp("nasty") / "relay.db"
    with contextlib.closing(connect(path, patience=1)) as connection:
        migrate(connection)
    ledger = Ledger(path, report=print)
    ledger.open()
    for number, nasty in enumerate(NASTY):
        name = f"n{number}{nasty}m"
        row = request(
            id=f"req_{number}", started_at=STARTED + number, client=name, session=name, user_agent=name, path=name,
            requested_model=name, served_model=name, provider=name, key=name, error_type=name, notes=name, project=name,
        )  # fmt: skip
        ledger.put(row, [attempt(row, provider=name, key=name, verdict=name, error=name, model=name)])
    ledger.close()
    bodies = Bodies(path, 65536, report=print)
    bodies.open()
    bodies.put("req_0", 0, "answer", "".join(NASTY).encode(), at=STARTED)
    bodies.close()
    return path


def on_a_terminal(*arguments: str, folder: Path) -> str:
    """What a command prints where its output is a terminal."""
    leader, follower = pty.openpty()
    code = "import sys; from claude_relay.cli.main import script; script(sys.argv[1], sys.argv[2:])"
    environ = os.environ | {
        "PYTHONPATH": str(ROOT / "addon"),
        "COLUMNS": "250",
        "TERM": "xterm",
        "PYTHONIOENCODING": "utf-8",
    }
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=folder,
        env=environ,
    ):
        os.close(follower)
        said = bytearray()
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(leader, 65536):
                said += data
    os.close(leader)
    return said.decode("utf-8", "replace")


@pytest.mark.parametrize(
    "command",
    [
        *(f"usage --by {by}" for by in ("model", "key", "client", "provider", "session", "project")),
        "usage --by model --json",
        "usage --by model --csv",
        "usage show req_1",
        "usage show req_1 --json",
        "usage sessions",
        "usage sessions --csv",
        "ledger bodies req_0",
        "ledger export - --format csv",
        "ledger export - --format jsonl",
        "ledger export - --format jsonl --table attempts",
        "usage reprice --all",
        "usage reprice --all --json",
    ],
)
def test_no_command_prints_them(database: Path, tmp_path: Path, command: str) -> None:
    said = on_a_terminal(*command.split(), "--database", str(database), folder=tmp_path)
    assert not re.search("Error|Usage:", said), said
    assert re.search("n[01]|␛", said) or "reprice" in command, said
    assert harmful(said) == []


def test_names_in_relay_yaml(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text('"pro\\u202eviders\\e[2J": {}\n"\\x9b1m": 1\n')
    for command in ("doctor", "keys list", "usage", "env", "ledger vacuum"):
        said = on_a_terminal(*command.split(), "--config", "relay.yaml", folder=tmp_path)
        assert "viders" in said
        assert harmful(said) == []


def test_a_spreadsheet_finds_no_formula(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    ledger = Ledger(path, report=print)
    ledger.open()
    for number, name in enumerate(("=cmd|' /C calc'!A0", "+1", "-2", "@SUM(A1)")):
        row = request(id=f"req_{number}", served_model=name, requested_model=name)
        ledger.put(row, [attempt(row, model=name)])
    ledger.close()
    said = on_a_terminal("usage", "--by", "model", "--csv", "--database", str(path), folder=tmp_path)
    assert [line for line in said.splitlines() if line.lstrip('"').startswith(("=", "+", "-", "@"))] == []
    assert "'=cmd" in said


OTHERWISE = re.compile(
    r"click\.s?echo\((?!os\.fsencode)|csv\.writer\(|[^.\w]Console\(|[^.\w]print\(|raise click\.ClickException"
)


def test_no_command_prints_otherwise() -> None:
    """What the commands print passes `cli/console/terminal` or `cli/console/screen`."""
    found = []
    for file in (ROOT / "addon" / "claude_relay" / "cli").rglob("*.py"):
        if file.name in ("terminal.py", "screen.py", "main.py", "bench.py", "test.py") or file.parent.name in (
            "benchmark",
            "simulation",
        ):
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(
                r"\bclick\.s?echo\((?!os\.fsencode)|\bprint\((?=.*sys)|csv\.writer\(|[^.\w]Console\(|raise click\.ClickException",
                line,
            ):
                found.append(f"{file.name}:{number}: {line.strip()}")
    assert found == []
