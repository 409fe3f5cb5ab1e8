"""What pages of answers share: one that came at once, one that came in events, one that is too large for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from claude_relay.core.bodies.lenient import last_member, mapping

from .excerpts import MOST_EVENTS, SHOWN, TAIL, Stream, read_json, read_stream
from .page import size
from .seen import Seen


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers of one format.

    name       as the title says it
    later      members that stand behind the content, and so are looked for at the end of a large answer
    assembled  the answer that a stream tells, as one that is not streamed has it, and whether it came to its end
    page       an answer's page
    """

    name: str
    later: tuple[str, ...]
    assembled: Callable[[Stream], tuple[dict[str, Any], bool]]
    page: Callable[[Mapping[str, Any], Seen], dict[str, object]]

    def show(self, data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
        """Title and page; None: it cannot be read."""
        begin = data[:16].lstrip()[:1]
        if begin == b"{":
            found = mapping(read_json(data))
            return (
                (f"{self.name}, {size(len(data))}", self.page(self._with_later(found, data), seen)) if found else None
            )
        stream = _array(data) if begin == b"[" else read_stream(data)
        if not stream.events and not stream.ending:
            return None
        found, ended = self.assembled(stream)
        if stream.skipped:
            found = self._with_later(found, data)
        many = "many" if stream.skipped else str(len(stream.events))
        title = f"{self.name}, streamed in {many} events, {size(stream.size)}"
        return title if ended else f"{title}; it breaks off before its end", self.page(found, seen)

    def _with_later(self, found: dict[str, Any], data: bytes) -> dict[str, Any]:
        """Of a large answer, with what stands at its end."""
        if len(data) <= SHOWN:
            return found
        later = {name: last_member(data[-TAIL:], name) for name in self.later}
        return found | {name: one for name, one in later.items() if one is not None and not found.get(name)}


def _array(data: bytes) -> Stream:
    """A stream of Gemini's that is an array, which grows."""
    found = read_json(data)
    events = found[:MOST_EVENTS] if isinstance(found, list) else []
    return Stream([("", mapping(one)) for one in events], size=len(data))


def gap(skipped: int) -> str:
    """What stands in a text where events were not read."""
    return f"\n\n[… {size(skipped)} of the stream are not shown …]\n\n"
