"""An answer of Claude's Messages API, whole or streamed: https://docs.claude.com/en/docs/build-with-claude/streaming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping

from .answers import Answers, gap
from .claude_blocks import content
from .elements import arguments, others
from .excerpts import Stream
from .page import Line
from .seen import Seen

_KNOWN: Final = ("id", "type", "role", "model", "stop_reason", "usage", "content")
_FRAGMENTS: Final = {
    "text": "text",
    "thinking": "thinking",
    "partial_json": "input",
    "signature": "signature",
    "content": "content",
}
"""What a delta has, and what of the block it belongs to."""
_KINDS: Final = {"text": "text", "thinking": "thinking", "signature": "thinking", "input": "tool_use"}
"""A block whose beginning is not known, by what was said of it."""


def page_of(message: Mapping[str, Any], seen: Seen | None = None) -> dict[str, object]:
    """The page of a message. `seen`: None for one of several in a body."""
    shown: dict[str, object] = {
        name: message[name] for name in ("model", "stop_reason") if message.get(name) is not None
    }
    shown |= {name: Line(one) for name, one in others(message, *_KNOWN).items()}
    if usage := message.get("usage"):
        shown["usage"] = Line(_counts(usage))
    if seen is not None:
        shown |= seen.facts()
    if "content" in message:
        shown["content"] = content(message["content"])
    return shown


def _counts(usage: object) -> object:
    """Without what says nothing."""
    return {name: one for name, one in mapping(usage).items() if one not in (None, {}, [])} or usage


def assembled(stream: Stream) -> tuple[dict[str, Any], bool]:
    """The message that a stream tells, and whether it came to its end."""
    reader = _Assembler()
    for name, data in stream.events:
        reader.event(name, data)
    if stream.skipped:
        reader.gap(stream.skipped)
    for name, data in stream.ending:
        reader.event(name, data)
    return reader.message | {"content": reader.blocks()}, reader.ended


class _Assembler:
    """Puts together what deltas say."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.ended = False
        self._begun: dict[object, dict[str, Any]] = {}
        self._fragments: dict[object, dict[str, list[str]]] = {}

    def event(self, name: str, data: Mapping[str, Any]) -> None:
        """The next event."""
        if name == "content_block_delta":
            self._delta(_index(data), mapping(data.get("delta")))
        elif name == "content_block_start":
            self._begun[_index(data)] = dict(mapping(data.get("content_block")))
        elif name == "message_start":
            self.message = self.message | mapping(data.get("message"))
        elif name == "message_delta":
            self.message |= others(mapping(data.get("delta")))
            self.message["usage"] = mapping(self.message.get("usage")) | others(mapping(data.get("usage")))
            self.message |= others(data, "type", "delta", "usage")
        elif name == "error":
            self.message["error"] = data.get("error")
            self.ended = True
        elif name == "message_stop":
            self.ended = True

    def gap(self, skipped: int) -> None:
        """Events that are not read."""
        for index in list(self._fragments)[-1:]:
            for pieces in list(self._fragments[index].values())[-1:]:
                pieces.append(gap(skipped))

    def blocks(self) -> list[dict[str, Any]]:
        """The content, as an answer that is not streamed has it."""
        indices = [*self._begun, *(index for index in self._fragments if index not in self._begun)]
        return [self._block(index) for index in indices]

    def _delta(self, index: object, delta: Mapping[str, Any]) -> None:
        fragments = self._fragments.setdefault(index, {})
        for name, piece in delta.items():
            if isinstance(piece, str) and (member := _FRAGMENTS.get(name)):
                fragments.setdefault(member, []).append(piece)
        if citation := delta.get("citation"):
            cited = self._begun.setdefault(index, {}).setdefault("citations", [])
            if isinstance(cited, list):
                cited.append(citation)

    def _block(self, index: object) -> dict[str, Any]:
        said: dict[str, Any] = {name: "".join(pieces) for name, pieces in self._fragments.get(index, {}).items()}
        block = self._begun.get(index) or {"type": _KINDS.get(next(iter(said), ""), "?")}
        if "input" in said:
            said["input"] = arguments(said["input"])
        return block | said


ANSWERS: Final = Answers("answer of Claude", ("stop_reason", "usage"), assembled, page_of)


def _index(data: Mapping[str, Any]) -> object:
    index = data.get("index")
    return index if isinstance(index, int) else None
