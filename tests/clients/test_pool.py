"""The promise: with one good key in the pool every turn of a real Claude Code is answered, whatever is wrong with the other keys.

TEST_TURNS=50 makes it fifty turns in each mode; `turns` runs as a program, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import packages, turns
from .turns import BAD

pytestmark = packages.needed()

TURNS = int(os.environ.get("TEST_TURNS", "6"))


@pytest.mark.parametrize(
    ("way", "mode", "strategy"),
    [
        ("proxy", "session", "priority"),  # the good key is always the last that is asked
        ("base url", "runs", "headroom"),
    ],
)
def test_every_turn_is_answered(tmp_path: Path, confdir: Path, way: str, mode: str, strategy: str) -> None:
    report = turns.drive(tmp_path, confdir, TURNS, way=way, mode=mode, strategy=strategy, each=max(3, TURNS // 5))
    assert not report.failures, report.text()
    assert strategy != "priority" or set(report.keys) > set(BAD), report.text()
