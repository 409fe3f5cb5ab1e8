"""Both SDKs with exactly the variables that `scripts/env` sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wire import claude
from wire.relay import rows
from wire.upstream import FakeUpstream

from . import packages
from .conftest import KEY
from .stage import Relay, Shell

pytestmark = packages.needed()

HERE = Path(__file__).parent
ANSWERS = {
    "whole": "answer 1",
    "streamed": "answer 2",
    "tool": "date",
    "tokens": 2095,
    "models": [claude.MODEL, "claude-haiku-5"],
}


def test_python(shell: Shell, relay: Relay, upstream: FakeUpstream) -> None:
    said = json.loads(shell.run(sys.executable, str(HERE / "ask.py")))
    assert said == ANSWERS | {"async whole": "answer 3", "async streamed": "answer 4"}
    assert set(upstream.used_keys()) == {KEY}
    assert all_complete(relay)


def test_typescript(shell: Shell, relay: Relay, upstream: FakeUpstream) -> None:
    assert json.loads(shell.run("node", str(HERE / "ask.mjs"))) == ANSWERS
    assert set(upstream.used_keys()) == {KEY}
    assert all_complete(relay)


def all_complete(relay: Relay) -> bool:
    found = {(row["status"], row["finished"]) for row in rows(relay.database)}
    return found == {(200, "complete")}
