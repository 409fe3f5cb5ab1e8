"""Log lines that are alike are told once."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from claude_relay.proxy.log import folding as module
from claude_relay.proxy.log.folding import Folding
from waiting import PATIENCE

logger = logging.getLogger("claude_relay.test_folding")
WINDOW = 0.5


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with self.changed:
            self.said.append(record.getMessage())
            self.changed.notify_all()

    def wait_for(self, enough: Callable[[list[str]], bool]) -> list[str]:
        with self.changed:
            assert self.changed.wait_for(lambda: enough(self.said), PATIENCE), self.said
            return list(self.said)


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    logging.getLogger().addHandler(found)
    yield found
    logging.getLogger().removeHandler(found)


@pytest.fixture
def folding(lines: Lines) -> Iterator[Folding]:
    found = Folding(WINDOW)
    found.install()
    yield found
    found.remove()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stands still until a test moves it: no time is over before a test has said all."""
    found = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: found[0]))
    return found


def told(line: str) -> int:
    """How many lines one stands for."""
    more = re.search(r" … ([\d,]+) more like this", line)
    return int(more[1].replace(",", "")) if more else 1


def fail(kind: type[Exception]) -> None:
    try:
        raise kind("no more")
    except Exception:
        logger.exception("it failed")


def test_the_first_is_said_at_once_and_the_others_together(lines: Lines, folding: Folding) -> None:
    threads = [threading.Thread(target=lambda: [fail(OSError) for _ in range(500)]) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    windows = 1 + (time.monotonic() - began) // WINDOW
    said = lines.wait_for(lambda said: sum(map(told, said)) >= 2000)
    assert said[0] == "it failed"
    assert sum(map(told, said)) == 2000
    assert len(said) <= 2 * windows  # the first and the others


def test_lines_that_are_not_alike_are_all_said(lines: Lines, folding: Folding, clock: list[float]) -> None:
    fail(OSError)
    fail(ValueError)
    logger.warning("it failed")
    logger.error("it failed")
    logging.getLogger("asyncio").error("it failed")
    logger.warning("%s", "ledger: cannot write")
    logger.warning("%s", "ledger: writing works again")
    assert len(lines.said) == 7


def test_numbers_do_not_tell_lines_apart_and_arguments_a_few(
    lines: Lines, folding: Folding, clock: list[float]
) -> None:
    for n in range(100):
        logger.warning("%s was refused", f"host{n}")
        logging.getLogger("mitmproxy").error(f"Unhandled error in <Task-{n} at 0x7f{n:06x}>")
        logger.warning("%s changes when the relay is started again", "abcdefghij"[n % 10])
    assert len(lines.said) == 1 + 1 + 5
    clock[0] += WINDOW
    assert sorted(line.split(" … ")[1] for line in lines.wait_for(lambda said: len(said) >= 10)[7:]) == [
        "95 more like this in 1 s",
        "99 more like this in 1 s",
        "99 more like this in 1 s",
    ]


def test_ordinary_life_is_not_folded(lines: Lines, folding: Folding) -> None:
    logger.setLevel(logging.INFO)
    for n in range(100):
        logger.info("request %d", n)
        logger.log(logging.INFO + 1, "keys that the vault issues: %d", n)
    assert len(lines.said) == 200


def test_what_was_counted_is_told_at_the_end(lines: Lines, clock: list[float]) -> None:
    folding = Folding()
    folding.install()
    for _ in range(3):
        logger.warning("once")
    later = Folding()
    folding.remove()
    logger.warning("once")
    later.remove()
    assert lines.said == ["once", "once … 2 more like this in 1 s", "once"]
    assert logging.Logger.handle.__module__ == "logging"


def test_a_flood_that_goes_on_is_told_again(lines: Lines, folding: Folding, clock: list[float]) -> None:
    for _ in range(120):
        logger.warning("again")
        clock[0] += WINDOW / 50
    folding.remove()
    assert lines.said[0] == "again"
    assert 4 <= len(lines.said) <= 6
