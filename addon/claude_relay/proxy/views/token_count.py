"""How many tokens a prompt has, as providers answer it: `{"input_tokens": 2095}`, `{"totalTokens": 31}`."""

from __future__ import annotations

from collections.abc import Mapping

from claude_relay.core.bodies.lenient import mapping

from .excerpts import read_json
from .page import size
from .seen import Seen


def show(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page."""
    found = mapping(read_json(data))
    return (f"count of tokens, {size(len(data))}", found | seen.facts()) if found else None
