"""One block of an answer in Claude's form: how it opens, what it becomes, and what a tool call's arguments are.

    >>> arguments_of('{}{"path": "a"}')
    {'path': 'a'}

Models write arguments in pieces, and not always well: a block knows whether they may leave as they come, and when they are whole. It
must not know the other blocks of its answer, nor providers.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON

FOREIGN = "relay-thoughts-of-another-model"
"""What stands in the place of Claude's signature under the thoughts of other models. Claude would refuse it, so it is known by this.

Every request is searched for it, which is the quicker the longer it is."""

SEARCH_ID = "srvtoolu_relay_"
"""How the ids of other providers' searches begin, of which Claude knows nothing either. What they found has the mark above."""

type Kind = Literal["text", "thinking", "tool_use", "server_tool_use", "web_search_tool_result"]

# Fragments of arguments may leave as they come only if no repair can be needed at the end. Models that write no object (a bare string, an
# array, JSON within JSON, `{}` ahead of the object) show it by how they begin.
_MEMBER = re.compile(r'\s*\{\s*"')
_HEAD = 64  # characters of arguments in which their first member must begin
_TRIES = 64  # how often the arguments of a call are tested for being whole: each test reads all of them


@dataclass(slots=True)
class Block:
    """A block of the answer.

    pieces    texts, or fragments of a call's JSON; in a stream, only what is still needed
    emitted   how many pieces have left
    entries   citations of a text, results of a search
    cited     how many citations have left
    """

    kind: Kind
    id: str = ""
    name: str = ""
    memory: str | None = None
    pieces: list[str] = field(default_factory=list)
    emitted: int = 0
    entries: list[dict[str, object]] = field(default_factory=list)
    cited: int = 0
    known: set[Hashable] = field(default_factory=set)
    opened: bool = False
    closed: bool = False
    passes: bool | None = None
    """Whether arguments may leave as they come; None: not known yet."""
    whole: bool = False
    """Whether the arguments are known to be all there."""
    tried: int = 0
    tries: int = 0

    def over(self) -> bool:
        """Whether nothing more can be expected, once something else has come after it."""
        if self.kind == "tool_use" and not self.whole and self.tried < len(self.pieces) and self.tries < _TRIES:
            self.tried = len(self.pieces)
            if self.pieces[-1].rstrip().endswith("}"):
                self.tries += 1
                # `{}` alone does not count: some servers send it ahead of the arguments.
                self.whole = bool(_object("".join(self.pieces)))
        return self.whole or self.kind != "tool_use"

    def fit_to_pass(self) -> bool:
        """Whether the arguments begin as those of a sane call do. What else comes can be mended only in one piece."""
        if self.passes is None:
            head = "".join(self.pieces)
            begun = _MEMBER.match(head) is not None
            self.passes = begun if begun or len(head) > _HEAD else None
        return bool(self.passes)

    def opening(self) -> dict[str, object]:
        """As `content_block_start` has it."""
        match self.kind:
            case "text":
                return {"type": "text", "text": ""}
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "tool_use" | "server_tool_use":
                return {"type": self.kind, "id": self.id, "name": self.name, "input": {}}
            case "web_search_tool_result":
                return {"type": self.kind, "tool_use_id": self.id, "content": self.entries}

    def content(self) -> dict[str, object]:
        """As a whole message has it."""
        text = "".join(self.pieces)
        match self.kind:
            case "text":
                return {"type": "text", "text": text} | ({"citations": self.entries} if self.entries else {})
            case "thinking":
                return {"type": "thinking", "thinking": text, "signature": FOREIGN}
            case "tool_use" | "server_tool_use":
                return {"type": self.kind, "id": self.id, "name": self.name, "input": arguments_of(text)}
            case "web_search_tool_result":
                return self.opening()


def arguments_of(text: str) -> dict[str, object]:
    """A call's arguments as an object, whatever the model wrote.

    Blanks and null are {}, JSON within a JSON string is unpacked, and `{}` ahead of an object is dropped. The rest is wrapped, not
    completed: half a command may do what the whole would not, while a tool refuses arguments that it does not know.
    """
    text = text.strip()
    if not text:
        return {}
    try:
        value = msgspec.json.decode(text)
    except BAD_JSON:
        found = _object(text.removeprefix("{}"))
        return {"arguments": text} if found is None else found
    if isinstance(value, str) and (found := _object(value)) is not None:
        return found
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


def _object(text: str) -> dict[str, object] | None:
    """The JSON object in the text; None when it is none."""
    try:
        value = msgspec.json.decode(text)
    except BAD_JSON:
        return None
    return value if isinstance(value, dict) else None
