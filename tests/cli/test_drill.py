"""`drill`: a client through faults, with a real relay each time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from claude_relay.cli.console.common import load_source
from claude_relay.cli.console.terminal import Failure
from claude_relay.cli.demonstration.claude import FakeClaude
from claude_relay.cli.drill import drill, ended_alike
from claude_relay.cli.drilling.report import HEADING, Run, lines
from claude_relay.cli.drilling.seeing import Figures, last_line, run
from claude_relay.cli.drilling.sets import BUILT_IN, WITHOUT, FaultSet
from claude_relay.cli.drilling.staging import environment, settings_of, with_faults
from claude_relay.core.config import Retry, parse
from claude_relay.store.vault.records import NewKey
from claude_relay.store.vault.vault import Vault
from waiting import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
SDK = """
import anthropic
with anthropic.Anthropic(max_retries={retries}) as client:
    with client.messages.stream(
        model="claude-haiku-4-5", max_tokens=100, messages=[{{"role": "user", "content": "Hello"}}]
    ) as stream:
        print(stream.get_final_text())
"""
"""What a person would write; `anthropic` is the real SDK."""
BARE = """
import json, os, urllib.request
asked = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]}
headers = {"authorization": "Bearer " + os.environ["ANTHROPIC_AUTH_TOKEN"], "content-type": "application/json"}
request = urllib.request.Request(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", json.dumps(asked).encode(), headers)
print(json.load(urllib.request.urlopen(request))["content"][0]["text"])
"""
"""The same without an SDK."""


def sdk(retries: int = 0) -> list[str]:
    return [sys.executable, "-c", SDK.format(retries=retries)]


def drilled(*arguments: str) -> tuple[int, dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "lib" / "run.py"), "drill", "--json", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
    )
    assert ran.stdout, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, found


class TestWhole:
    def test_a_fault_that_the_relay_mends(self) -> None:
        status, found = drilled("--demo", "--patience", "1m", "--fault", "529 attempt=1", "--", *sdk())
        without, busy = found["runs"]
        assert (status, found["alike"]) == (0, True)
        assert [run["exit"] for run in found["runs"]] == [0, 0]
        assert (without["faults"], without["attempts"], without["faulted"]) == ("without", 1, 0)
        assert (busy["faults"], busy["requests"], busy["attempts"], busy["faulted"]) == ("529 attempt=1", 1, 2, 1)
        assert without["last_line"] == busy["last_line"] == "Hello from a made-up Claude."
        assert without["cost_usd"] == busy["cost_usd"] > 0

    def test_a_fault_that_reaches_the_client(self) -> None:
        status, found = drilled("--demo", "--patience", "1m", "--fault", "cut", "--", *sdk())
        _, cut = found["runs"]
        assert (status, found["alike"], cut["exit"]) == (1, False, 1)
        assert "APIStatusError" in cut["last_line"] or "APIError" in cut["last_line"]
        assert cut["estimated"]

    def test_the_configuration_is_a_copy_and_the_vault_goes_along(self, tmp_path: Path) -> None:
        with FakeClaude(0.0, ["From the vault."]) as claude:
            config = tmp_path / "relay.yaml"
            settings = {"providers": {"anthropic": {"base_url": claude.url}}, "listen": {"status": "127.0.0.1:1"}}
            config.write_text(json.dumps(settings))
            Vault(tmp_path / "relay.db", environ={}).add(NewKey("anthropic", "demo-key-good-1"))
            before = contents(tmp_path)
            asked = [sys.executable, "-c", BARE]
            status, found = drilled("--config", str(config), "--fault", "401 attempt=1", "--", *asked)
        without, refused = found["runs"]
        assert (status, without["exit"], without["last_line"]) == (1, 0, "From the vault.")
        assert (refused["exit"], refused["attempts"], refused["faulted"]) == (1, 1, 1), "there is no other key"
        assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, bytes]:
    """All files, but for those that SQLite makes for who reads."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.endswith(("-shm", "-wal"))}


# -- sets


def test_the_sets_there_are() -> None:
    names = [found.name for found in BUILT_IN]
    assert len(set(names)) == len(names)
    assert all(len(found.name) <= HEADING.index(" exit") and found.means for found in BUILT_IN)
    listed = CliRunner().invoke(drill, ["--list"]).output
    assert [line.split("  ")[0] for line in listed.splitlines()] == names


def test_sets_as_they_are_typed() -> None:
    found = FaultSet.parse(" 529  attempt=1;cut attempt=2 after=3 ")
    assert found.name == "529 attempt=1;cut attempt=2 after=3"
    assert found.settings == [{"fault": "529", "attempt": 1}, {"fault": "cut", "attempt": 2, "after": 3}]
    assert parse(json.dumps({"faults": found.settings}), environ={}).faults == found.rules


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fault", "530", "--", "true"], "no fault has this name"),
        (["--timeout", "soon", "--", "true"], "must be a length of time"),
        ([], "which client?"),
        (["--", "no-such-client"], "no-such-client: no such program"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(drill, arguments)
    assert result.exit_code != 0
    assert told in result.output


# -- staging


def test_a_copy_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLM_KEYS", "secret-key-1")
    (tmp_path / "relay.yaml").write_text("""
listen: {proxy: 127.0.0.1:9}
notices: {command: [tell-me]}
ledger: {bodies: {keep: 1d}, durability: relaxed}
retry: {attempts: 3, first_byte: 1s}
faults: [{fault: 500}]
providers:
  mine: {format: mine.py, base_url: "http://127.0.0.1:1", keys: ["${GLM_KEYS}"]}
""")
    source = load_source(str(tmp_path / "relay.yaml"))
    copy = with_faults(settings_of(source), FaultSet.parse("529"), source.config.retry, 20.0)
    assert copy == {
        "providers": {
            "mine": {"format": str(tmp_path / "mine.py"), "base_url": "http://127.0.0.1:1", "keys": ["${GLM_KEYS}"]}
        },
        "ledger": {"durability": "relaxed"},
        "retry": {"attempts": 3, "first_byte": 1.0, "whole": 20.0, "idle": 20.0, "progress": 20.0},
        "faults": [{"fault": "529"}],
        "shutdown": "1s",
    }
    assert with_faults({}, WITHOUT, Retry(), 1000.0)["retry"]["first_byte"] == Retry().first_byte


def test_the_client_is_led_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ANTHROPIC_API_KEY": "mine", "no_proxy": "a.example", "RELAY_SECRET": "x"}.items():
        monkeypatch.setenv(name, value)
    led = environment("http://127.0.0.1:5", needs_key=False)
    assert led["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:5"
    assert "placeholder" in led["ANTHROPIC_AUTH_TOKEN"]
    assert led["no_proxy"] == "127.0.0.1,a.example"
    assert {"ANTHROPIC_API_KEY", "RELAY_SECRET"}.isdisjoint(led)
    assert environment("http://127.0.0.1:5", needs_key=True)["ANTHROPIC_API_KEY"] == "mine"


# -- one run


def test_what_a_person_would_have_seen() -> None:
    seen = run(["sh", "-c", "echo one; echo two >&2; echo; exit 3"], os.environ, timeout=PATIENCE)
    assert (seen.exit, seen.last_line) == (3, "two")
    assert last_line("") == ""
    with pytest.raises(Failure, match="no-such"):
        run(["/no-such-client"], os.environ, timeout=1.0)


def test_a_client_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began = time.monotonic()
    script = f"sleep 600 & echo $! > {pids}; echo waiting; wait"
    seen = run(["sh", "-c", script], os.environ, timeout=2.0)  # enough for the shell to say it
    assert (seen.exit, seen.last_line) == (None, "waiting")
    assert time.monotonic() - began < PATIENCE
    child = int(pids.read_text())
    eventually(lambda: not alive(child))


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has asked about yet does not."""
    try:
        os.kill(pid, signal.SIG_DFL)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True
    except (ProcessLookupError, FileNotFoundError):
        return False


# -- what is shown


def ran(exit: int | None, last: str = "Hello!", faults: FaultSet = WITHOUT) -> Run:
    from claude_relay.cli.drilling.seeing import Seen

    return Run(faults, Seen(exit, last, 1.25), Figures(1, 2, 1, 0.0123, True))


def test_two_lines_fit_the_terminal() -> None:
    text = lines(ran(0, "word " * 100), alike=True, width=80).plain.splitlines()
    assert len(text) == 2
    assert max(map(len, [HEADING, *text])) <= 80
    assert text[0].split() == ["without", "0", "1", "2", "1", "1.2", "s", "~$0.0123"]
    assert text[1].endswith("…")
    assert "late" in lines(ran(None), alike=False, width=80).plain


def test_what_counts_as_the_same_end() -> None:
    assert ended_alike([ran(0), ran(0)])
    assert ended_alike([ran(3), ran(3)])
    assert not ended_alike([ran(0), ran(1)])
    assert not ended_alike([ran(0), ran(None)])
    assert not ended_alike([ran(None)])
