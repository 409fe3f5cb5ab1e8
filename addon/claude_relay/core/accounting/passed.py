r"""What an answer has said so far, for an estimate of its output where it does not come to tell its own count.

    >>> passed = Passed()
    >>> passed.event(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}')
    >>> passed.sample(), passed.share
    ('Hello', 1.0)

An event costs a tenth of a microsecond: the first SAMPLE bytes of events are kept as they came, of the rest only their size, and
texts are looked for when somebody asks. It must not know how many tokens they are.
"""

from __future__ import annotations

import re

import msgspec

from claude_relay.core.bodies.lenient import mapping, text, value

SAMPLE = 64 * 1024
"""Bytes of events by which the rest is judged."""

CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
SPOKEN = ("text", "thinking")
"""Blocks that call tools, and what others say."""

# A text that the end of the sample cuts counts as far as it goes.
_TEXTS = re.compile(rb'"(?:text|thinking|partial_json|completion)"\s*+:\s*+"((?:[^"\\]++|\\.)*+)', re.DOTALL)


class Passed:
    """The texts, thoughts and arguments of one answer. `calls`: of tools."""

    __slots__ = ("_kept", "_size", "calls")

    def __init__(self) -> None:
        self.calls = 0
        self._size = 0
        self._kept = bytearray()

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return self.calls > 0 or bool(self.sample())

    @property
    def share(self) -> float:
        """How much larger all of it is than what was kept; 1: that is all."""
        return self._size / len(self._kept) if self._kept else 1.0

    def event(self, data: bytes) -> None:
        """A piece of a content block, or of an old text completion, or the whole of one; as JSON, with or without its `event:`."""
        self._size += len(data)
        if (space := SAMPLE - len(self._kept)) > 0:
            self._kept += data if len(data) <= space else data[:space]

    def arguments(self, given: object) -> None:
        """Arguments of a call that came at once: as JSON text, or as the object itself."""
        if given:
            encoded = given if isinstance(given, str) else msgspec.json.encode(given).decode()
            self.event(msgspec.json.encode({"partial_json": encoded}))

    def content(self, blocks: object) -> None:
        """The content of a whole answer."""
        for block in map(mapping, blocks if isinstance(blocks, list) else ()):
            for name in SPOKEN:
                if spoken := text(block.get(name)):
                    self.event(msgspec.json.encode({name: spoken}))
            if block.get("type") in CALLS:
                self.calls += 1
                self.arguments(mapping(block.get("input")))

    def sample(self) -> str:
        """The beginning of what was said."""
        joined = b"".join(_TEXTS.findall(self._kept))
        text = value(b'"%b"' % joined)
        return text if isinstance(text, str) else joined.decode("utf-8", "replace")
