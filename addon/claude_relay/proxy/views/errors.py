"""An error that a provider or the relay answered with, in whatever shape: https://docs.claude.com/en/api/errors."""

from __future__ import annotations

from collections.abc import Mapping

from claude_relay.core.formats.error_text import read_error

from .excerpts import read_json
from .page import size
from .seen import Seen


def show(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page: what it says, then all of it."""
    found = read_json(data)
    if not isinstance(found, dict | list):
        return None
    kind, code, message = read_error(found)
    said = {"status": seen.status, "type": kind, "code": code, "message": message}
    shown: dict[str, object] = {name: one for name, one in said.items() if one not in (None, "")}
    return f"error, {size(len(data))}", shown | seen.facts() | {"body": found}
