"""What the keywords of a JSON Schema say: its types, its values, what a reference in it points to.

    >>> types_in({"type": ["integer", "null"]})
    ['INTEGER', 'NULL']

Any JSON may stand at any keyword; what makes no sense says nothing. It must not know what Gemini takes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard
from urllib.parse import unquote

_TYPES = {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
TYPED_KEYWORDS = (
    ("OBJECT", {"properties", "required", "additionalProperties", "patternProperties", "propertyNames"}),
    ("ARRAY", {"items", "prefixItems", "contains", "uniqueItems", "minItems", "maxItems"}),
    ("STRING", {"pattern", "minLength", "maxLength", "format"}),
    ("NUMBER", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
)
"""Types → keywords that only a schema of this type has."""


def find(root: object, reference: str) -> object | None:
    """What a reference within the schema points to; None when it points elsewhere."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: object = root
    for step in reference.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return None
    return found


def types_in(flat: Mapping[str, Any]) -> list[str]:
    """The types of a schema as Gemini writes them, with NULL; those that do not exist are left out."""
    given = flat.get("type")
    names = [name.upper() for name in (given if isinstance(given, list) else [given]) if isinstance(name, str)]
    return [name for name in dict.fromkeys(names) if name in _TYPES or name == "NULL"]


def inferred_type(flat: Mapping[str, Any], values: list[object] | None) -> str:
    """The type that the other keywords tell; "" for any."""
    kinds = {_TYPE_OF.get(type(value), "STRING") for value in values or () if value is not None}
    if kinds:
        return "NUMBER" if kinds == {"INTEGER", "NUMBER"} else next(iter(kinds)) if len(kinds) == 1 else "STRING"
    return next((kind for kind, keys in TYPED_KEYWORDS if keys & flat.keys()), "")


_TYPE_OF = {bool: "BOOLEAN", int: "INTEGER", float: "NUMBER", list: "ARRAY", dict: "OBJECT"}


def values_in(flat: Mapping[str, Any]) -> list[object] | None:
    """Those that it enumerates; None when it does not."""
    if "const" in flat:
        return [flat["const"]]
    values = flat.get("enum")
    return values if isinstance(values, list) else None


def is_null(flat: Mapping[str, Any]) -> bool:
    """Whether it admits null alone."""
    return types_in(flat) == ["NULL"] or values_in(flat) == [None]


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is a bound: true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def each_once(values: object) -> list[Any]:
    """A list's values, each once; [] for what is no list."""
    out: list[Any] = []
    for value in values if isinstance(values, list) else ():
        if value not in out:
            out.append(value)
    return out
