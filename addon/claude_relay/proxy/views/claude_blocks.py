"""Claude's content blocks, of requests and answers alike: https://docs.claude.com/en/api/messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping, text

from .elements import call, items, media, others
from .page import Line, Noted, size

_SHOWN_BY_ALL: Final = ("type", "cache_control", "citations")


LEVELS: Final = 4
"""Blocks within blocks."""


def content(found: object, levels: int = LEVELS) -> object:
    """The content of a message or of a tool's result: a text, or blocks."""
    if isinstance(found, list) and levels:
        return [block(one, levels - 1) for one in items(found)]
    return found


def block(found: object, levels: int = LEVELS) -> object:
    """One block. A mark of the prompt cache stands where the prefix that it closes ends."""
    if not isinstance(found, dict):
        return found
    kind = text(found.get("type")) or "?"
    show = _BLOCKS.get(kind) or (_results if kind.endswith("_tool_result") else _other)
    shown = show(kind, found, levels)
    if cited := [_unencrypted(others(mapping(one))) for one in items(found.get("citations"))]:
        shown["citations"] = cited
    if mark := found.get("cache_control"):
        shown["cache_control"] = Line(mark)
    return shown


def cache_mark(found: object) -> str:
    """What a `cache_control` says, as a remark; empty without one."""
    marked = mapping(mapping(found).get("cache_control"))
    return f"cache: {' '.join(str(one)[:40] for one in list(marked.values())[:3])}" if marked else ""


def _text(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    return {kind: found.get("text", "")} | others(found, *_SHOWN_BY_ALL, "text")


def _thinking(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    thought, signature = found.get("thinking", ""), text(found.get("signature")) or ""
    remark = f"signature: {size(len(signature))}" if signature else ""
    return {kind: Noted(thought, remark if thought else f"kept from view; {remark}" if remark else "")}


def _redacted(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    return {kind: Noted("…", size(len(text(found.get("data")) or "")))}


def _media(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    """An image or a document: its type and size, or where it is; a document of text as it is."""
    source = mapping(found.get("source"))
    if source.get("type") in ("text", "content"):
        shown: object = source.get("data") or content(source.get("content"), levels)
    elif source.get("type") == "file":
        shown = f"file {source.get('file_id')}"
    else:
        shown = media(source.get("media_type"), source.get("data"), source.get("url"))
    return {kind: shown} | others(found, *_SHOWN_BY_ALL, "source")


def _call(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    shown = call(kind, found.get("name"), found.get("id"), found.get("input"))
    return shown | others(found, *_SHOWN_BY_ALL, "name", "id", "input")


def _result(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    known = (*_SHOWN_BY_ALL, "tool_use_id", "content")
    return (
        {kind: found.get("tool_use_id", "?")}
        | others(found, *known)
        | {"content": content(found.get("content"), levels)}
    )


def _results(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    """Of a tool at the provider: what was found, without what is encrypted."""
    inside = found.get("content")
    what = [_found(one) for one in items(inside)] if isinstance(inside, list) else _found(inside)
    return {kind: found.get("tool_use_id", "?"), "content": what}


def _found(one: object) -> object:
    if not isinstance(one, dict):
        return one
    if one.get("type") == "web_search_result":
        return {"title": one.get("title"), "url": one.get("url")} | others(
            one, "type", "title", "url", "encrypted_content"
        )
    return _unencrypted(one)


def _other(kind: str, found: Mapping[str, Any], levels: int) -> dict[str, object]:
    return {kind: _unencrypted(others(found, *_SHOWN_BY_ALL)) or {}}


def _unencrypted(found: Mapping[str, Any]) -> dict[str, object]:
    return {name: one if not name.startswith("encrypted_") else Noted("…", _length(one)) for name, one in found.items()}


def _length(one: object) -> str:
    return size(len(one)) if isinstance(one, str) else ""


_BLOCKS: Mapping[str, Callable[[str, Mapping[str, Any], int], dict[str, object]]] = {
    "text": _text,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "image": _media,
    "document": _media,
    "tool_use": _call,
    "server_tool_use": _call,
    "mcp_tool_use": _call,
    "tool_result": _result,
    "mcp_tool_result": _result,
}
