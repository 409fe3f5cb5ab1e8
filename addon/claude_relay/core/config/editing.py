"""Changes a value of relay.yaml and nothing else: comments, order, quotes and blank lines stay as they are.

    edited("default: null   # for now\\n", ("default",), "glm")       -> "default: glm   # for now\\n"
    edited(text, ("routes",), [second, first])                       the routes in another order, each with its comments
    edited(text, ("providers", "glm"), REMOVED)

What the text says is brought nearer to what is wanted, one splice at a time, until reading it gives just that: so no splice can be wrong
unseen. Entries that stay as they are keep their text, wherever they go. It must not know sections, nor what is a good configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from .layout import Layout, Unusual
from .problems import Place, dotted
from .tree import Entry, Kind, Node, tree
from .writing import block as block_lines
from .writing import entry as entry_lines
from .writing import flow, is_block, scalar
from .writing import item as item_lines
from .yaml import YamlError, read

REMOVED: Final = object()
"""In the place of a value: what stands there goes."""
MOST: Final = 1000
"""Splices of one edit."""


class EditError(ValueError):
    """The text cannot be changed in place; the message says why."""


def edited(text: str, place: Place, value: object) -> str:
    """The text with another value at a place of mappings. Raises EditError, and YamlError when it cannot be read as it is."""
    bom = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix("\ufeff")
    eol = "\r\n" if "\r\n" in text else "\n"
    ended = not text or text.endswith("\n")
    text = text if ended else text + eol
    wanted = _with(read(text).data, place, value)
    known = {text}
    for _ in range(MOST):
        try:
            now = read(text).data
            then = _Edit(text, eol).step(now, wanted)
        except (YamlError, Unusual):
            raise EditError(_why(place)) from None
        if then is None and same(now, wanted):
            return bom + (text if ended else text.removesuffix(eol))
        if then is None or then in known:
            break
        text = then
        known.add(text)
    raise EditError(_why(place))


def same(one: object, other: object) -> bool:
    """Whether two values are the same in YAML: 1, 1.0 and true are not; the order of keys does not count."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _why(place: Place) -> str:
    return (
        f"{dotted(place)} stands in relay.yaml in a way that cannot be changed from here, "
        "such as by an anchor that other places use; change the text itself"
    )


def _with(data: Mapping[str, Any], place: Place, value: object) -> dict[str, Any]:
    """The data with another value at a place; mappings on the way are made."""
    (name, *others), found = place, dict(data)
    if others:
        inner = found.get(str(name))
        if value is REMOVED and not isinstance(inner, dict):
            return found
        found[str(name)] = _with(inner if isinstance(inner, dict) else {}, tuple(others), value)
    elif value is REMOVED:
        found.pop(str(name), None)
    else:
        found[str(name)] = value
    return found


def _is_ordered(place: Place) -> bool:
    """Whether the order of a mapping's keys means something: the first glob that fits counts."""
    return len(place) == 3 and place[0] == "providers" and place[2] == "models"


class _Edit:
    """One splice of a text whose lines all end."""

    def __init__(self, text: str, eol: str) -> None:
        self.text, self.eol, self.layout = text, eol, Layout(text)

    def step(self, now: dict[str, Any], wanted: dict[str, Any]) -> str | None:
        """The text after the first splice that it needs; None: it needs none."""
        root = tree(self.text)
        if root is None or root.kind is not Kind.MAPPING:
            if not wanted:
                return None
            lines = [line for name, value in wanted.items() for line in entry_lines(name, value, (name,), 0)]
            start = root.start if root else len(self.text)  # a null, or comments
            end = root.end if root else start
            return self.text[:start] + self._joined(lines) + self.text[end:].lstrip(" ")
        return self._mapping(root, now, wanted, ())

    # --- what is different ---

    def _value(self, holder: Node, entry: Entry, now: object, wanted: object, place: Place) -> str | None:
        node = entry.value
        with suppress(Unusual):
            if node.kind is Kind.MAPPING and isinstance(now, dict) and isinstance(wanted, Mapping) and now and wanted:
                return self._mapping(node, now, wanted, place)
            if node.kind is Kind.SEQUENCE and isinstance(now, list) and isinstance(wanted, list) and now and wanted:
                return self._sequence(node, now, wanted, place)
        return None if same(now, wanted) else self._replaced(holder, entry, wanted, place)

    def _mapping(self, node: Node, now: dict[str, Any], wanted: Mapping[str, Any], place: Place) -> str | None:
        own = {str(entry.name): entry for entry in node.entries if not entry.merges}
        for name, entry in own.items():
            if name in wanted:
                done = self._value(node, entry, now[name], wanted[name], (*place, name))
                if done is not None:
                    return done
        for name, value in wanted.items():
            if name not in own and (name not in now or not same(now[name], value)):
                return self._added(node, name, value, place)
        for name, entry in own.items():
            if name not in wanted:
                return self._removed(node, entry)
        if _is_ordered(place) and list(own) != [name for name in wanted if name in own]:
            order: list[int | str] = [node.entries.index(own[name]) for name in wanted if name in own]
            return self._arranged(node, order) if len(order) == len(node.entries) else None
        return None

    def _sequence(self, node: Node, now: list[Any], wanted: list[Any], place: Place) -> str | None:
        order = _matched(now, wanted)
        if order == list(range(len(now))):
            for entry, old, new in zip(node.entries, now, wanted, strict=True):
                done = self._value(node, entry, old, new, (*place, entry.name))
                if done is not None:
                    return done
            return None
        fresh = flow if node.flow else lambda value: self._item(node, value, place)
        return self._arranged(node, [at if at is not None else fresh(wanted[n]) for n, at in enumerate(order)])

    def _item(self, node: Node, value: object, place: Place) -> str:
        return self._joined(item_lines(value, (*place, 0), self.layout.column(node.start)))

    # --- splices ---

    def _added(self, node: Node, name: str, value: object, place: Place) -> str:
        if node.flow:
            order: list[int | str] = [*range(len(node.entries)), f"{scalar(name)}: {flow(value)}"]
            return self._arranged(node, order)
        heads = self.layout.heads(node)
        column = self.layout.column(heads[-1])
        at = self.layout.stop(heads[-1], node.entries[-1])
        lines = entry_lines(name, value, (*place, name), column)
        rest = self.text[at:].splitlines()
        if not place and all(not line.strip() or line.startswith("#") for line in rest):
            at = len(self.text)
            if self.text.rstrip(" \r\n") != self.text.rstrip("\r\n") or not self.text.endswith(self.eol * 2):
                lines = ["", *lines]
        return self.text[:at] + self._joined(lines) + self.text[at:]

    def _removed(self, node: Node, entry: Entry) -> str:
        at = node.entries.index(entry)
        if node.flow:
            return self._arranged(node, [n for n in range(len(node.entries)) if n != at])
        heads = self.layout.heads(node)
        begin = self.layout.line_start(heads[at])
        if self.text[begin : heads[at]].strip(" "):  # after the dash of a list
            return self.text[: heads[at]] + self.text[heads[at + 1] :]
        stop = self.layout.stop(heads[at], entry)
        if self._is_blank_before(begin) and not self.layout.line(stop).strip():
            stop = self.layout.line_stop(stop)
        return self.text[:begin] + self.text[stop:]

    def _replaced(self, holder: Node, entry: Entry, value: object, place: Place) -> str:
        node = entry.value
        anchor = f"&{node.anchor} " if node.anchor else ""
        if holder.flow or entry.key is None:
            new = anchor + _inline(value, node.quote)
            if holder.flow and entry.key is not None and node.start == node.end:
                return self.text[: entry.key.end] + f": {new}" + self.text[entry.end :]
            space = " " if self.text[node.start - 1] == "-" else ""
            return self.text[: node.start] + space + new + self.text[node.end :]
        colon = self.text.index(":", entry.key.end) + 1
        indent = self.layout.column(entry.key.start) + 2
        block = self._joined(block_lines(value, place, indent)) if is_block(place, value) else ""
        new = "" if block else _inline(value, node.quote)
        head = f" {anchor}{new}".rstrip()
        if node.in_block and self.layout.line_start(node.start) > colon:
            chunks = self.layout.chunks(node)
            stop = self.layout.line_stop(colon)
            comment = self.text[colon:stop] if not node.anchor else self.eol
            if comment.lstrip(" ").startswith("#"):
                comment = " " * max(1, len(comment) - len(comment.lstrip(" ")) - len(head)) + comment.lstrip(" ")
            kept = self.text[stop : chunks[0].begin] if chunks[0].begin > stop else ""
            return self.text[:colon] + head + comment + block + kept + self.text[chunks[-1].stop :]
        rest = self.text[node.end : self.layout.line_stop(node.end)]
        comment = rest.lstrip(" ")
        if not rest.strip():
            rest = self.eol
        elif comment.startswith("#"):  # stays in its column
            rest = " " * max(1, node.end - colon + len(rest) - len(comment) - len(head)) + comment
        return self.text[:colon] + head + rest + block + self.text[self.layout.line_stop(node.end) :]

    def _arranged(self, node: Node, order: Sequence[int | str]) -> str:
        """Entries in another order: numbers of old ones, texts of new ones."""
        if node.flow:
            heads = [entry.key.start if entry.key else entry.value.start for entry in node.entries]
            ends = [entry.end for entry in node.entries]
            return self._put(heads, ends, heads, order, ", ")
        chunks = self.layout.chunks(node)
        starts, stops = [chunk.lead for chunk in chunks], [chunk.stop for chunk in chunks]
        return self._put(starts, stops, [chunk.begin for chunk in chunks], order, "")

    def _put(
        self, starts: list[int], stops: list[int], begins: list[int], order: Sequence[int | str], usual: str
    ) -> str:
        """What stands between entries stays in its place; comments above one that goes stay, too."""
        gaps = [self.text[stop:start] for stop, start in zip(stops, starts[1:], strict=False)]
        between = gaps[-1] if usual and gaps and "#" not in gaps[-1] else usual
        orphans = {at: self.text[starts[at] : begins[at]] for at in range(len(starts)) if at not in order}
        parts: list[str] = []
        for n, one in enumerate(order):
            if n:
                parts.append(gaps[n - 1] if n - 1 < len(gaps) else between)
            parts += [orphans.pop(at) for at in sorted(orphans) if isinstance(one, int) and at < one]
            parts.append(self.text[starts[one] : stops[one]] if isinstance(one, int) else one)
        parts += [orphans[at] for at in sorted(orphans)]
        parts += [gap for gap in gaps[max(len(order) - 1, 0) :] if "#" in gap]
        return self.text[: starts[0]] + "".join(parts) + self.text[stops[-1] :]

    def _joined(self, lines: Sequence[str]) -> str:
        return "".join(line + self.eol for line in lines)

    def _is_blank_before(self, begin: int) -> bool:
        return begin == 0 or not self.layout.line(self.layout.line_start(begin - 1)).strip()


def _inline(value: object, quote: str) -> str:
    return flow(value) if isinstance(value, Mapping | list | tuple) else scalar(value, quote)


def _matched(now: list[Any], wanted: list[Any]) -> list[int | None]:
    """For each that is wanted, the old one that it is, or is made of; None: it is new."""
    free = dict.fromkeys(range(len(now)))
    order: list[int | None] = []
    for at, value in enumerate(wanted):
        equal = [n for n in free if same(now[n], value)]
        found = at if at in equal else equal[0] if equal else None
        if found is not None:
            del free[found]
        order.append(found)
    for at, value in enumerate(wanted):
        if order[at] is None:
            like = [n for n in free if _is_like(now[n], value)]
            if like:
                order[at] = at if at in like else like[0]
                del free[order[at]]  # type: ignore[arg-type]
    return order


def _is_like(old: object, new: object) -> bool:
    """Whether one can be made of the other and still read well."""
    if isinstance(old, dict) and isinstance(new, dict) and new:
        return next(iter(new)) in old
    return not isinstance(old, dict | list) and not isinstance(new, dict | list)
