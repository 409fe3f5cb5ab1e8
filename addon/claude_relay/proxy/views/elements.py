"""What pages of all formats are made of: turns with the newest first, pictures as type and size, folded instructions and tools, calls.

It must not know how one format writes these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from claude_relay.core.bodies.lenient import BAD_JSON, mapping, text

from .excerpts import SHOWN, Listed, read_item, read_json
from .page import Line, Noted, Remark, size

SUMMARISED: Final = 100
"""Older turns with a line of their own; more of them share one."""
FOLDED: Final = 40
"""Characters of a folded text."""
MOST: Final = 300
"""Turns in full, tools by name, items of a list in one part."""


# -- turns


def turns(found: Listed, show: Callable[[object], tuple[str, object]]) -> list[object]:
    """The turns, newest first, as many in full as SHOWN holds; of the others role and size.

    show  a turn's role and what it says
    """
    whole = len(found.items) if not found.skipped else None
    shown: list[object] = []
    room = SHOWN
    for n, raw in _newest_first(found.last or found.first, whole):
        if room < 0 or len(shown) == MOST:
            return [*shown, *_summaries(found, n, whole)]
        turn = read_item(raw)
        role, said = show(turn) if turn is not None else ("?", as_it_is(raw))
        room -= len(raw) - _pictures(turn)
        shown.append({role: Noted(said, _place(n, whole, len(raw)))})
    if found.skipped:
        shown += _summaries(found, len(found.first), None)
    return shown


def _newest_first(items: Sequence[Raw], whole: int | None) -> Iterator[tuple[int, Raw]]:
    """With their numbers from 1; from the end, negative, when it is not known how many there are."""
    for at in range(len(items) - 1, -1, -1):
        yield (at + 1 if whole is not None else at - len(items)), items[at]


def _place(n: int, whole: int | None, length: int) -> str:
    where = f"{n} of {whole}" if whole is not None else "the newest" if n == -1 else f"{-n} from the end"
    return f"{where}, {size(length)}"


def _summaries(found: Listed, n: int, whole: int | None) -> Iterator[Remark]:
    """What is said of the turns up to the nth, newest first; of the first ones only, when others are not known."""
    if whole is None:
        n = len(found.first)
        yield Remark(f"… {size(found.skipped)} between are not shown; before them:")
    older = found.first[:n]
    for at in range(len(older) - 1, max(-1, len(older) - 1 - SUMMARISED), -1):
        yield Remark(f"{at + 1}: {_role(older[at])}, {size(len(older[at]))}")
    if len(older) > SUMMARISED:
        others = older[: len(older) - SUMMARISED]
        yield Remark(f"… {len(others)} older ones, {size(sum(map(len, others)))}")


class _Turn(msgspec.Struct):
    role: str = ""
    type: str = ""


_decode_turn = msgspec.json.Decoder(_Turn).decode


def _role(raw: Raw) -> str:
    try:
        turn = _decode_turn(raw)
    except BAD_JSON:
        return "?"
    return turn.role[:FOLDED] or turn.type[:FOLDED] or "?"


def _pictures(turn: object, levels: int = 5) -> int:
    """Bytes of base64 in a turn: they take room in the body, and none on the page."""
    if isinstance(turn, list):
        return sum(_pictures(one, levels - 1) for one in turn[:MOST]) if levels else 0
    found = mapping(turn)
    own = max(
        (len(one) for name in ("data", "url", "image_url", "file_data") if (one := text(found.get(name)))), default=0
    )
    inside = (
        found[name]
        for name in ("content", "source", "parts", "inlineData", "inline_data", "image_url", "file")
        if name in found
    )
    return own + (sum(_pictures(one, levels - 1) for one in inside) if levels else 0)


# -- folded


def folded(words: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(words[: 2 * FOLDED].split())
    return line if len(words) <= FOLDED and len(line) <= FOLDED else f"{line[:FOLDED].rstrip()}…"


def instructions(raw: Raw, blocks: Callable[[object], Sequence[tuple[str, str]]]) -> object:
    """Instructions with their sizes. `blocks`: the texts in them, each with a remark or none."""
    found = blocks(read_json(bytes(raw)))
    if not found:
        return Noted("…", size(len(raw)))
    lines: list[object] = [Noted(folded(words), _joined(size(len(words)), remark)) for words, remark in found[:50]]
    if len(lines) == 1:
        return lines[0]
    return Noted(lines, f"{len(found)} blocks, {size(len(raw))}")


def tools(
    raw: Raw, name: Callable[[Mapping[str, Any]], Sequence[str]], mark: Callable[[Mapping[str, Any]], str]
) -> object:
    """The names of tools with the size of all. `mark`: a remark on one of them, or nothing."""
    found = items(read_json(bytes(raw)))
    names = [one for tool in found for one in name(mapping(tool))]
    marks = [f"{mark(mapping(tool))} at {''.join(name(mapping(tool))[:1])}" for tool in found if mark(mapping(tool))]
    return Noted(Line(names[:MOST]), _joined(f"{len(names)}, {size(len(raw))}", *marks[:8]))


def _joined(*remarks: str) -> str:
    return ", ".join(filter(None, remarks))


# -- settings


def settings(members: Mapping[str, Raw], first: Sequence[str], without: Sequence[str]) -> dict[str, object]:
    """What else is wanted of the model, the more important first."""
    names = [*(name for name in first if name in members), *(name for name in members if name not in first)]
    return {name: setting(members[name]) for name in names[:MOST] if name not in without}


def setting(raw: Raw) -> object:
    """One of them; a large one only as far as a page goes."""
    found = read_json(bytes(raw))
    if found is None and bytes(raw) != b"null":
        return as_it_is(raw)
    return Line(found) if isinstance(found, dict | list) else found


def as_it_is(raw: Raw) -> str:
    """JSON that cannot be read, such as a number beyond all bounds."""
    return bytes(raw)[:SHOWN].decode("utf-8", "replace")


# -- parts


def base64_size(data: object) -> str:
    """The size of what is written in base64."""
    length = len(data) if isinstance(data, str) else 0
    return size(length * 3 // 4)


def media(kind: object, data: object, url: object = None) -> str:
    """A picture or a file: its type and size, or where it is."""
    name = text(kind) or "?"
    if (address := text(url)) is not None:
        if not address.startswith("data:"):
            return address
        head, _, data = address.partition(",")
        name = head[5:].partition(";")[0] or name
    return f"{name}, {base64_size(data)}"


def arguments(written: object) -> object:
    """The arguments of a call, which some formats write as a text of JSON, even when it is cut off."""
    if not isinstance(written, str):
        return written
    if not written.strip():
        return {}
    found = read_json(written.encode("utf-8", "replace"))
    return written if found is None else found


def call(kind: str, name: object, id: object, args: object) -> dict[str, object]:
    """A call of a tool."""
    shown: dict[str, object] = {kind: Noted(text(name) or "?", text(id) or "")}
    if args not in (None, ""):
        shown["input"] = args
    return shown


def others(fields: Mapping[str, Any], *known: str) -> dict[str, object]:
    """What else stands in an object and says something."""
    return {name: one for name, one in fields.items() if name not in known and one not in (None, [], {}, "")}


def items(found: object) -> list[Any]:
    """The first MOST of a list; [] when the value is none."""
    return found[:MOST] if isinstance(found, list) else []
