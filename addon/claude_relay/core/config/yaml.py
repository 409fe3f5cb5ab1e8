"""Reads YAML into plain values and remembers the line of each, so that a later complaint can name it.

Only what a configuration needs is let in: one document, a mapping at its root, text keys, no tags, no key twice.
Anchors and merge keys work; their expansion is bounded: a few lines of nested aliases could stand for billions of values.

>>> read("listen:\\n  proxy: 127.0.0.1:8080\\n").line(("listen", "proxy"))
2
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .problems import Place
from .syntax import mended

MAX_CHARACTERS = 1 << 20
MAX_VALUES = 20_000
MAX_DEPTH = 20
_PREFIX = "tag:yaml.org,2002:"
_TRUE = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Complaint:
    """A problem before it knows the file's name: place, line (from 1), what is wrong."""

    place: Place
    line: int | None
    what: str


class YamlError(Exception):
    """The text is no usable YAML document; `complaints` says why."""

    def __init__(self, complaints: list[Complaint]) -> None:
        """From everything that was found."""
        super().__init__("; ".join(complaint.what for complaint in complaints))
        self.complaints = complaints


@dataclass(frozen=True, slots=True)
class Document:
    """The plain values and where they stand."""

    data: dict[str, object] = field(default_factory=dict)
    lines: Mapping[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int | None:
        """The line of a place, or of the nearest thing that holds it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)


def read(text: str | bytes) -> Document:
    """Parse one document. Raises YamlError with every complaint found."""
    node = _compose(_decode(text))
    if node is None or (isinstance(node, ScalarNode) and node.tag == f"{_PREFIX}null"):
        return Document()
    if not isinstance(node, MappingNode):
        raise YamlError(
            [Complaint((), _line(node), "must be a mapping such as 'providers:', not a list or a single value")]
        )
    reader = _Reader()
    data = reader.mapping(node, ())
    if reader.complaints:
        raise YamlError(reader.complaints)
    return Document(data, reader.lines)


def _decode(text: str | bytes) -> str:
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise YamlError([Complaint((), line, "is not UTF-8 text; save the file as UTF-8")]) from None
    if len(text) > MAX_CHARACTERS:
        raise YamlError([Complaint((), None, f"has more than {MAX_CHARACTERS:,} characters; is this the right file?")])
    return text.removeprefix("\ufeff")


def _compose(text: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False
    yaml.max_depth = MAX_DEPTH  # also because the time for deep nesting grows with its square
    try:
        node: Node | None = yaml.compose(text)
    except MarkedYAMLError as error:
        line, what = mended(error, text)
        raise YamlError([Complaint((), line, what)]) from None
    except RecursionError:
        raise YamlError([Complaint((), None, "is nested too deeply")]) from None
    except (YAMLError, ValueError) as error:
        line = text[: getattr(error, "position", 0)].count("\n") + 1
        raise YamlError([Complaint((), line, "holds a character that YAML does not allow")]) from None
    return node


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


class _Reader:
    """Turns nodes into values, collecting lines and complaints on the way."""

    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.complaints: list[Complaint] = []
        self._values = 0

    def complain(self, node: Node, place: Place, what: str) -> None:
        self.complaints.append(Complaint(place, _line(node), what))

    def value(self, node: Node, place: Place) -> object:
        self._values += 1
        if self._values > MAX_VALUES:
            raise YamlError(
                [Complaint(place[:2], _line(node), f"stands for more than {MAX_VALUES:,} values; use fewer aliases")]
            )
        if len(place) > MAX_DEPTH:
            raise YamlError([Complaint(place[:2], _line(node), "is nested too deeply")])
        self.lines.setdefault(place, _line(node))
        if not isinstance(node, ScalarNode) and node.tag not in (f"{_PREFIX}map", f"{_PREFIX}seq"):
            self.complain(node, place, "carries a tag ('!…'), which has no place here; leave it off")
        if isinstance(node, MappingNode):
            return self.mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*place, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, place)

    def mapping(self, node: MappingNode, place: Place) -> dict[str, object]:
        own: dict[str, tuple[Node, Node]] = {}
        merged: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if key.tag == f"{_PREFIX}merge":
                for name, pair in self.merge(value, place).items():
                    merged.setdefault(name, pair)
            elif not isinstance(key, ScalarNode):
                self.complain(key, place, "a key must be text")
            elif key.value in own:
                first = _line(own[key.value][0])
                self.complain(key, (*place, key.value), f"stands here twice, first in line {first}; keep one")
            else:
                own[key.value] = (key, value)
        return {name: self.entry(pair, (*place, name)) for name, pair in (merged | own).items()}

    def entry(self, pair: tuple[Node, Node], place: Place) -> object:
        key, value = pair
        self.lines[place] = _line(key)
        return self.value(value, place)

    def merge(self, node: Node, place: Place) -> dict[str, tuple[Node, Node]]:
        """The pairs that `<<` brings in; what stands first wins."""
        self._values += 1
        if self._values > MAX_VALUES or len(place) > MAX_DEPTH:
            raise YamlError([Complaint(place[:2], _line(node), "merges too much; use fewer aliases")])
        if isinstance(node, SequenceNode):
            parts = [self.merge(item, (*place, "<<")) for item in node.value]
            return {name: pair for part in reversed(parts) for name, pair in part.items()}
        if not isinstance(node, MappingNode):
            self.complain(node, place, "'<<' takes a mapping or a list of mappings")
            return {}
        pairs: dict[str, tuple[Node, Node]] = {}
        for key, value in node.value:
            if key.tag == f"{_PREFIX}merge":
                pairs = self.merge(value, (*place, "<<")) | pairs
            else:
                pairs[str(key.value)] = (key, value)
        return pairs

    def scalar(self, node: Node, place: Place) -> object:
        kind = str(node.tag).removeprefix(_PREFIX)
        text = str(node.value)
        try:
            return _SCALARS[kind](text)
        except (KeyError, ValueError, OverflowError):
            self.complain(node, place, "is of a kind that has no place here; for text, put it in quotes")
            return None


def _float(text: str) -> float:
    number = float(text.replace("_", ""))
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _int(text: str) -> int:
    based = text.lstrip("+-").lower().startswith(("0x", "0o", "0b"))
    return int(text.replace("_", ""), 0 if based else 10)


_SCALARS: dict[str, Callable[[str], object]] = {
    "str": str,
    "timestamp": str,
    "null": lambda text: None,
    "bool": lambda text: _TRUE[text.lower()],
    "int": _int,
    "float": _float,
}
