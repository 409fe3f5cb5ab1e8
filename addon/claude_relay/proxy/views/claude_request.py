"""A request to Claude's Messages API, also one that only counts its tokens: https://docs.claude.com/en/api/messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping, text

from . import elements
from .claude_blocks import cache_mark, content
from .excerpts import listed
from .page import size
from .seen import Seen

FIRST: Final = (
    "model",
    "max_tokens",
    "stream",
    "thinking",
    "output_config",
    "tool_choice",
    "temperature",
    "speed",
    "service_tier",
)


def show(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page."""
    found = listed(data, "messages")
    if found is None:
        return None
    shown = elements.settings(found.members, FIRST, ("system", "tools"))
    if (system := found.members.get("system")) is not None:
        shown["system"] = elements.instructions(system, _system)
    if (tools := found.members.get("tools")) is not None:
        shown["tools"] = elements.tools(tools, _name, cache_mark)
    if found.items:
        shown["messages"] = elements.turns(found, _turn)
    return f"request to Claude, {size(found.size)}; messages: newest first", shown


def _turn(found: object) -> tuple[str, object]:
    turn = mapping(found)
    return text(turn.get("role")) or "?", content(turn.get("content"))


def _system(found: object) -> Sequence[tuple[str, str]]:
    if isinstance(found, str):
        return [(found, "")]
    return [(text(mapping(one).get("text")) or "?", cache_mark(one)) for one in elements.items(found)]


def _name(tool: Mapping[str, Any]) -> list[str]:
    return [text(tool.get("name")) or text(tool.get("type")) or text(tool.get("mcp_server_name")) or "?"]
