"""README's first lines with the real Claude Code: keys in the relay's terminal only, `scripts/env -- claude` in another."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from waiting import PATIENCE
from wire.relay import Relay as InThread
from wire.relay import config, rows
from wire.upstream import FakeUpstream

from . import mind, packages
from .conftest import KEY
from .stage import PLACEHOLDER, Relay, Shell

pytestmark = packages.needed()


def test_claude_answers(shell: Shell, relay: Relay, upstream: FakeUpstream) -> None:
    assert shell.run("claude", "-p", "question #1") == "answer 1\n"
    assert set(upstream.used_keys()) == {KEY}
    (row,) = [row for row in rows(relay.database) if row["path"] == "/v1/messages"]
    assert (row["status"], row["finished"], row["key"]) == (200, "complete", "k1")


def test_claude_answers_in_a_shell_that_evaluated_the_lines(shell: Shell) -> None:
    found = shell.variables()
    assert found["ANTHROPIC_AUTH_TOKEN"] == PLACEHOLDER
    assert not {"ANTHROPIC_API_KEY", "ANTHROPIC_API_KEYS"} & set(found)
    done = subprocess.run(
        [str(packages.claude_code()), "-p", "question #1"],
        env=found,
        cwd=shell.work,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "answer 1\n"), done.stderr


def test_claude_runs_tools_and_reads_what_they_say(shell: Shell, relay: Relay, upstream: FakeUpstream) -> None:
    (shell.work / "note.txt").write_text("the cat is in the garden")
    text = shell.run("claude", "-p", "run `echo one`, `cat note.txt`", "--allowedTools", "Bash")
    assert text == "It said: one, the cat is in the garden\n"
    asked = [json.loads(request.body)["messages"] for request in upstream.requests if "/v1/messages?" in request.path]
    results = [sum(kind == "result" for kind, _ in mind.spoken(messages)) for messages in asked]
    assert results == [0, 1, 2]
    assert [row["finished"] for row in rows(relay.database)] == ["complete"] * 3


def test_its_own_errands_do_no_harm(tmp_path: Path, confdir: Path, upstream: FakeUpstream) -> None:
    """As it comes, Claude Code asks api.anthropic.com and others for this and that. Here nobody is reached, and it answers all the same."""
    folder = tmp_path / "relay"
    folder.mkdir()
    with InThread(folder, confdir, config(upstream.url, ["${KEYS}"]), environ={"KEYS": KEY}) as relay:
        shell = Shell(tmp_path, relay, "proxy", quiet=False)
        assert shell.run("claude", "-p", "question #1") == "answer 1\n"
        assert "api.anthropic.com:443" in relay.dialled
    assert set(upstream.used_keys()) == {KEY}


def test_the_placeholder_never_leaves_and_the_key_never_comes(shell: Shell, upstream: FakeUpstream) -> None:
    shell.run("claude", "-p", "question #2", "--debug-file", str(shell.home / "debug.txt"))
    for request in upstream.requests:
        assert PLACEHOLDER not in str(request.headers)
        assert PLACEHOLDER.encode() not in request.body
    told = b"".join(path.read_bytes() for path in shell.home.rglob("*") if path.is_file())
    assert b"question #2" in told
    assert KEY.encode() not in told
    assert KEY not in json.dumps(shell.variables())
