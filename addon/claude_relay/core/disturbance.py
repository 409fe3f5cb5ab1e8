"""How an answer's bytes suffer from a fault that was made on purpose.

    disturbance = Disturbance(fault, stream=True, form="anthropic")
    for step in disturbance.feed(data): …       bytes, a Pause, or the Ending of it all

The same bytes suffer in the same way. It must not know who sends them, nor wait for anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import cycle
from typing import Final

from .exchange import Fault
from .faults import KINDS, error_event


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing for so many seconds; math.inf: nothing any more."""

    seconds: float


class Ending(Enum):
    """What comes in the place of all that is left."""

    CUT = "the connection breaks"
    WHOLE = "the body is over"


EVENTS: Final = 4
"""Events of a stream that come before a fault whose place nobody has said: by then the client has some of the answer."""
PIECE: Final = 64
"""Bytes that come at a time of an answer that is slow."""
SIZES: Final = (1, 2, 3, 5, 7, 11, 13, 17, 1, 29)
"""Of the pieces of one that is split: they fall into lines, characters and blank lines."""
NOISE: Final = 8
"""Bytes that are others."""
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")


class Disturbance:
    """What a fault makes of one answer's body. `form`, `id`: as of `error_event`."""

    def __init__(self, fault: Fault, *, stream: bool, form: str, id: str = "") -> None:
        self.fault = fault
        self.over = False
        """Nothing more comes of what is still to come."""
        self._stream, self._form, self._id = stream, form, id
        self._struck = False
        self._passed, self._events = 0, 0
        self._end = b""
        """The last bytes that passed, in which a blank line may have begun."""
        self._sizes = cycle(SIZES)

    def feed(self, data: bytes) -> Iterator[bytes | Pause | Ending]:
        """What comes of the next bytes."""
        if self.over:
            return
        if self.fault.kind in ("split", "slow"):
            yield from self._piecemeal(data)
            return
        place = None if self._struck else self._place(data)
        if place is None:
            self._note(data)
            yield data
            return
        self._struck = True
        if data[:place]:
            yield data[:place]
        yield from self._strike(data[place:])

    def _piecemeal(self, data: bytes) -> Iterator[bytes | Pause]:
        slow = self.fault.kind == "slow"
        usual = KINDS["slow"].usual or 0.0
        pause = Pause((usual if self.fault.lasts is None else self.fault.lasts) if slow else 0.0)
        while data:
            size = PIECE if slow else next(self._sizes)
            yield pause
            yield data[:size]
            data = data[size:]

    def _strike(self, rest: bytes) -> Iterator[bytes | Pause | Ending]:
        match self.fault.kind:
            case "cut":
                self.over = True
                yield Ending.CUT
            case "error_event":
                self.over = True
                yield error_event(self._form, self._id)
                yield Ending.WHOLE
            case "corrupt":
                yield b"\xff" * len(rest[:NOISE]) + rest[NOISE:]
            case _:
                yield Pause(math.inf if self.fault.lasts is None else self.fault.lasts)
                if rest:
                    yield rest

    # --- where ---

    def _note(self, data: bytes) -> None:
        self._events += len(list(self._event_ends(data)))
        self._passed += len(data)
        self._end = (self._end + data)[-4:]

    def _place(self, data: bytes) -> int | None:
        """Where in these bytes it happens; None: not in these."""
        place = self._stated(data) if self.fault.after is not None else self._usual(data)
        if place is None:
            return None
        if self.fault.kind == "error_event":
            begun = place == 0 and self._end.endswith((b"\n\n", b"\r\n\r\n"))
            return 0 if begun else next((end for end in self._event_ends(data) if end >= place), None)
        if self.fault.kind == "corrupt":
            if self.fault.after is None and self._stream:
                place = data.find(b"{", place)
            return place if 0 <= place < len(data) else None
        return place

    def _stated(self, data: bytes) -> int | None:
        assert self.fault.after is not None
        left = max(0, self.fault.after - self._passed)
        return left if left <= len(data) else None

    def _usual(self, data: bytes) -> int | None:
        if not self._stream:
            return len(data) // 2
        ends = list(self._event_ends(data))
        missing = EVENTS - self._events
        if missing <= 0:
            return 0
        return ends[missing - 1] if missing <= len(ends) else None

    def _event_ends(self, data: bytes) -> Iterator[int]:
        """Where events end in these bytes."""
        known = len(self._end)
        ends = (found.end() - known for found in _BLANK_LINE.finditer(self._end + data))
        return (end for end in ends if end > 0)
