"""Counts of tokens that a provider tells again and again while it answers.

    >>> later({"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 8}}, {"prompt_tokens": 21, "prompt_tokens_details": None})
    {'prompt_tokens': 21, 'prompt_tokens_details': {'cached_tokens': 8}}

It must not know what the counts are called.
"""

from __future__ import annotations

from claude_relay.core.reading.lenient import count, mapping

from .conversation import Json


def later(known: Json, told: Json) -> dict[str, object]:
    """A usage object with a later one in its place, count by count: one that is 0, null or absent now leaves the earlier one as it is."""
    found = dict(known)
    for name, value in told.items():
        if inside := mapping(value):
            found[name] = later(mapping(known.get(name)), inside)
        elif count(value) or name not in found:
            found[name] = value
    return found
