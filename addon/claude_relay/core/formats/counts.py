"""Counts of tokens that a provider tells again and again while it answers.

    >>> known = {"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 8}}
    >>> keep_later(known, {"prompt_tokens": 21, "prompt_tokens_details": None})
    >>> known
    {'prompt_tokens': 21, 'prompt_tokens_details': {'cached_tokens': 8}}

It must not know what the counts are called.
"""

from __future__ import annotations

from claude_relay.core.bodies.lenient import count, mapping

from .conversation import Json


def keep_later(known: dict[str, object], reported: Json) -> None:
    """Put a later usage object in the place of a known one, count by count: one that is 0, null or absent now leaves the earlier one as it
    is. Takes as long as what is told now, however many names were told before.
    """
    for name, value in reported.items():
        if inside := mapping(value):
            within = known.get(name)
            if not isinstance(within, dict):
                within = known[name] = {}
            keep_later(within, inside)
        elif count(value) or name not in known:
            known[name] = value
