"""What providers want back in a conversation's next turn, at hand: as much as fits into so many bytes, what was used last.

>>> memories = Memories(most=1000)
>>> memories.keep({"call_1": "a signature", "call_2": "another one"})
>>> memories.find(["call_1", "call_3"])
{'call_1': 'a signature'}

It must not know what a memory says, nor where those are that fell out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from sys import getsizeof

MOST = 32 * 1024 * 1024
"""Bytes, of all conversations together."""
ENTRY = 200
"""Bytes that an entry takes beside its two texts."""


class Memories:
    """Texts by the ids of the calls that they belong to. `most`: bytes of this process's memory that they may take, about."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.bytes = 0
        """How many they take now."""
        self._texts: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._texts)

    def find(self, calls: Iterable[str]) -> dict[str, str]:
        """Those of these calls that are at hand; they stay longest from now on."""
        found = {call: self._texts[call] for call in calls if call in self._texts}
        for call in found:
            self._texts.move_to_end(call)
        return found

    def keep(self, memories: Mapping[str, str]) -> None:
        """Put these at hand, in the place of those that were not used for longest."""
        for call, text in memories.items():
            self._drop(call)
            self._texts[call] = text
            self.bytes += _size(call, text)
        while self.bytes > self.most:
            self._drop(next(iter(self._texts)))

    def _drop(self, call: str) -> None:
        text = self._texts.pop(call, None)
        if text is not None:
            self.bytes -= _size(call, text)


def _size(call: str, text: str) -> int:
    return getsizeof(call) + getsizeof(text) + ENTRY
