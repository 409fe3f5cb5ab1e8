"""README's first lines with the real Claude Code: keys in the relay's terminal only, `scripts/env -- claude` in another."""

from __future__ import annotations

import json

from wire.relay import rows
from wire.upstream import FakeUpstream

from . import packages
from .conftest import KEY
from .stage import PLACEHOLDER, Shell

pytestmark = packages.needed()


def test_claude_answers(shell: Shell, upstream: FakeUpstream) -> None:
    assert shell.run("claude", "-p", "question #1") == "answer 1\n"
    assert set(upstream.used_keys()) == {KEY}
    (row,) = [row for row in rows(shell.relay.database) if row["path"] == "/v1/messages"]
    assert (row["status"], row["finished"], row["key"]) == (200, "complete", "k1")


def test_claude_runs_tools_and_reads_what_they_say(shell: Shell, upstream: FakeUpstream) -> None:
    (shell.work / "note.txt").write_text("the cat is in the garden")
    prompt = "run `echo one`, `cat note.txt`"
    text = shell.run("claude", "-p", prompt, "--allowedTools", "Bash")
    assert text == "It said: one, the cat is in the garden\n"
    asked = [json.loads(request.body) for request in upstream.requests if request.path.startswith("/v1/messages?")]
    assert [len(body["messages"]) for body in asked] == sorted({len(body["messages"]) for body in asked})
    assert {row["finished"] for row in rows(shell.relay.database)} == {"complete"}


def test_the_placeholder_never_leaves_and_the_key_never_comes(shell: Shell, upstream: FakeUpstream) -> None:
    shell.run("claude", "-p", "question #2", "--debug-file", str(shell.home / "debug.txt"))
    for request in upstream.requests:
        assert PLACEHOLDER not in str(request.headers)
        assert PLACEHOLDER.encode() not in request.body
    told = b"".join(path.read_bytes() for path in shell.home.rglob("*") if path.is_file())
    assert b"question #2" in told
    assert KEY.encode() not in told
    assert KEY not in json.dumps(shell.variables())
