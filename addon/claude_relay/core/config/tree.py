"""YAML as a tree of what stands where, for changing a text without writing the rest of it anew.

    root = tree("default: glm   # for now\\n")
    root.entries[0].value.start, .end       8, 11: its place in the text

What a value means is `yaml.read`'s to say. An alias is a leaf here, and `<<` an entry like any other. It must not know relay.yaml.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from .problems import Place
from .yaml import MAX_DEPTH

MERGE = "<<"
DEEPEST = 2 * MAX_DEPTH
"""Collections in each other: `yaml.read`, which is asked as well, says that fewer are too many."""


class Kind(Enum):
    """What a node is."""

    SCALAR = "scalar"
    MAPPING = "mapping"
    SEQUENCE = "sequence"
    ALIAS = "alias"


@dataclass(slots=True)
class Node:
    """A value. `start`, `end`: its place in the text, of one in block style without what follows its last line.

    flow    in brackets, or a scalar that no block holds
    quote   of a scalar: ' or ", | or >, or none
    anchor  its name, if others may mean it
    """

    kind: Kind
    start: int
    end: int
    flow: bool = False
    quote: str = ""
    anchor: str = ""
    entries: list[Entry] = field(default_factory=list)

    @property
    def in_block(self) -> bool:
        """A collection that is written line by line."""
        return self.kind in (Kind.MAPPING, Kind.SEQUENCE) and not self.flow


@dataclass(slots=True)
class Entry:
    """A value in its collection, with its key or its number."""

    name: str | int
    value: Node
    key: Node | None = None

    @property
    def end(self) -> int:
        """Of its text."""
        return max(self.value.end, self.key.end if self.key else 0)

    @property
    def merges(self) -> bool:
        """Whether it is a `<<`."""
        return self.key is not None and self.name == MERGE and not self.key.quote


def tree(text: str) -> Node | None:
    """The root; None: there is nothing, or no YAML."""
    yaml = YAML(typ="safe", pure=True)
    try:
        events = list(_events(yaml, text))
    except (YAMLError, ValueError, RecursionError):
        return None
    return _node(iter(events), text) if events else None


def _events(yaml: YAML, text: str) -> Iterator[Any]:
    """Of nodes. Raises ValueError for what is nested deeper than any configuration: the time for it grows with its square."""
    depth = 0
    for event in yaml.parse(text):
        depth += isinstance(event, _BEGIN) - isinstance(event, _END)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(event, _NODES):
            yield event


def scalars(node: Node, place: Place = ()) -> Iterator[tuple[Place, Node]]:
    """Every scalar with its place, in the order of the text."""
    if node.kind is Kind.SCALAR:
        yield place, node
    for entry in node.entries:
        yield from scalars(entry.value, (*place, entry.name))


_BEGIN, _END = (MappingStartEvent, SequenceStartEvent), (MappingEndEvent, SequenceEndEvent)
_NODES = (AliasEvent, ScalarEvent, *_BEGIN, *_END)


class _End(Exception):
    """A collection ends here. Its argument: where."""


def _node(events: Iterator[Any], text: str) -> Node:
    event = next(events)
    start, end = event.start_mark.index, event.end_mark.index
    anchor = event.anchor or "" if hasattr(event, "anchor") else ""
    match event:
        case ScalarEvent():
            style = event.style or ""
            whole = len(text[start:end].rstrip()) if style in ("|", ">") else end - start
            return Node(Kind.SCALAR, start, start + whole, flow=True, quote=style, anchor=anchor)
        case AliasEvent():
            return Node(Kind.ALIAS, start, end, flow=True)
        case MappingStartEvent() | SequenceStartEvent():
            kind = Kind.MAPPING if isinstance(event, MappingStartEvent) else Kind.SEQUENCE
            found = Node(kind, start, end, flow=bool(event.flow_style), anchor=anchor)
            found.end = _fill(found, events, text)
            return found
    raise _End(end)


def _fill(node: Node, events: Iterator[Any], text: str) -> int:
    """Read the entries of a collection. Returns where it ends."""
    while True:
        try:
            first = _node(events, text)
        except _End as end:
            own = node.entries[-1].end if node.entries else node.start
            return int(end.args[0]) if node.flow else own
        if node.kind is Kind.SEQUENCE:
            entry = Entry(len(node.entries), first)
            before = node.entries[-1].end if node.entries else node.start
        else:
            name = _plain(text[first.start : first.end], first)
            entry = Entry(name, _node(events, text), first)
            before = first.end
        value = entry.value
        if value.kind is Kind.SCALAR and value.start == value.end:  # the parser has it before whatever comes next
            value.start = value.end = _after(text, before, ":" if entry.key else "-")
        node.entries.append(entry)


def _after(text: str, at: int, sign: str) -> int:
    """After this sign, if it comes next but for blanks and comments; else the place itself."""
    begun = at
    while at < len(text) and (text[at].isspace() or text[at] == "#"):
        at = text.find("\n", at) if text[at] == "#" else at + 1
        if at < 0:
            return begun
    return at + 1 if text[at : at + 1] == sign else begun


def _plain(text: str, key: Node) -> str:
    """What a key says: it is read again where it is more than a word."""
    if not key.quote and not key.anchor and key.kind is Kind.SCALAR and "\n" not in text:
        return text
    try:
        return str(YAML(typ="safe", pure=True).compose(text).value)
    except (YAMLError, ValueError, AttributeError):
        return text
