r"""Values as YAML for people: long texts as they are, short things on one line, remarks beside them, and never more than fits.

    >>> print(page("An answer", {"model": "m", "content": [{"text": Noted("Hi\nthere", "2 lines")}]}), end="")
    # An answer
    model: m
    content:
      - text: |- # 2 lines
          Hi
          there

What JSON can say comes out as YAML that says the same, but for what cannot be seen, for texts that are cut, and for base64. It must not
know what a value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

SHOWN: Final = 256 * 1024
"""Characters of a page, indentation apart."""
NODES: Final = 2500
"""Values on a page."""
WIDTH: Final = 80
"""Characters of a line: mitmweb's pane has no more in a window of 1,400 pixels, and wraps nothing."""
LONGEST_LINE: Final = 100
"""Characters that a line of a text may have before it is wrapped."""
LEAST: Final = 40
"""Characters of a line of a text, however far to the right it begins."""
GOES_ON: Final = "↪ "
"""How a line begins that is none of the text's own."""
MOST_ON_LINES: Final = 300
"""Members of what stands on few lines."""
LONGEST_KEY: Final = 200
LINES: Final = 10_000
"""Of one text."""
UNSEEN_KEPT: Final = 4000
"""Characters of one text that cannot be seen; what follows them is cut."""
DEEPEST: Final = 60
"""Columns of indentation."""

_INDENT: Final = 2
_SEEN_AS: Final = "\ufffd"
# Controls, directions, byte order marks, lone surrogates and line separators of other alphabets. Joiners stay: emoji are made with them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
# What needs no quotes: beginning like a word or a path. On a line of several values less does.
_PLAIN = re.compile(r"(?:[^\W\d_]|[/…]|\d[\d.]* (?=[a-zA-Z]))(?:[^:#\"\\\n\t]|:(?=[^\s]))*(?<!\s)")
_PLAIN_BESIDE = re.compile(r"(?:[^\W\d_]|[/…]|\d[\d.]* (?=[a-zA-Z]))[^:#\"\\\n\t,\[\]{}]*(?<!\s)")
_NAME = re.compile(r"[A-Za-z_][\w-]{0,60}", re.ASCII)
_RESERVED: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off"))
_BASE64 = re.compile(r"(?:data:[\w./;+-]{1,80},)?[A-Za-z0-9+/=_-]{400}")
_BEGIN: Final = 60
"""Characters of base64 that are shown."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with a remark beside it."""

    value: object
    note: str


@dataclass(frozen=True, slots=True)
class Line:
    """Small values that stand on one line, as far as they fit."""

    value: object


@dataclass(frozen=True, slots=True)
class Remark:
    """A line of its own among the items of a list."""

    note: str


class _Full(Exception):
    """No more fits on the page."""


def page(title: str, shown: Mapping[str, object], *, room: int = SHOWN, nodes: int = NODES) -> str:
    """The page. Never raises on what msgspec makes of JSON."""
    writer = _Writer(room, nodes)
    try:
        writer.remark(title, 0)
        writer.entries(shown, "", 0)
    except _Full:
        writer.lines.append("# … cut here: the raw view has it all")
    return "\n".join([*writer.lines, ""])


def size(count: int) -> str:
    """Bytes as people read them: 512 B, 12.3 KB, 1.2 MB."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} KB" if count < 999_950 else f"{count / 1_000_000:.1f} MB"


class _Writer:
    """The lines of a page."""

    def __init__(self, room: int, nodes: int) -> None:
        self.lines: list[str] = []
        self._room = room
        self._nodes = nodes

    def remark(self, note: str, column: int) -> None:
        self._put(f"{' ' * column}# {_on_one_line(note)}")

    def entries(self, shown: Mapping[str, object], lead: str, column: int) -> None:
        """A mapping's entries, the first of them after `lead`; `column`: where its keys begin."""
        for key, value in shown.items():
            self._node(f"{lead}{_key(key)}:", value, column + _INDENT)
            lead = " " * column

    def _node(self, lead: str, value: object, column: int, note: str = "") -> None:
        """A value after `lead`, which ends with a colon or a dash; `column`: where what belongs to it begins."""
        self._nodes -= 1
        if self._nodes < 0:
            raise _Full
        if isinstance(value, str):
            self._text(lead, value, column, note)
        elif isinstance(value, Noted):
            self._node(lead, value.value, column, value.note)
        elif isinstance(value, Line):
            self._line(lead, value.value, column, note)
        elif isinstance(value, dict) and value:
            self._mapping(lead, value, column, note)
        elif isinstance(value, list) and value:
            self._list(lead, value, column, note)
        else:
            self._put(f"{lead} {_short(value)}{_beside(note)}")

    def _mapping(self, lead: str, value: dict[str, object], column: int, note: str) -> None:
        if column > DEEPEST:
            self._deep(lead, value, note)
        elif lead.endswith("-") and not note:
            self.entries(value, f"{lead} ", column)
        else:
            self._put(f"{lead}{_beside(note)}")
            self.entries(value, " " * column, column)

    def _list(self, lead: str, value: Sequence[object], column: int, note: str) -> None:
        if column > DEEPEST:
            self._deep(lead, value, note)
            return
        self._put(f"{lead}{_beside(note)}")
        for item in value:
            if isinstance(item, Remark):
                self.remark(item.note, column)
            else:
                self._node(f"{' ' * column}-", item, column + _INDENT)

    def _deep(self, lead: str, value: Sequence[object] | Mapping[str, object], note: str) -> None:
        """What would stand too far to the right."""
        what = "entries" if isinstance(value, Mapping) else "items"
        self._put(f"{lead} …{_beside(note or f'{len(value)} {what} inside')}")

    def _line(self, lead: str, value: object, column: int, note: str) -> None:
        """On one line, or on several of them, of WIDTH each; as blocks when there is a text that needs one."""
        parts = list(_flow(value)) if isinstance(value, dict | list) and value and _is_small(value) else None
        if parts is None or any(len(part) > WIDTH for part in parts):
            self._node(lead, value, column, note)
            return
        self._nodes -= len(parts)
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        whole = f"{opening}{', '.join(parts)}{closing}"
        if len(lead) + len(whole) + len(note) + 4 <= WIDTH:
            self._put(f"{lead} {whole}{_beside(note)}")
            return
        if note:
            self._put(f"{lead}{_beside(note)}")
            lead = " " * (column - 1)
        for line in _filled(f"{lead} {opening}", parts, " " * column):
            self._put(line)
        self.lines[-1] += closing

    def _text(self, lead: str, text: str, column: int, note: str) -> None:
        whole = len(text)
        if whole <= _BEGIN and text.isprintable() and len(lead) + whole < WIDTH:
            self._put(f"{lead} {_short(text)}{_beside(note)}")
            return
        if whole > _BEGIN and _BASE64.match(text):
            self._put(f"{lead} {_short(text[:_BEGIN] + '…')}{_beside(note or f'{size(whole)} of text')}")
            return
        shown = _visible(text[: max(0, self._room)])
        if len(shown) < whole - text.count("\r"):
            note = f"{note}{'; ' if note else ''}cut: {size(whole)} of text"
        if shown.strip() and ("\n" in shown or len(shown) > WIDTH - _INDENT - len(lead)):
            self._block(lead, shown, column, note)
        else:
            self._put(f"{lead} {_short(shown)}{_beside(note)}")

    def _block(self, lead: str, text: str, column: int, note: str) -> None:
        """A text on lines of its own, as it is."""
        body = text.removesuffix("\n")
        ends = "-" if not text.endswith("\n") else "+" if body.endswith("\n") else ""
        starts = str(_INDENT) if body[:1] in (" ", "\t", "\n") else ""
        self._put(f"{lead} |{starts}{ends}{_beside(note)}")
        indent = " " * column
        self._room -= len(body)
        self.lines.append(indent + f"\n{indent}".join(_lines(body, max(LEAST, WIDTH - column))))

    def _put(self, line: str) -> None:
        self._room -= len(line)
        if self._room < 0:
            raise _Full
        self.lines.append(line)


def _visible(text: str) -> str:
    """The text without what cannot be seen, at most LINES of it."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > LINES:
        text = "\n".join(text.split("\n", LINES)[:LINES])
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    parts = _UNSEEN.split(text, UNSEEN_KEPT)
    return _SEEN_AS.join(parts[:UNSEEN_KEPT])


def _short(value: object, plain: re.Pattern[str] = _PLAIN) -> str:
    """A scalar, or an empty list or mapping, on one line."""
    if (
        isinstance(value, str)
        and len(value) <= LONGEST_KEY
        and plain.fullmatch(value)
        and value.lower() not in _RESERVED
    ):
        return value
    return msgspec.json.encode(value).decode()


def _lines(text: str, width: int) -> list[str]:
    """The lines of a text, very long ones wrapped."""
    lines = text.split("\n")
    if max(map(len, lines)) <= LONGEST_LINE:
        return lines
    return [piece for line in lines for piece in (_pieces(line, width) if len(line) > LONGEST_LINE else (line,))]


def _pieces(line: str, width: int) -> Iterator[str]:
    """A long line in pieces of at most that width, cut between words where there are any."""
    at, end, begin = 0, len(line), ""
    while end - at > width:
        cut = line.rfind(" ", at + width // 2, at + width) + 1 or at + width
        yield begin + line[at:cut].rstrip(" ")
        at, begin = cut, GOES_ON
    yield begin + line[at:]


def _filled(line: str, parts: Sequence[str], indent: str) -> Iterator[str]:
    """Lines of WIDTH with the parts of a value, the first after `line`."""
    for n, part in enumerate(parts):
        comma = "," if n < len(parts) - 1 else ""
        space = " " if n and not line.isspace() else ""
        if n and len(line) + len(part) + 2 > WIDTH:
            yield line
            line, space = indent, ""
        line += f"{space}{part}{comma}"
    yield line


def _is_small(value: object, levels: int = 3) -> bool:
    """Whether it can stand on one line at all, or on few of them."""
    if isinstance(value, dict | list):
        inside = value.values() if isinstance(value, dict) else value
        return levels > 0 and len(value) <= MOST_ON_LINES and all(_is_small(one, levels - 1) for one in inside)
    return not isinstance(value, str) or len(value) <= WIDTH


def _flow(value: dict[str, object] | list[object]) -> Iterator[str]:
    """The members of a small value, without the commas."""
    if isinstance(value, dict):
        yield from (f"{_key(key)}: {_nested(one)}" for key, one in value.items())
    else:
        yield from (_nested(one) for one in value)


def _nested(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(_flow(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(_flow(value))}]"
    return _short(_visible(value) if isinstance(value, str) else value, _PLAIN_BESIDE)


def _key(key: str) -> str:
    if _NAME.fullmatch(key) and key.lower() not in _RESERVED:  # nearly always
        return key
    return _short(_visible(key[:LONGEST_KEY]).replace("\n", " "), _PLAIN_BESIDE)


def _beside(note: str) -> str:
    return f" # {_on_one_line(note)}" if note else ""


def _on_one_line(note: str) -> str:
    return _visible(note[: 2 * LONGEST_KEY]).replace("\n", " ").replace("\t", " ")
