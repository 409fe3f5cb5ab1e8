"""Two JSON Schemas as one that admits what both of them admit, keyword by keyword.

    >>> merged({"type": "string", "minLength": 2}, {"minLength": 5, "title": "Name"})
    {'minLength': 5, 'title': 'Name', 'type': 'string'}

What cannot be written flat stays an `allOf` within. It must not know references, nor what Gemini takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from claude_relay.core.bodies.lenient import mapping, text

from .keywords import each_once, is_number, types_in


def alternative(base: Mapping[str, Any], branch: Mapping[str, Any]) -> dict[str, Any]:
    """A branch of `anyOf`, with what stands beside that; it is described by both."""
    whole = merged(branch, base)
    words = [description for source in (base, branch) if (description := text(source.get("description")))]
    return whole | ({"description": " ".join(dict.fromkeys(words))} if words else {})


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that admits what both admit; where that cannot be written, the first counts."""
    whole = {**second, **first}
    for key, join in _JOINS.items():
        if key in first and key in second:
            whole[key] = join(first[key], second[key])
    return whole


def _join_properties(first: object, second: object) -> dict[str, object]:
    one, other = mapping(first), mapping(second)
    both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other and one[name] != other[name]}
    return other | one | both


def _join_types(first: object, second: object) -> object:
    one, other = types_in({"type": first}), types_in({"type": second})
    if "NUMBER" in one and "INTEGER" in other:
        one = [*one, "INTEGER"]
    if "NUMBER" in other and "INTEGER" in one:
        other = [*other, "INTEGER"]
    shared = [name for name in one if name in other]
    return [name for name in shared if not (name == "NUMBER" and "INTEGER" in shared)] or first


def _join_enums(first: object, second: object) -> object:
    if not isinstance(first, list) or not isinstance(second, list):
        return first
    return [value for value in first if value in second] or first


def _join_by(pick: Callable[[Any, Any], Any]) -> Callable[[object, object], object]:
    return lambda first, second: pick(first, second) if is_number(first) and is_number(second) else first


_JOINS: Mapping[str, Callable[[Any, Any], object]] = {
    "properties": _join_properties,
    "type": _join_types,
    "enum": _join_enums,
    "required": lambda first, second: each_once([*each_once(first), *each_once(second)]),
    "items": lambda first, second: first if first == second else {"allOf": [first, second]},
    "nullable": lambda first, second: first is True and second is True,
    **{key: _join_by(max) for key in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")},
    **{key: _join_by(min) for key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")},
}
