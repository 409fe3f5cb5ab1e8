"""What is wrong with a relay, and whether it serves all the same."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from claude_relay.proxy.watch import health as module
from claude_relay.proxy.watch.health import Health, Report
from claude_relay.store.ledger.ledger import Ledger


class Stored:
    """As much of what is stored as is asked. `why`: why no request can have a key."""

    def __init__(self, why: str = "", **complaints: str) -> None:
        self.why, self.complaints, self.looked = why, complaints, 0

    async def inspect(self) -> None:
        self.looked += 1

    def without_keys(self) -> str:
        return self.why


def look(tmp_path: Path, stored: Any = None, *, ending: bool = False, ledger: Any = None) -> Report:
    ledger = ledger or Ledger(tmp_path / "relay.db", report=pytest.fail)
    return asyncio.run(Health(tmp_path / "relay.db", ledger, lambda: stored, lambda: ending).look())


def test_all_is_well(tmp_path: Path) -> None:
    stored = Stored(keys="")
    assert look(tmp_path, stored) == Report(serves=True)
    assert stored.looked == 1
    assert look(tmp_path) == Report(serves=True)


def test_by_what_answers_still_go_out(tmp_path: Path) -> None:
    failing = SimpleNamespace(problem="no room")
    report = look(tmp_path, Stored(keys="v2 was changed", cooldowns=""), ledger=failing)
    assert report.serves
    assert report.problems == (
        "the ledger cannot be written: no room",
        "stored keys cannot be used: v2 was changed",
    )


@pytest.mark.parametrize(
    ("stored", "ending", "first"),
    [(Stored("the stored keys cannot be read"), False, "the stored keys"), (None, True, "the relay is ending")],
)
def test_what_keeps_it_from_serving_comes_first(tmp_path: Path, stored: Any, ending: bool, first: str) -> None:
    report = look(tmp_path, stored, ending=ending, ledger=SimpleNamespace(problem="no room"))
    assert not report.serves
    assert report.problems[0].startswith(first)
    assert len(report.problems) == 2


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    (problem,) = look(tmp_path).problems
    assert problem.endswith("the disk is nearly full: 1 MB are left; make room")
    monkeypatch.undo()
    assert (
        list(
            Health(
                tmp_path / "gone" / "relay.db", Ledger(tmp_path / "r", report=pytest.fail), lambda: None, bool
            ).of_the_disk()
        )
        == []
    )


@pytest.mark.skipif(module.resource is None, reason="limits of POSIX")
def test_files_that_may_not_grow(tmp_path: Path) -> None:
    before = module.resource.getrlimit(module.resource.RLIMIT_FSIZE)
    try:
        module.resource.setrlimit(module.resource.RLIMIT_FSIZE, (4096, before[1]))
        report = look(tmp_path)
    finally:
        module.resource.setrlimit(module.resource.RLIMIT_FSIZE, before)
    assert report.serves
    assert report.problems == (f"{tmp_path / 'relay.db'}: files may not grow any more (see `ulimit -f`); make room",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(module.resource is None, reason="Windows does not tell")
@pytest.mark.parametrize(("most", "told"), [(8, True), (1_000_000, False), (-1, False)])
def test_files_that_run_out(monkeypatch: pytest.MonkeyPatch, most: int, told: bool) -> None:
    monkeypatch.setattr(module.resource, "getrlimit", lambda _: (most, most))
    assert bool(list(Health.of_the_files())) is told


@pytest.mark.parametrize(("by", "told"), [(-3600.0, "set back by 3,600 s"), (7200.0, "jumped ahead by 7,200 s")])
def test_a_clock_that_was_set(monkeypatch: pytest.MonkeyPatch, by: float, told: str) -> None:
    from claude_relay.core.steady import Steady

    shift = 0.0
    monkeypatch.setattr(module, "NOW", Steady(lambda: time.time() + shift, time.monotonic))
    assert list(Health.of_the_clock()) == []
    shift = by
    (problem,) = Health.of_the_clock()
    assert told in problem
