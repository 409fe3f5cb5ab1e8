"""JSON Schema made to fit the `Schema` of Google's Gemini API, which knows few keywords and refuses a request that has any other.

    >>> clean({"type": ["integer", "null"], "exclusiveMinimum": 0, "multipleOf": 5, "$comment": "cents"})
    ({'type': 'INTEGER', 'nullable': True, 'minimum': 1, 'description': '(multipleOf: 5)'}, ('multipleOf',))

What has a twin is rewritten; what has none is put into words at the end of the description, where the model can heed it. Whatever
the definitions refer to, the outcome has at most MAX_NODES schemas in it. It must not know tools or requests.

Fields of `Schema`: https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON, mapping, text

from .keywords import TYPED_KEYWORDS, each_once, find, inferred_type, is_null, is_number, types_in, values_in
from .merging import alternative, merged
from .patterns import compiles

MAX_NODES = 2000
"""Schemas within one schema; what is more is cut, the deepest first."""
_DEPTHS = (32, 16, 8, 4, 2)
"""Levels that are kept, tried in turn until the schema is small enough."""
_MAX_STEPS = 20_000
"""References and parts of `allOf` that are followed for one schema."""
_LONGEST_HINT = 300

# fmt: off
ALLOWED = frozenset((
    "type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties",
    "required", "propertyOrdering", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "example",
    "anyOf", "default", "minimum", "maximum",
))
# fmt: on
"""The only keywords that a cleaned schema has."""

_FORMATS = {
    "STRING": {"date-time"},
    "INTEGER": {"int32", "int64"},
    "NUMBER": {"float", "double"},
}
_COUNTS = {
    "STRING": ("minLength", "maxLength"),
    "ARRAY": ("minItems", "maxItems"),
    "OBJECT": ("minProperties", "maxProperties"),
}
_SHAPES = set().union(*(keys for _, keys in TYPED_KEYWORDS)) - {"required"} | {
    "type", "enum", "const", "$ref", "allOf", "anyOf", "oneOf",
}  # fmt: skip
# fmt: off
_IN_WORDS = (
    "multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "patternProperties", "propertyNames",
    "additionalProperties", "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
    "unevaluatedProperties", "unevaluatedItems", "prefixItems", "additionalItems", "examples", "contentEncoding",
    "contentMediaType",
)
# fmt: on
_ANY_ITEM: Mapping[str, object] = {"type": "STRING"}


def clean(schema: object) -> tuple[dict[str, object], tuple[str, ...]]:
    """The schema for Gemini, and the keywords that could only be put into words, or were cut ("nesting", "size").

    Takes any JSON, never raises. A schema that admits everything becomes a text, which every such schema admits. Cleaning what is clean
    changes nothing.
    """
    cleaner = _Cleaner(schema, _DEPTHS[0])
    cleaned = cleaner.clean()
    for depth in _DEPTHS[1:]:
        if not cleaner.is_full:
            break
        cleaner = _Cleaner(schema, depth)
        cleaned = cleaner.clean()
    return cleaned, tuple(sorted(cleaner.lost))


def parameters(schema: object) -> tuple[dict[str, object] | None, tuple[str, ...]]:
    """As `clean`, for the parameters of a function: always an object. None when there are none: an object without properties is refused."""
    root = mapping(schema)
    cleaned, lost = clean(root | {"type": "object"})
    branches = cleaned.get("anyOf")
    if isinstance(branches, list):
        cleaned, lost = _union(branches), tuple(sorted({*lost, "anyOf"}))
    return (cleaned if cleaned.get("properties") else None), lost


def _union(branches: list[dict[str, Any]]) -> dict[str, object]:
    """One object that admits what any of the branches admits."""
    objects = [branch for branch in branches if branch.get("type") == "OBJECT"]
    properties: dict[str, object] = {}
    for branch in objects:
        properties = dict(mapping(branch.get("properties"))) | properties
    required = [name for name in properties if all(name in (branch.get("required") or ()) for branch in objects)]
    sets = [sorted(mapping(branch.get("properties"))) for branch in objects]
    described = next((branch["description"] for branch in objects if branch.get("description")), "")
    whole: dict[str, object] = {"type": "OBJECT", "description": described, "properties": properties}
    _hint(whole, "anyOf", f"properties of one of {_as_text(sets)}")
    return whole | ({"required": required} if required else {})


class _Cleaner:
    """One schema. `is_full`: it did not fit MAX_NODES. `lost`: keywords without a twin."""

    def __init__(self, root: object, depth: int) -> None:
        self.lost: set[str] = set()
        self.is_full = False
        self._root, self._depth = root, depth
        self._nodes, self._steps = MAX_NODES, _MAX_STEPS

    def clean(self) -> dict[str, object]:
        return self._node(self._root, 0, frozenset({"#"})) or dict(_ANY_ITEM)

    def _node(self, schema: object, depth: int, seen: frozenset[str]) -> dict[str, object] | None:
        """The schema, cleaned; None when there is no room for it. `seen`: the references on the way to it."""
        if depth > self._depth:
            self.lost.add("nesting")
            return None
        if self._nodes <= 0:
            self.is_full = True
            self.lost.add("size")
            return None
        self._nodes -= 1
        flat, seen = self._flat(schema, seen, 0)
        flat, seen, branches = self._branches(flat, seen)
        if branches:
            kept = [self._node(branch, depth + 1, seen | more) for branch, more in branches]
            distinct = [branch for at, branch in enumerate(kept) if branch and branch not in kept[:at]]
            if len(distinct) > 1:
                return {"anyOf": distinct}
            if distinct:
                return distinct[0]
            flat = {key: flat[key] for key in flat if key != "type"} | {"type": types_in(branches[0][0])[:1]}
        return self._leaf(flat, depth, seen)

    # -- references, allOf, anyOf

    def _flat(self, schema: object, seen: frozenset[str], level: int) -> tuple[dict[str, Any], frozenset[str]]:
        """The schema with what it refers to and all that it must also fit merged into it."""
        given = mapping(schema)
        flat = {key: value for key, value in given.items() if key not in ("$ref", "allOf")}
        self._steps -= 1
        if self._steps < 0 or level > self._depth:
            self.lost.add("nesting")
            return flat, seen
        met = seen
        reference = given.get("$ref")
        if isinstance(reference, str):
            target = find(self._root, reference)
            if target is None or reference in seen:
                self.lost.add("$ref")
                flat.setdefault("type", mapping(target).get("type", "object"))
                _hint(flat, "as", reference.rpartition("/")[2] or "the whole")
            else:
                more, met = self._flat(target, seen | {reference}, level + 1)
                flat = merged(flat, more)
        parts = given.get("allOf")
        for part in parts if isinstance(parts, list) else ():
            more, known = self._flat(part, seen, level + 1)
            flat, met = merged(flat, more), met | known
        return flat, met

    def _branches(
        self, flat: dict[str, Any], seen: frozenset[str], level: int = 0
    ) -> tuple[dict[str, Any], frozenset[str], list[tuple[dict[str, Any], frozenset[str]]]]:
        """The alternatives of a schema, each with what holds for all of them; none when there is only one, which is merged then.

        Gemini takes nothing beside `anyOf`, so what stands beside it goes into each alternative.
        """
        base = {key: value for key, value in flat.items() if key not in ("anyOf", "oneOf")}
        given = [flat[key] for key in ("anyOf", "oneOf") if isinstance(flat.get(key), list) and flat[key]]
        for other in given[1:]:
            self._in_words(base, "oneOf", other)
        alternatives = [self._flat(branch, seen, 1) for branch in (given[0] if given else ())]
        if alternatives and not any(_SHAPES & branch.keys() for branch, _ in alternatives):
            self._in_words(base, "anyOf", given[0])
            alternatives = []
        if alternatives:
            shaped = [(branch, known) for branch, known in alternatives if not is_null(branch)]
            joined = [(alternative(base, branch), known) for branch, known in shaped]
            if len(shaped) < len(alternatives):
                base["nullable"] = True
                joined = [(branch | {"nullable": True}, known) for branch, known in joined]
            if len(joined) == 1 and level < self._depth:
                return self._branches(joined[0][0], seen | joined[0][1], level + 1)
            return base, seen, joined
        types = types_in(base)
        if "NULL" in types:
            base["nullable"] = True
            types = [name for name in types if name != "NULL"]
        if "NUMBER" in types:
            types = [name for name in types if name != "INTEGER"]
        if "type" in base:
            base["type"] = types or ["STRING"]
        return base, seen, [(base | {"type": name}, seen) for name in types] if len(types) > 1 else []

    # -- a schema of one type

    def _leaf(self, flat: dict[str, Any], depth: int, seen: frozenset[str]) -> dict[str, object]:
        values = values_in(flat)
        known = types_in(flat)
        kind = known[0] if known else inferred_type(flat, values)
        out: dict[str, object] = {"type": kind or "STRING"}
        for key in ("title", "description"):
            if words := text(flat.get(key)):
                out[key] = words
        if flat.get("nullable") is True or (values and None in values):
            out["nullable"] = True
        for key in ("default", "example"):
            if key in flat:
                out[key] = flat[key]
        if not kind and not values:
            _hint(out, "any", "JSON value")
        self._enum(out, values)
        self._limits(out, flat)
        if kind == "ARRAY":
            out["items"] = self._items(flat, depth, seen)
        elif kind == "OBJECT":
            self._properties(out, flat, depth, seen)
        for key in _IN_WORDS:
            # False and true say what a model does anyway, and stand in nearly every schema.
            if key in flat and not (isinstance(flat[key], bool) and key != "uniqueItems") and flat[key] not in ({}, []):
                self._in_words(out, key, flat[key])
        return out

    def _enum(self, out: dict[str, object], values: list[object] | None) -> None:
        """Gemini enumerates texts only. Other values stay in words: as texts they would reach the tool with the wrong type."""
        if not values:
            return
        texts = list(dict.fromkeys(value for value in values if isinstance(value, str) and value))
        if texts and out["type"] == "STRING":
            out["enum"] = texts
        if any(value not in texts for value in values if value is not None) or (texts and out["type"] != "STRING"):
            self._in_words(out, "enum", values)

    def _limits(self, out: dict[str, object], flat: Mapping[str, Any]) -> None:
        kind = str(out["type"])
        form = flat.get("format")
        if form == "enum" and kind == "STRING":
            # Without values it is a 400: https://github.com/elastic/kibana/pull/286302
            out |= {"format": form} if "enum" in out else {}
        elif isinstance(form, str) and form in _FORMATS.get(kind, ()):
            out["format"] = form
        elif isinstance(form, str) and form:
            self._in_words(out, "format", form)
        for key in _COUNTS.get(kind, ()):
            if type(flat.get(key)) is int and flat[key] >= 0:
                out[key] = flat[key]
        if kind == "STRING" and (pattern := text(flat.get("pattern"))):
            if compiles(pattern):
                out["pattern"] = pattern
            else:
                self._in_words(out, "pattern", pattern)
        if kind in ("INTEGER", "NUMBER"):
            self._bound(out, flat, "minimum", "exclusiveMinimum", max, 1)
            self._bound(out, flat, "maximum", "exclusiveMaximum", min, -1)

    def _bound(
        self,
        out: dict[str, object],
        flat: Mapping[str, Any],
        key: str,
        exclusive: str,
        tighter: Callable[[list[Any]], Any],
        step: int,
    ) -> None:
        inner, outer = flat.get(key), flat.get(exclusive)
        if outer is True:  # as in draft 4: it sharpens the bound beside it
            inner, outer = None, inner
        bounds = [inner] if is_number(inner) else []
        if is_number(outer):
            whole = out["type"] == "INTEGER" and float(outer).is_integer()
            bounds.append(int(outer) + step if whole else outer)
            if not whole:
                self._in_words(out, exclusive, outer)
        if bounds:
            out[key] = tighter(bounds)

    def _items(self, flat: Mapping[str, Any], depth: int, seen: frozenset[str]) -> object:
        """The items' schema, which Gemini must have."""
        items = flat.get("items")
        listed = flat.get("prefixItems", items)
        if isinstance(listed, list):
            items = {"anyOf": listed}
        # Costs nothing, so that a schema that was cut to it is not cut again.
        return dict(_ANY_ITEM) if items in (None, _ANY_ITEM) else self._node(items, depth + 1, seen) or dict(_ANY_ITEM)

    def _properties(self, out: dict[str, object], flat: Mapping[str, Any], depth: int, seen: frozenset[str]) -> None:
        properties = {}
        for name, schema in mapping(flat.get("properties")).items():
            if (cleaned := self._node(schema, depth + 1, seen)) is not None:
                properties[name] = cleaned
        if properties:
            out["properties"] = properties
        for key in ("required", "propertyOrdering"):
            names = flat.get(key)
            if kept := [name for name in each_once(names) if isinstance(name, str) and name in properties]:
                out[key] = kept

    def _in_words(self, out: dict[str, Any], key: str, value: object) -> None:
        self.lost.add(key)
        _hint(out, key, _as_text(value))


# -- writing


def _hint(out: dict[str, Any], key: str, words: str) -> None:
    """Put a keyword into words, at the end of the description, once."""
    said = text(out.get("description")) or ""
    hint = f"({key}: {words})" if key not in ("any", "as") else f"({key} {words})"
    if hint not in said:
        out["description"] = f"{said} {hint}".strip()


def _as_text(value: object) -> str:
    try:
        words = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except BAD_JSON:
        words = "…"
    return words if len(words) <= _LONGEST_HINT else f"{words[: _LONGEST_HINT - 1]}…"
