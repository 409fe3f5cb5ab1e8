"""One thread that writes: it takes everything that queued up while the last commit ran, and commits it as one.

    event loop   put(entry) ──► deque ─┐                                   ┌─► entry.done = True, one wake-up a batch
    writer              opening ──► writing: take, commit, answer ─────────┘
                           ▲           │ anything goes wrong: the rows go back, waiters hear False, it is said once
                           └─ pausing ◄┘ 0.1 s, 0.2 s, … 5 s; beyond `spill_beyond` rows: into the spill

`put` never waits: the queue is a deque, and a bell is rung only when the thread sleeps. A row that is itself at fault
(a constraint, a type) is found by halving its batch, reported and dropped, so it cannot hold up the others. What the
spill holds comes back as soon as the sink works, a batch after each batch of new rows, so that these wait no longer than
for one. Where the spill fails too, rows stay in memory; beyond `limit` the oldest are dropped.

What this module must not know: databases, files, what a row is. A `Sink` and a `Spill` do; their methods run in the
thread only, but for what `close` still finds in memory.

    writer = Writer(sink, spill=spill, name="ledger", report=print, limit=100_000, spill_beyond=10_000)
    writer.start(); writer.put(Entry(row, done=loop.create_future())); writer.close(5.0)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

from .sinks import ROWS_FAULT, Sink, Spill

BATCH = 256
PIECE = 500
"""Rows that are spilled at once."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0

type State = Callable[[], State | None]


@dataclass(slots=True, eq=False)
class Entry[T]:
    """A row on its way; `done` hears True once it is committed, False when that is not known."""

    row: T
    done: asyncio.Future[bool] | None = None


def settle(waiting: Iterable[asyncio.Future[bool]], committed: bool) -> None:
    """Answer those who still wait; runs in their event loop."""
    for done in waiting:
        if not done.done():
            done.set_result(committed)


class Writer[T]:
    """The thread and its queue.

    name          what the reports call it
    report        is told, in whatever thread it happens, what a person must know; once per failure and once per recovery
    limit         rows kept in memory while they cannot be written
    spill         None: what cannot be written stays in memory, and is lost at the end
    spill_beyond  rows in memory beyond which, while the sink fails, they are spilled; 0: at once
    """

    def __init__(
        self,
        sink: Sink[T],
        *,
        spill: Spill[T] | None = None,
        name: str,
        report: Callable[[str], None],
        limit: int,
        spill_beyond: int = 10_000,
    ) -> None:
        """Nothing runs before `start`."""
        self.failing = False
        self.problem = ""
        """Why the last try failed, in one line without secrets."""
        self.commits = 0
        self.dropped = 0
        self.refused = 0
        self._sink = sink
        self._spill = spill
        self._spill_beyond = spill_beyond
        self._spilling = threading.Lock()
        self._spill_fails = False
        self._brought_back = 0
        self._left_over = False
        self._name = name
        self._report = report
        self._limit = limit
        self._rows: deque[Entry[T]] = deque()
        self._in_hand: Sequence[Entry[T]] = ()
        self._asleep = False
        self._rings_in: asyncio.AbstractEventLoop | None = None
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._tried = threading.Event()
        self._hurry = threading.Event()
        self._stop_at: float | None = None
        self._pause = FIRST_PAUSE
        self._overfull = False
        self._thread = threading.Thread(target=self._run, name=f"relay-{name}", daemon=True)

    @property
    def pending(self) -> int:
        """Rows in memory that are not committed yet."""
        return len(self._rows) + len(self._in_hand)

    def start(self) -> None:
        """Start the thread and wait for its first try to open the sink, whatever comes of it."""
        self._thread.start()
        self._tried.wait()

    def put(self, entry: Entry[T]) -> None:
        """Queue a row. Never waits, never raises; may be called from any thread."""
        self._rows.append(entry)
        if len(self._rows) > self._limit:
            self._drop_oldest()
        if self._asleep:
            self._ring_in_turn()

    def _ring_in_turn(self) -> None:
        """Wake the thread; from an event loop, when that has done what there is to do: rows of the same turn are one commit then, and the
        thread does not take Python's lock from the loop meanwhile."""
        loop = asyncio._get_running_loop()
        if loop is None:
            self._ring()
        elif self._rings_in is not loop:
            self._rings_in = loop
            loop.call_soon(self._ring)

    def _ring(self) -> None:
        self._rings_in = None
        if self._asleep:
            self._bell.put(None)

    def keep(self, row: T) -> bool:
        """Spill a row past the queue. False: it cannot be, and belongs into the queue. It takes as long as the disk: not on an event loop.

        It may be in the queue, too: a row that is there already is left as it is.
        """
        with self._spilling:
            if self._spill is None or self._stop_at is not None:
                return False
            try:
                refused = self._spill.append([row])
            except Exception:  # said when the queue cannot be spilled
                return False
            self._left_over = True
        for error in refused:
            self._refuse(error)
        if self._asleep:  # the sink works again meanwhile
            self._bell.put(None)
        return True

    def close(self, timeout: float) -> None:
        """Write what is queued and end the thread; for at most `timeout` seconds. What is left over is spilled, and said."""
        self._stop_at = time.monotonic() + timeout
        self._hurry.set()
        self._bell.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():  # it hangs in a commit; that its rows may be written twice does no harm
            self._rows.extendleft(reversed(self._in_hand))
            self._in_hand = ()
            self._spill_all()
        elif self._thread.ident is None:
            self._end()
        if self._rows:
            self._say(f"{len(self._rows):,} rows could not be written before the end and are lost")
        if self._left_over:
            self._say(f"what could not be written is kept in {self._place} and written at the next start")

    # ── the thread ──

    def _run(self) -> None:
        state: State | None = self._state_opening
        while state is not None:
            try:
                state = state()
            except Exception as error:  # the traffic must not feel it, whatever it is
                self._fail(error)
                state = self._state_pausing
            if not self._tried.is_set():
                self._tried.set()
        self._sink.close()
        self.failing = True
        self._end()

    def _end(self) -> None:
        self._spill_all()
        with self._spilling:
            if self._spill is not None:
                self._spill.close()

    @property
    def spilled(self) -> bool:
        """Whether something is to be brought back."""
        return self._spill is not None and self._spill.waiting

    @property
    def _place(self) -> str:
        return self._spill.place if self._spill is not None else "memory"

    def _state_opening(self) -> State:
        self._sink.open()
        with self._spilling:
            if self._spill is not None:
                self._spill.adopt()
        if not self._rows and not self.spilled:
            self._recover()  # otherwise only a commit proves it
        return self._state_writing

    def _state_writing(self) -> State | None:
        batch = self._take()
        if batch:
            self._commit_or_put_back(batch)
        elif self._stop_at is not None:
            return None
        if self._spill is not None and self._spill.waiting:
            self._bring_back(self._spill)
        if len(self._rows) < BATCH and not self.spilled:  # before that, a new row would wait behind older ones
            self._recover()
        self._sink.tidy(idle=not self._rows)
        return self._state_writing

    def _state_pausing(self) -> State | None:
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        if self._stop_at is not None:
            pause = min(pause, self._stop_at - time.monotonic())
            if pause <= 0 or self._spill is not None:  # what it takes is as good as written
                return None
        self._hurry.wait(pause)
        self._hurry.clear()
        return self._state_opening

    def _take(self) -> list[Entry[T]]:
        """The oldest rows; waits while there are none, nor any to be brought back; empty else, and at the end."""
        while not self._rows and not self.spilled and self._stop_at is None:
            self._asleep = True
            if not self._rows and not self.spilled:  # looked at again: a row that came in between did not ring
                self._bell.get()
            self._asleep = False
        self._in_hand = batch = self._oldest(BATCH)
        return batch

    def _oldest(self, count: int) -> list[Entry[T]]:
        batch: list[Entry[T]] = []
        with suppress(IndexError):  # emptied by us, or by `put` dropping the oldest
            while len(batch) < count:
                batch.append(self._rows.popleft())
        return batch

    def _commit_or_put_back(self, batch: list[Entry[T]]) -> None:
        pieces = [batch]
        try:
            self._commit(pieces)
        except BaseException:
            for piece in pieces:  # the newest first, as they lie
                self._rows.extendleft(reversed(piece))
            raise
        finally:
            self._in_hand = ()

    def _commit(self, pieces: list[list[Entry[T]]]) -> None:
        """Commit the pieces, the last one first, in halves where a row is refused. When it raises, `pieces` holds the rest."""
        while pieces:
            piece = pieces[-1]
            try:
                self._sink.write([entry.row for entry in piece])
            except ROWS_FAULT as error:
                del pieces[-1]
                pieces += self._halves(piece, error)
            else:
                del pieces[-1]
                self.commits += 1
                self._in_hand = [entry for left in reversed(pieces) for entry in left]
                _answer(piece, True)

    def _bring_back(self, spill: Spill[T]) -> None:
        """One batch of what was spilled. Until it is committed it stays where it is."""
        with self._spilling:
            rows = spill.read(BATCH)
        if rows:
            self._commit([[Entry(row) for row in rows]])
            self._brought_back += len(rows)
            with self._spilling:
                spill.forget()
        if self._brought_back and not spill.waiting:
            if self._spill_beyond or not self.failing:  # else it is said that what was kept is written
                self._say(f"{self._brought_back:,} rows that were kept in {spill.place} are written")
            self._brought_back = 0

    def _halves(self, piece: list[Entry[T]], error: Exception) -> list[list[Entry[T]]]:
        if len(piece) > 1:
            middle = len(piece) // 2
            return [piece[middle:], piece[:middle]]
        self._refuse(error)
        _answer(piece, False)
        return []

    def _refuse(self, error: Exception) -> None:
        self.refused += 1
        if str(self.refused).strip("0") == "1":  # the 1st, the 10th, the 100th, …
            self._say(f"a row was refused and is lost ({self.refused} so far): {error}")

    def _fail(self, error: Exception) -> None:
        self._sink.close()
        self._in_hand = ()
        first, self.failing = not self.failing, True
        self.problem = self._sink.explain(error)
        if first:
            self._say(
                f"cannot write. {self.problem}. Requests go on; "
                f"their rows are kept in {self._holding_place()}, and written as soon as it works again"
            )
        if len(self._rows) > self._spill_beyond:
            self._spill_all()
        if first:
            _answer(self._rows.copy(), False)  # a copy is made in one step, whatever `put` does meanwhile

    def _holding_place(self) -> str:
        """Where rows are kept while the sink fails, for people."""
        if self._spill is None:
            return f"memory, up to {self._limit:,}"
        return f"memory, up to {self._spill_beyond:,} and then in {self._place}" if self._spill_beyond else self._place

    def _spill_all(self) -> None:
        """Everything in memory, the oldest first; what cannot be spilled goes back."""
        with self._spilling:
            while self._spill is not None and (piece := self._oldest(PIECE)):
                try:
                    for error in self._spill.append([entry.row for entry in piece]):
                        self._refuse(error)
                except Exception as error:  # rows stay in memory, whatever it is
                    self._rows.extendleft(reversed(piece))
                    if not self._spill_fails:
                        self._spill_fails = True
                        self._say(
                            f"rows cannot be kept in {self._place} either: {error}. "
                            f"They stay in memory, up to {self._limit:,}; beyond, the oldest are lost"
                        )
                    return
                self._left_over = True
                _answer(piece, False)

    def _recover(self) -> None:
        self._pause, self.problem = FIRST_PAUSE, ""
        if self.failing:
            self.failing = self._overfull = self._spill_fails = self._left_over = False
            lost = f"; {self.dropped:,} rows were lost" if self.dropped else ""
            self._say(f"writing works again, and what was kept is written{lost}")

    def _drop_oldest(self) -> None:
        with suppress(IndexError):
            _answer([self._rows.popleft()], False)
            self.dropped += 1
        if not self._overfull:
            self._overfull = True
            self._say(f"more than {self._limit:,} rows wait to be written; from now on the oldest are lost")

    def _say(self, text: str) -> None:
        with suppress(Exception):  # a broken listener must not end the thread
            self._report(f"{self._name}: {text}")


def _answer[T](entries: Iterable[Entry[T]], committed: bool) -> None:
    """Tell those who wait; one wake-up for each event loop (there is one)."""
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[bool]]] = {}
    for entry in entries:
        if entry.done is not None:
            waiting.setdefault(entry.done.get_loop(), []).append(entry.done)
            entry.done = None
    for loop, futures in waiting.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, futures, committed)
