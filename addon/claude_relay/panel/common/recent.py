"""What was worked out a moment ago, and is not worked out again for everybody who looks at it.

    recent = Recent()
    recent.get(("overview", "24h"), compute, patience=0.06)    -> the value; None: it takes longer, ask again soon

A value is good for GOOD seconds, however many ask; of those who come meanwhile all wait for the same computation. With `patience`, who
waits too long gets the value of before, if it is not old, or None, and the computation goes on. It must not know what is computed.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from dataclasses import dataclass
from typing import Any, Final

GOOD: Final = 2.0
OLD: Final = 60.0
KEPT: Final = 32
WORKERS: Final = 2


@dataclass(slots=True)
class Entry:
    """What runs, and what was found last. `at`: of the monotonic clock."""

    future: Future[Any]
    began: float
    before: tuple[float, Any] | None = None


class Recent:
    """Of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Threads begin with the first computation."""
        self._clock = clock
        self._guard = threading.Lock()
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._derived: OrderedDict[Hashable, tuple[Any, Any]] = OrderedDict()
        self._workers = ThreadPoolExecutor(WORKERS, "figures")

    def get[T](self, key: Hashable, compute: Callable[[], T], patience: float | None = None) -> T | None:
        """`patience`: seconds; None: until it is there. Raises what `compute` raises."""
        entry = self._entry(key, compute)
        try:
            value: T = entry.future.result(patience)
        except TooLong:
            known = entry.before
            return known[1] if known is not None and self._clock() - known[0] < OLD else None
        return value

    def derived[V, T](self, key: Hashable, value: V, make: Callable[[V], T]) -> T:
        """What is made of a value, once for this very one: what is drawn of figures, in each language."""
        with self._guard:
            known = self._derived.get(key)
        if known is not None and known[0] is value:
            made: T = known[1]
            return made
        made = make(value)
        with self._guard:
            self._derived[key] = value, made
            self._derived.move_to_end(key)
            while len(self._derived) > KEPT:
                self._derived.popitem(last=False)
        return made

    def pending(self, key: Hashable) -> bool:
        """Whether it is worked out right now."""
        with self._guard:
            entry = self._entries.get(key)
            return entry is not None and not entry.future.done()

    def _entry(self, key: Hashable, compute: Callable[[], Any]) -> Entry:
        with self._guard:
            entry, now = self._entries.get(key), self._clock()
            if entry is None or (entry.future.done() and now - entry.began > GOOD) or _failed(entry):
                before = (entry.began, entry.future.result()) if entry is not None and not _failed(entry) else None
                entry = self._entries[key] = Entry(self._workers.submit(compute), now, before)
            self._entries.move_to_end(key)
            for old in [name for name, one in self._entries.items() if name != key and now - one.began > OLD]:
                del self._entries[old]
            while len(self._entries) > KEPT:
                self._entries.popitem(last=False)
            return entry


def _failed(entry: Entry) -> bool:
    return entry.future.done() and entry.future.exception() is not None
