"""Several relays on one database: never more requests than the limit, whoever dies, and rates that all know of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.gcra import Change, Rate
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.slots import Slots, Want
from claude_relay.store.db.database import StoreError, connect
from claude_relay.store.db.migrations import migrate
from claude_relay.store.shared.leases import LEASE, MARGIN, Leases
from waiting import PATIENCE

LIMIT = 5
FIVE = Bound(parse("5 concurrent"), "client", "alice", "alice's")
NONE: dict[str, Want] = {}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Leases, Leases]]:
    found = Leases(tmp_path / "relay.db", relay="one"), Leases(tmp_path / "relay.db", relay="two")
    yield found
    for leases in found:
        leases.close()


def want(busy: int = 0, waiting: int = 0, limit: int = LIMIT) -> dict[str, Want]:
    return {"k": Want(limit, busy, waiting)}


def test_one_alone_gets_all_and_the_next_its_share(two: tuple[Leases, Leases]) -> None:
    one, other = two
    assert one.exchange(want(waiting=1), {}, 100.0).leased == {"k": 5}
    assert one.exchange(want(busy=1), {}, 101.0).leased == {"k": 5}
    assert other.exchange(want(waiting=9), {}, 101.1).leased == {"k": 0}
    assert one.exchange(want(busy=1), {}, 102.0).leased == {"k": 1}
    # Until it has heard that, requests may have begun on all five.
    assert other.exchange(NONE, {}, 102.1).leased == {"k": 0}
    assert one.exchange(NONE, {}, 102.2).leased == {"k": 1}
    assert other.exchange(NONE, {}, 102.3).leased == {"k": 4}


def test_what_began_before_a_smaller_lease_was_heard_of_has_its_place(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=1), {}, 100.0)
    other.exchange(want(waiting=9), {}, 100.5)
    assert one.exchange(want(busy=1), {}, 101.0).leased == {"k": 1}  # and meanwhile four more begin
    assert other.exchange(NONE, {}, 101.1).leased == {"k": 0}
    one.exchange(want(busy=5), {}, 101.2)
    assert other.exchange(NONE, {}, 101.3).leased == {"k": 0}


def test_what_is_as_it_was_is_renewed_and_not_named(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange({f"k{n}": Want(LIMIT, 0, 0) for n in range(700)}, {}, 100.0)
    assert one.exchange(NONE, {}, 104.0).leased == {}
    assert one.exchange({"k1": Want(LIMIT, 1, 0), "k2": None}, {}, 108.0).leased == {"k1": LIMIT}
    found = other.exchange({f"k{n}": Want(LIMIT, 0, 1) for n in range(700)}, {}, 108.0 + LEASE - 0.1).leased
    assert {key for key, places in found.items() if places} == {"k2"}


def test_what_was_said_in_vain_is_said_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    one, other = Leases(path, patience=0.01), Leases(path)
    one.exchange({"k": Want(LIMIT, 2, 0), "l": Want(LIMIT, 0, 0)}, {}, 100.0)
    with closing(connect(path, patience=1)) as third:
        third.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            one.exchange({"k": Want(LIMIT, 5, 0), "l": None, "m": Want(LIMIT, 0, 1)}, {}, 101.0)
    assert one.exchange(NONE, {}, 102.0).leased == {"k": LIMIT, "m": LIMIT}
    wanted = {key: Want(LIMIT, 0, 1) for key in "klm"}
    assert other.exchange(wanted, {}, 102.0).leased == {"k": 0, "l": LIMIT, "m": 0}
    for leases in (one, other):
        leases.close()


def test_what_runs_keeps_its_place(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=5), {}, 100.0)
    other.exchange(want(waiting=9), {}, 100.5)
    given = one.exchange(want(busy=5), {}, 101.0).leased["k"]
    assert given < 5  # it is to give some back when they end
    assert other.exchange(want(waiting=9), {}, 101.5).leased == {"k": 0}
    one.exchange(want(busy=4, waiting=9), {}, 102.0)
    assert other.exchange(want(waiting=9), {}, 102.5).leased == {"k": 1}


def test_what_is_not_wanted_any_more_is_free(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=1), {}, 100.0)
    one.exchange({"k": None}, {}, 101.0)
    assert other.exchange(want(waiting=1), {}, 101.0).leased == {"k": 5}


def test_who_leaves_frees_all(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(busy=5), {}, 100.0)
    one.leave()
    assert other.exchange(want(waiting=1), {}, 100.0).leased == {"k": 5}


def test_a_lease_ends_and_who_slept_begins_anew(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=5), {}, 100.0)
    assert other.exchange(want(waiting=5), {}, 100.0 + LEASE - 0.1).leased == {"k": 0}
    assert other.exchange(want(waiting=5), {}, 100.0 + LEASE).leased == {"k": 5}
    assert one.exchange(want(busy=2, waiting=5), {}, 101.0 + LEASE).leased == {"k": 0}


def test_the_machine_began_anew(two: tuple[Leases, Leases]) -> None:
    """Its monotonic clock, too: what was until a day later is over."""
    one, other = two
    one.exchange(want(waiting=5), {}, 90_000.0)
    assert other.exchange(want(waiting=5), {}, 50.0).leased == {"k": 5}


def test_rows_that_are_gone_are_written_anew(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=5), {}, 100.0)
    one.prune(0.0, 100.0 + 2 * LEASE)
    assert one.exchange(want(busy=3), {}, 101.0 + 2 * LEASE).leased == {"k": 5}
    assert other.exchange(want(waiting=5), {}, 101.0 + 2 * LEASE).leased == {"k": 0}


def test_a_limit_that_was_made_smaller_is_never_passed_anew(two: tuple[Leases, Leases]) -> None:
    one, other = two
    one.exchange(want(waiting=5), {}, 100.0)
    assert one.exchange(want(busy=4, limit=2), {}, 101.0).leased == {"k": 2}
    assert other.exchange(want(waiting=1, limit=2), {}, 101.0).leased == {"k": 0}


def test_a_disk_that_is_held_stops_what_would_begin_before_the_lease_is_over(tmp_path: Path) -> None:
    path, slots = tmp_path / "relay.db", Slots()
    leases = Leases(path, patience=0.01)
    slots.full([FIVE], 0.0)
    given = leases.exchange(slots.wants(0.0), {}, 100.0).leased
    slots.leased(given, 100.0 + LEASE - MARGIN)
    assert slots.take([FIVE], 101.0) is None
    with closing(connect(path, patience=1)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError):
            leases.exchange(slots.wants(101.0), {}, 101.0)
    assert slots.take([FIVE], 100.0 + LEASE - MARGIN) is FIVE
    leases.exchange(slots.wants(108.0), {}, 108.0)
    leases.leave()


def test_rates_survive_and_are_heard_of(two: tuple[Leases, Leases]) -> None:
    one, other = two
    here, there = Rate(), Rate()
    for _ in range(4):
        here.charge(10, 1, 1_000.0)
    for _ in range(3):
        there.charge(10, 1, 1_000.0)
    for leases, rate, heard in ((one, here, False), (other, there, True), (one, here, True)):
        change = rate.report()
        news = leases.exchange(NONE, {} if change is None else {"r": change}, 100.0)
        assert ("r" in news.rates) == heard  # what one has told itself is no news
        if heard:
            rate.absorb(news.rates["r"])
    assert here.used(10, 1_000.0) == there.used(10, 1_000.0) == pytest.approx(7)
    assert one.exchange(NONE, {}, 101.0).rates == {}
    assert other.rates(["r", "x"]) == {"r": here.tat}
    one.prune(1_000.0 + 9_999, 101.0)
    assert other.rates(["r"]) == {"r": here.tat}  # the latest keeps the count


def test_rates_that_could_not_be_told_lose_no_news(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    one, other = Leases(path, patience=0.01), Leases(path)
    here, there = Rate(), Rate()
    one.exchange(NONE, {}, 100.0)
    there.charge(10, 3, 1_000.0)
    told = there.report()
    assert told is not None
    other.exchange(NONE, {"r": told}, 100.0)
    here.charge(10, 4, 1_000.0)
    change = here.report()
    assert change is not None
    with closing(connect(path, patience=1)) as third:
        third.execute("CREATE TRIGGER no BEFORE INSERT ON client_rates BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreError):
            one.exchange(NONE, {"s": change}, 101.0)
        third.execute("DROP TRIGGER no")
    other.exchange(NONE, {"q": told}, 101.5)
    here.unreported(change)
    assert here.report() == change
    found = one.exchange(NONE, {"s": change}, 102.0).rates
    assert found == {"r": there.tat, "q": there.tat}
    for leases in (one, other):
        leases.close()


def test_many_rates_at_once(two: tuple[Leases, Leases]) -> None:
    one, other = two
    told = {f"r{n}": Change(1_000.0 + n, 5.0, 0.0) for n in range(777)}
    assert one.exchange(NONE, told, 100.0).rates == {}
    assert other.rates([*told]) == {key: change.tat for key, change in told.items()}
    assert other.exchange(NONE, {"r1": Change(990.0, 7.0, 0.0)}, 100.0).rates == {
        key: change.tat for key, change in told.items() if key != "r1"
    } | {"r1": 1_008.0}
    assert one.exchange(NONE, {}, 101.0).rates == {"r1": 1_008.0}


COUNTING = """
import os, sys, time
from pathlib import Path
from claude_relay.core.clients.demand import Bound
from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.slots import Slots
from claude_relay.store.shared.leases import Leases
name = sys.argv[2]
leases, slots = Leases(Path(sys.argv[1]), lease=4.0, patience=60.0), Slots()
bound = Bound(parse("5 concurrent"), "client", "alice", "k")
running = []
def say(what):  # in one piece, whatever buffers Python has
    os.write(1, f"{what} {name}\\n".encode())
while True:
    now = time.monotonic()
    slots.full([bound], now)
    slots.waits([bound], 9 - slots.held["k"].waiting)
    given = leases.exchange(slots.wants(now), {}, now).leased
    slots.leased(given, now + 2.8)
    while running and running[0] < now:
        say("-")
        slots.give_back(["k"], now, now)
        running.pop(0)
    while slots.take([bound], time.monotonic()) is None:
        running.append(time.monotonic() + 0.02)
        say("+")
    time.sleep(0.005)
"""


class Watcher:
    """Counts what runs in processes that all write to one pipe, whose order is the true one."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        self.busy: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.peak = 0
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with os.fdopen(self.out) as lines:
            for line in lines:
                what, name = line.split()
                if what == "end":
                    return
                with self.changed:
                    self.busy[name] += {"+": 1, "-": -1, "killed": -self.busy[name]}[what]
                    self.begun[name] += what == "+"
                    self.peak = max(self.peak, self.busy.total())
                    self.changed.notify_all()

    def start(self, path: Path, name: str) -> subprocess.Popen[bytes]:
        environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.Popen([sys.executable, "-c", COUNTING, str(path), name], stdout=self.into, env=environ)

    def kill(self, process: subprocess.Popen[bytes], name: str) -> None:
        process.kill()
        process.wait()
        os.write(self.into, f"killed {name}\n".encode())

    def until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, PATIENCE), (self.busy, self.begun)

    def close(self) -> None:
        os.write(self.into, b"end all\n")
        os.close(self.into)
        self.thread.join()


def test_processes_together_never_pass_the_limit_also_when_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    with closing(connect(path, patience=1)) as connection:
        migrate(connection)
    watcher = Watcher()
    processes = {name: watcher.start(path, name) for name in ("one", "two")}
    try:
        watcher.until(lambda: min(watcher.begun["one"], watcher.begun["two"]) > 20)
        watcher.kill(processes.pop("one"), "one")
        watcher.until(lambda: watcher.busy["one"] == 0 and watcher.busy["two"] == LIMIT)
    finally:
        for name, process in processes.items():
            watcher.kill(process, name)
        watcher.close()
    assert watcher.peak == LIMIT
