"""The thread and its queue, over sinks that fail as they are told; SQLite is in test_ledger."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude_relay.store.ledger import writer as module
from claude_relay.store.ledger.writer import BATCH, Entry, Writer
from store.rows import Heard
from waiting import PATIENCE, eventually


class Shelf:
    """A sink that keeps what it is given and does what a script says: an exception is raised, None lets the call pass."""

    def __init__(self, script: Sequence[Exception | None] = (), refuse: Sequence[int] = ()) -> None:
        self.rows: list[int] = []
        self.batches: list[int] = []
        self.opened = 0
        self.refuse = set(refuse)
        self.script: Iterator[Exception | None] = iter(script)

    def _act(self) -> None:
        if error := next(self.script, None):
            raise error

    def open(self) -> None:
        self._act()
        self.opened += 1

    def write(self, rows: Sequence[int]) -> None:
        self._act()
        if self.refuse & set(rows):
            raise ValueError("not this one")
        self.rows += rows
        self.batches.append(len(rows))

    def tidy(self, *, idle: bool) -> None:
        self._act()

    def close(self) -> None:
        pass

    def explain(self, error: Exception) -> str:
        return f"explained: {error}"


class Gated(Shelf):
    """Lets nothing through before the gate is open."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.arrived, self.gate = threading.Event(), threading.Event()

    def write(self, rows: Sequence[int]) -> None:
        self.arrived.set()
        assert self.gate.wait(PATIENCE)
        super().write(rows)


class Broken(Shelf):
    """Fails until it is mended."""

    def __init__(self) -> None:
        super().__init__()
        self.mended = threading.Event()
        self.tries = threading.Semaphore(0)

    def write(self, rows: Sequence[int]) -> None:
        self.tries.release()
        if not self.mended.is_set():
            raise OSError("no disk")
        super().write(rows)


class Box:
    """A spill: keeps rows in a list, or fails as long as it is told to."""

    place = "the box"

    def __init__(self, *rows: int, full: bool = False) -> None:
        self.rows = list(rows)
        self.given = 0
        self.full = full
        self.closed = False
        self.appended = 0

    @property
    def waiting(self) -> bool:
        return bool(self.rows)

    def append(self, rows: Sequence[int]) -> list[Exception]:
        if self.full:
            raise OSError("no room")
        self.rows += rows
        self.appended += len(rows)
        return []

    def adopt(self) -> None:
        pass

    def read(self, count: int) -> list[int]:
        self.given = min(count, len(self.rows))
        return self.rows[: self.given]

    def forget(self) -> None:
        del self.rows[: self.given]
        self.given = 0

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)


def started(sink, *, limit: int = 1000, heard: Heard | None = None, **options) -> Writer:
    writer: Writer = Writer(sink, name="ledger", report=heard or Heard(), limit=limit, **options)
    writer.start()
    return writer


def put(writer: Writer, rows: range) -> None:
    for row in rows:
        writer.put(Entry(row))


def test_what_queues_up_during_a_commit_is_one_commit() -> None:
    sink = Gated()
    writer = started(sink)
    put(writer, range(1))
    assert sink.arrived.wait(PATIENCE)
    put(writer, range(1, 1 + BATCH))
    assert writer.pending == 1 + BATCH
    sink.gate.set()
    writer.close(PATIENCE)
    assert sink.batches == [1, BATCH]
    assert (writer.commits, writer.pending, sink.rows) == (2, 0, list(range(1 + BATCH)))


def test_waiters_of_a_batch_are_woken_once() -> None:
    sink = Gated()
    writer = started(sink)
    wakes = []

    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        real = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *call: (wakes.append(call[0]), real(*call))[1]
        entries = [Entry(row, loop.create_future()) for row in range(50)]
        waiting = [entry.done for entry in entries]
        writer.put(entries[0])
        await asyncio.sleep(0)  # the thread is woken after the turn
        assert sink.arrived.wait(PATIENCE)
        for entry in entries[1:]:
            writer.put(entry)
        sink.gate.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [True] * 50
    assert len(wakes) == 2  # the first row's commit, and that of the other 49
    writer.close(PATIENCE)


def test_rows_of_one_turn_are_one_commit() -> None:
    writer = started(Shelf())

    async def main() -> None:
        for _ in range(3):
            entries = [Entry(row, asyncio.get_running_loop().create_future()) for row in range(5)]
            eventually(lambda: writer._asleep)  # awake it would take what is there before the turn is over
            for entry in entries:
                writer.put(entry)
            await asyncio.gather(*[entry.done for entry in entries])

    for _ in range(2):  # each with a loop of its own
        asyncio.run(main())
    assert writer.commits == 6
    writer.close(PATIENCE)


def test_idle_it_sleeps() -> None:
    writer = started(Shelf())
    put(writer, range(3))

    def used() -> float:
        before = time.process_time()
        writer._thread.join(0.3)
        return time.process_time() - before

    assert any(used() < 0.1 for _ in range(10))  # others in this process may be busy at times
    assert writer._thread.is_alive()
    writer.close(PATIENCE)


def test_a_refused_row_does_not_hold_up_the_others() -> None:
    sink, heard = Gated(refuse=[7, 8, 90]), Heard()
    writer = started(sink, heard=heard)
    put(writer, range(1))
    assert sink.arrived.wait(PATIENCE)
    put(writer, range(1, 100))
    sink.gate.set()
    writer.close(PATIENCE)
    assert sink.rows == [row for row in range(100) if row not in (7, 8, 90)]
    assert (writer.refused, writer.pending, writer.failing) == (3, 0, True)
    assert heard.texts == ["ledger: a row was refused and is lost (1 so far): not this one"]


def test_refused_rows_are_told_ever_more_rarely() -> None:
    heard = Heard()
    writer = started(Shelf(refuse=list(range(200))), heard=heard, limit=1000)
    put(writer, range(150))
    writer.close(PATIENCE)
    assert [text.partition("(")[2].split()[0] for text in heard.texts] == ["1", "10", "100"]


def test_a_failure_is_told_once_and_so_is_the_recovery() -> None:
    sink, heard = Broken(), Heard()
    writer = started(sink, heard=heard)
    put(writer, range(300))
    heard.wait("cannot write")
    put(writer, range(300, 310))
    assert writer.failing
    for _ in range(5):
        assert sink.tries.acquire(timeout=PATIENCE)
    sink.mended.set()
    heard.wait("writing works again")
    writer.close(PATIENCE)
    assert sink.rows == list(range(310))
    assert heard.texts == [
        "ledger: cannot write. explained: no disk. Requests go on; their rows are kept in memory, up to 1,000, and written "
        "as soon as it works again",
        "ledger: writing works again, and what was kept is written",
    ]


def test_beyond_the_limit_the_oldest_are_dropped_and_counted() -> None:
    sink, heard = Broken(), Heard()
    writer = started(sink, limit=20, heard=heard)
    put(writer, range(1))
    heard.wait("cannot write")
    put(writer, range(1, 100))
    assert writer.pending <= 20 + BATCH
    sink.mended.set()
    heard.wait("writing works again")
    writer.close(PATIENCE)
    assert sink.rows[-20:] == list(range(80, 100))
    assert len(sink.rows) + writer.dropped == 100
    assert [text for text in heard.texts if "oldest" in text] == [
        "ledger: more than 20 rows wait to be written; from now on the oldest are lost"
    ]
    assert heard.wait("writing works again").endswith(f"; {writer.dropped:,} rows were lost")


def test_beyond_a_number_rows_are_spilled_and_all_come_back() -> None:
    sink, heard, box = Broken(), Heard(), Box()
    writer = started(sink, limit=5000, heard=heard, spill=box, spill_beyond=10)
    put(writer, range(2000))
    for _ in range(9):
        assert sink.tries.acquire(timeout=PATIENCE)
    eventually(lambda: box.appended >= 2000 - 10 - BATCH)
    put(writer, range(2000, 2005))
    sink.mended.set()
    heard.wait("writing works again")
    writer.close(PATIENCE)
    assert sorted(sink.rows) == list(range(2005))
    assert (writer.pending, box.rows, box.closed) == (0, [], True)
    assert [text.split()[1:4:2] for text in heard.texts] == [
        ["cannot", "explained:"],
        [f"{box.appended:,}", "that"],
        ["writing", "again,"],
    ]
    assert "up to 10 and then in the box" in heard.texts[0]


def test_what_was_left_is_brought_back_while_new_rows_wait_for_one_batch_at_most() -> None:
    """Nothing failed here: the rows are those of a process that has ended."""
    sink, heard, box = Gated(), Heard(), Box(*range(10 * BATCH))
    writer = started(sink, heard=heard, spill=box)
    assert sink.arrived.wait(PATIENCE)
    put(writer, range(-3 * BATCH, 0))
    sink.gate.set()
    heard.wait("are written")
    writer.close(PATIENCE)
    assert sorted(sink.rows) == list(range(-3 * BATCH, 10 * BATCH))
    assert sink.rows.index(-1) == 6 * BATCH - 1  # a batch of each in turns, one of the others first
    assert heard.texts == ["ledger: 2,560 rows that were kept in the box are written"]


def test_a_row_that_fails_on_its_way_back_is_refused_alone() -> None:
    sink, box = Shelf(refuse=[5]), Box(*range(20))
    writer = started(sink, spill=box, heard=(heard := Heard()))
    heard.wait("are written")
    writer.close(PATIENCE)
    assert (sorted(sink.rows), box.rows) == ([n for n in range(20) if n != 5], [])


def test_a_failure_on_the_way_back_loses_nothing() -> None:
    sink, box = Shelf(script=[None, None, None, OSError("again"), None, OSError("and again")]), Box(*range(3 * BATCH))
    writer = started(sink, spill=box, heard=(heard := Heard()))
    heard.wait("writing works again")
    writer.close(PATIENCE)
    assert sorted(sink.rows) == list(range(3 * BATCH))


def test_a_spill_that_fails_leaves_rows_in_memory_and_is_told_once() -> None:
    sink, heard, box = Broken(), Heard(), Box(full=True)
    writer = started(sink, limit=500, heard=heard, spill=box, spill_beyond=10)
    put(writer, range(50))
    heard.wait("cannot be kept in the box either: no room. They stay in memory, up to 500")
    for _ in range(5):
        assert sink.tries.acquire(timeout=PATIENCE)
    sink.mended.set()
    heard.wait("writing works again")
    writer.close(PATIENCE)
    assert sink.rows == list(range(50))
    assert len(heard.texts) == 3


def test_at_the_end_what_cannot_be_written_is_spilled() -> None:
    sink, heard, box = Broken(), Heard(), Box()
    writer = started(sink, heard=heard, spill=box)
    put(writer, range(3))
    heard.wait("cannot write")
    before = time.monotonic()
    writer.close(600.0)
    assert time.monotonic() - before < PATIENCE  # the next start goes on trying
    assert (box.rows, box.closed, writer.pending) == ([0, 1, 2], True, 0)
    assert heard.texts[-1] == "ledger: what could not be written is kept in the box and written at the next start"


def test_at_the_end_a_commit_that_hangs_loses_no_row() -> None:
    sink, box = Gated(), Box()
    writer = started(sink, spill=box)
    put(writer, range(1))
    assert sink.arrived.wait(PATIENCE)
    put(writer, range(1, 5))
    writer.close(0.05)
    assert box.rows == list(range(5))
    sink.gate.set()
    writer._thread.join(PATIENCE)


def test_a_listener_that_fails_does_not_end_the_thread() -> None:
    def deaf(text: str) -> None:
        raise RuntimeError(text)

    sink = Shelf(script=[OSError("first")])
    writer: Writer = Writer(sink, name="ledger", report=deaf, limit=10)
    writer.start()
    put(writer, range(3))
    writer.close(PATIENCE)
    assert sink.rows == [0, 1, 2]


def test_start_returns_when_the_first_try_failed_and_goes_on_trying() -> None:
    sink, heard = Shelf(script=[OSError("no"), OSError("still no")]), Heard()
    writer = started(sink, heard=heard)
    assert heard.texts[0].startswith("ledger: cannot write. explained: no.")
    heard.wait("writing works again")
    assert not writer.failing
    writer.close(PATIENCE)


def test_close_gives_up_in_time_and_says_what_is_lost() -> None:
    sink, heard = Broken(), Heard()
    writer = started(sink, heard=heard)
    put(writer, range(3))
    heard.wait("cannot write")
    writer.close(0.05)
    assert heard.texts[-1] == "ledger: 3 rows could not be written before the end and are lost"


def test_close_before_start_and_twice() -> None:
    heard = Heard()
    writer: Writer = Writer(Shelf(), name="ledger", report=heard, limit=10)
    writer.close(PATIENCE)
    writer.start()
    writer.close(PATIENCE)
    writer.close(PATIENCE)
    assert heard.texts == []


def test_housekeeping_that_fails_costs_no_row() -> None:
    sink, heard = Shelf(script=[None, None, OSError("full")]), Heard()  # open, write, tidy
    writer = started(sink, heard=heard)
    put(writer, range(1))
    heard.wait("writing works again")
    put(writer, range(1, 2))
    writer.close(PATIENCE)
    assert sink.rows == [0, 1]


def test_a_loop_that_is_gone_is_nobodys_trouble() -> None:
    sink, heard = Gated(), Heard()
    writer = started(sink, heard=heard)
    loop = asyncio.new_event_loop()
    writer.put(Entry(1, loop.create_future()))
    assert sink.arrived.wait(PATIENCE)
    loop.close()
    sink.gate.set()
    put(writer, range(2, 3))
    writer.close(PATIENCE)
    assert (sink.rows, heard.texts) == ([1, 2], [])


steps = st.lists(st.sampled_from([None, OSError("disk"), RuntimeError("odd"), MemoryError()]), max_size=30)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(script=steps, refuse=st.sets(st.integers(0, 39), max_size=6), pieces=st.lists(st.integers(1, 20), max_size=4))
def test_whatever_fails_each_row_arrives_once_and_in_order(script, refuse, pieces) -> None:
    sink = Shelf(script=script, refuse=sorted(refuse))
    writer = started(sink)
    end = 0
    for piece in pieces:
        put(writer, range(end, end + piece))
        end += piece
    writer.close(PATIENCE)
    assert sink.rows == [row for row in range(end) if row not in refuse]
    assert writer.pending == 0
