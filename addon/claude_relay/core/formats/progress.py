"""Which events of a provider's stream say that the answer moves on, and which only keep the connection alive.

    >>> says_something("", {"choices": [{"index": 0, "delta": {"content": ""}}]})
    False
    >>> says_something("", {"type": "response.output_item.added", "item": {"type": "reasoning"}})
    True

An event that makes nothing visible is a move all the same (reasoning that is not shown), unless it is a ping, or a chunk in which no
choice or candidate has anything to say. It must not know what becomes of an event.
"""

from __future__ import annotations

import re

from .conversation import Json

_PING = re.compile(r"(?:.*[._-])?(?:ping|keep[-_]?alive|heart[-_]?beat)", re.IGNORECASE)
_LISTS = ("choices", "candidates")
_MARKS = frozenset({"index", "role", "object", "type", "id", "logprobs"})
"""Members of a chunk that say nothing by themselves."""
_SPEAKING = ("message", "function_call")
_SPOKEN_AGAIN = ("response.output_item.done", "response.output_text.delta")
"""Compared and not hashed: a provider's value may be of any kind."""


def says_something(name: str, data: Json) -> bool:
    """Whether an event is more than a sign of life. `name`: its `event:`, often empty."""
    kind = data.get("type") or name
    if not data or (isinstance(kind, str) and _PING.fullmatch(kind)):
        return False
    if data.get("error") or data.get("usage"):
        return True
    return all(_spoken(data[member]) for member in _LISTS if member in data)


def grows_silent(data: Json, before: bool) -> bool:
    """Whether the provider may now be silent for long: it reasons, or a tool works at it. `before`: whether it already might."""
    kind, item = data.get("type"), data.get("item")
    if kind == "response.output_item.added" and isinstance(item, dict):
        return item.get("type") not in _SPEAKING
    return before and kind not in _SPOKEN_AGAIN


def _spoken(value: object) -> bool:
    """Whether there is anything in it but marks."""
    if isinstance(value, dict):
        return any(_spoken(member) for name, member in value.items() if name not in _MARKS)
    if isinstance(value, list):
        return any(_spoken(item) for item in value)
    return value is not None and value != ""
