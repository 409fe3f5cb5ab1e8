"""Fields of a request's JSON, each of the type that the API gives it, and notes of those that nobody reads.

    >>> filled({"name": ""}, "name", "tools.0")
    Traceback (most recent call last):
    claude_relay.core.formats.base.Unsuited: tools.0.name: must not be empty

It must not know which fields a request has, nor what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from claude_relay.core.bodies.lenient import mapping
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Json

_LONGEST_NAME = 96
_UNFIT = re.compile(r"[^\w.-]")
"""Characters that a client's own names must not bring into a note."""
_TYPES: Mapping[type, str] = {
    str: "a string",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    int: "a whole number",
}


def optional[T](of: Json, name: str, kind: type[T], path: str) -> T | None:
    """The field, if it is there and not null. Raises Unsuited on another type; true and false are no numbers."""
    value = of.get(name)
    if value is None or type(value) is kind:
        return value
    raise Unsuited(path_of(path, name), f"must be {_TYPES[kind]}")


def required[T](of: Json, name: str, kind: type[T], path: str) -> T:
    """The field. Raises Unsuited when it is missing or of another type."""
    value = of.get(name)
    if type(value) is kind:
        return value
    raise Unsuited(path_of(path, name), "is required" if value is None else f"must be {_TYPES[kind]}")


def filled(of: Json, name: str, path: str) -> str:
    """A string that must not be empty."""
    if value := required(of, name, str, path):
        return value
    raise Unsuited(path_of(path, name), "must not be empty")


def number(of: Json, name: str) -> float | None:
    """The top-level field, if it is there and not null. Raises Unsuited when it is no number."""
    value = of.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise Unsuited(name, "must be a number")


def objects(items: list[object], path: str) -> Iterator[tuple[Json, str]]:
    """The entries of a list, each with its path. Raises Unsuited at one that is no object."""
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise Unsuited(f"{path}.{at}", "must be an object")
        yield item, f"{path}.{at}"


def strings(of: Json, name: str) -> tuple[str, ...]:
    """The top-level list without what is empty in it. Raises Unsuited when something else than strings is."""
    items = optional(of, name, list, "") or []
    for at, item in enumerate(items):
        if not isinstance(item, str):
            raise Unsuited(f"{name}.{at}", "must be a string")
    return tuple(item for item in items if item)


def path_of(parent: str, name: str) -> str:
    """Of a field; the parent of a top-level one is ""."""
    return f"{parent}.{name}" if parent else name


def cached(block: Json) -> bool:
    """Whether the client marked the end of a cacheable prefix here."""
    return bool(block.get("cache_control"))


class Notes:
    """What is left out or changed of one request, each said once."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}

    def add(self, field: str, what: str = "left out") -> None:
        """Note a field, or a kind of block."""
        self._notes[f"{_UNFIT.sub('?', field[:_LONGEST_NAME])}: {what}"] = None

    def others(self, of: Json, known: frozenset[str], field: str) -> None:
        """Note the fields that nobody reads; null, false and empty ones mean nothing.

        A mark of the cache changes no answer, as other providers cache by themselves; for how long it asks is heard by none of them.
        """
        if (mark := of.get("cache_control")) is not None and mapping(mark).get("ttl"):
            self.add("cache_control.ttl")
        if not of.keys() <= known:
            for name in of.keys() - known:
                if of[name]:
                    self.add(path_of(field, name))

    def lines(self) -> tuple[str, ...]:
        """All of them, by their names."""
        return tuple(sorted(self._notes))
