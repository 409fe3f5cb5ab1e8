"""Values as they are written into relay.yaml, in the style in which it ships: sections, providers and routes line by line, what is
smaller in brackets.

    flow({"per": "day", "usd": 50})                                 '{per: day, usd: 50}'
    entry("glm", {"preset": "zhipu"}, ("providers", "glm"), 2)      ['  glm:', '    preset: zhipu']

It must not know texts that are there already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ruamel.yaml.error import YAMLError

from .problems import Place
from .yaml import YamlError, read

_PLAIN = re.compile(r"[A-Za-z][\w.+/-]*(?:://[\w.+/:-]*[\w/-])?", re.ASCII)
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def scalar(value: object, quote: str = "") -> str:
    """One value. `quote`: how texts are quoted, if that will do; the usual: not at all, else by double quotes."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
    text = str(value)
    if quote == "'" and text.isprintable() and text:
        return "'" + text.replace("'", "''") + "'"
    if quote != '"' and _PLAIN.fullmatch(text) and _means(text):
        return text
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escaped(c)) for c in text) + '"'


def flow(value: object) -> str:
    """Anything, in one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{scalar(name)}: {flow(item)}" for name, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def is_block(place: Place, value: object) -> bool:
    """Whether a value at this place is written line by line."""
    if not isinstance(value, Mapping | list | tuple) or not value:
        return False
    return len(place) <= 1 or (len(place) == 2 and place[0] in ("providers", "routes"))


def entry(name: str, value: object, place: Place, indent: int) -> list[str]:
    """A key and its value, at `place`."""
    head = f"{' ' * indent}{scalar(name)}:"
    return [head, *block(value, place, indent + 2)] if is_block(place, value) else [f"{head} {flow(value)}"]


def item(value: object, place: Place, indent: int) -> list[str]:
    """A value of a list, at `place`."""
    if not is_block(place, value):
        return [f"{' ' * indent}- {flow(value)}"]
    first, *others = block(value, place, indent + 2)
    return [f"{' ' * indent}- {first.lstrip()}", *others]


def block(value: object, place: Place, indent: int) -> list[str]:
    """A collection, line by line."""
    if isinstance(value, Mapping):
        return [line for name, part in value.items() for line in entry(str(name), part, (*place, name), indent)]
    assert isinstance(value, Sequence)
    return [line for at, part in enumerate(value) for line in item(part, (*place, at), indent)]


def _means(text: str) -> bool:
    """Whether YAML takes it for a text."""
    try:
        return read(f"x: {text}\n").data == {"x": text}
    except (YamlError, YAMLError):
        return False


def _escaped(character: str) -> str:
    return f"\\U{ord(character):08x}" if ord(character) > 0xFFFF else f"\\u{ord(character):04x}"
