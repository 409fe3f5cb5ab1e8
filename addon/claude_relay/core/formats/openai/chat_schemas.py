r"""Patterns in the schemas of tools and answers that a server does not take, which makes it refuse the whole request.

    >>> without_patterns({"type": "string", "pattern": "a"}, "anchored")
    ({'type': 'string', 'description': 'Must match the pattern a'}, True)

llama.cpp, and so LM Studio, takes only what is anchored: https://github.com/ggml-org/llama.cpp/issues/26930, 2026-08-11. Dialects that
servers have in common are known to `families.parameters_of`. It must not know requests.
"""

from __future__ import annotations

from collections.abc import Mapping

_BY_NAME = frozenset({"properties", "$defs", "definitions", "dependentSchemas", "patternProperties"})
_INSIDE = frozenset(
    {
        *("items", "prefixItems", "contains", "additionalProperties", "propertyNames", "unevaluatedProperties"),
        *("anyOf", "oneOf", "allOf", "not", "if", "then", "else"),
    }
)
"""Where schemas are within a schema: by the names of properties, and as such or in lists."""


def without_patterns(schema: Mapping[str, object], takes: object) -> tuple[Mapping[str, object], bool]:
    """The schema, with the patterns that are not taken in descriptions, and whether there were any; the same object when not.

    takes  "anchored": what begins with ^ and ends with $; False: none; anything else: all
    """
    if takes is not False and takes != "anchored":
        return schema, False
    plain = _plain(schema, takes is not False)
    return plain, plain is not schema


def _plain(schema: Mapping[str, object], anchored: bool) -> Mapping[str, object]:
    changed: dict[str, object] = {}
    for name, inner in schema.items():
        if name in _BY_NAME and isinstance(inner, Mapping):
            changed[name] = _each(inner, anchored)
        elif name in _INSIDE:
            changed[name] = _any(inner, anchored)
    pattern = schema.get("pattern")
    moves = isinstance(pattern, str) and not (anchored and pattern.startswith("^") and pattern.endswith("$"))
    if not moves and all(schema[name] is value for name, value in changed.items()):
        return schema
    plain = {**schema, **changed}
    if moves:
        del plain["pattern"]
        words, description = f"Must match the pattern {pattern}", schema.get("description")
        plain["description"] = f"{description}\n{words}" if isinstance(description, str) and description else words
    return plain


def _each(nested: Mapping[str, object], anchored: bool) -> Mapping[str, object]:
    plain = {name: _any(value, anchored) for name, value in nested.items()}
    return nested if all(plain[name] is value for name, value in nested.items()) else plain


def _any(value: object, anchored: bool) -> object:
    if isinstance(value, Mapping):
        return _plain(value, anchored)
    if not isinstance(value, list):
        return value
    plain = [_any(one, anchored) for one in value]
    return value if all(new is old for new, old in zip(plain, value, strict=True)) else plain
