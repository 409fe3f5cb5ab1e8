"""OpenAI's Responses API, requests and answers: https://platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping, text

from . import elements
from .answers import Answers
from .excerpts import Stream, listed
from .page import Line, Noted, size
from .seen import Seen

FIRST: Final = (
    "model",
    "max_output_tokens",
    "stream",
    "reasoning",
    "text",
    "tool_choice",
    "temperature",
    "service_tier",
)
_OUTCOME: Final = ("model", "status", "incomplete_details", "error")
_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done")
_DELTAS: Final = {
    "response.output_text.delta": ("content", "content_index", "output_text", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "summary_text", "text"),
}
"""Of a piece of text: the list of the item that it belongs to, where its place in that is, the kind of part, the part's member."""


# -- requests


def show_request(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page."""
    found = listed(data, "input")
    if found is None:
        return None
    members = dict(found.members)
    shown = elements.settings(members, FIRST, ("instructions", "tools"))
    if (instructions := members.get("instructions")) is not None:
        shown["instructions"] = elements.instructions(instructions, _instructions)
    if (tools := members.get("tools")) is not None:
        shown["tools"] = elements.tools(tools, _name, lambda _: "")
    if found.items:
        shown["input"] = elements.turns(found, _item)
    return f"request in Responses, {size(found.size)}; input: newest first", shown


def _instructions(found: object) -> Sequence[tuple[str, str]]:
    return [(found, "")] if isinstance(found, str) else []


def _name(tool: Mapping[str, Any]) -> list[str]:
    return [text(tool.get("name")) or text(tool.get("server_label")) or text(tool.get("type")) or "?"]


# -- items


def _item(found: object) -> tuple[str, object]:
    """One entry of `input` or `output`: what it is, and what it says."""
    item = mapping(found)
    kind = text(item.get("type")) or "message"
    if kind == "message":
        return text(item.get("role")) or "message", _content(item.get("content"))
    return kind, (_ITEMS.get(kind) or _other)(item)


def _content(found: object) -> object:
    return [_part(one) for one in elements.items(found)] if isinstance(found, list) else found


def _part(found: object) -> object:
    part = mapping(found)
    kind = text(part.get("type")) or "?"
    if kind in ("input_text", "output_text", "summary_text", "reasoning_text", "refusal"):
        member = "refusal" if kind == "refusal" else "text"
        return {kind: part.get(member, "")} | elements.others(part, "type", member, "logprobs")
    if kind == "input_image":
        return {kind: elements.media(None, None, part.get("image_url") or f"file {part.get('file_id')}")}
    if kind == "input_file":
        where = part.get("file_data") or part.get("file_url") or f"file {part.get('file_id')}"
        return {kind: Noted(elements.media(None, None, where), text(part.get("filename")) or "")}
    return found


def _call(item: Mapping[str, Any]) -> object:
    written = item.get("arguments") if "arguments" in item else item.get("input")
    return {
        "name": Noted(item.get("name"), text(item.get("call_id")) or ""),
        "arguments": elements.arguments(written) if "arguments" in item else written,
    }


def _output(item: Mapping[str, Any]) -> object:
    return {"call_id": item.get("call_id"), "output": _content(item.get("output"))}


def _reasoning(item: Mapping[str, Any]) -> object:
    sealed = text(item.get("encrypted_content"))
    said: dict[str, object] = {name: _content(item[name]) for name in ("summary", "content") if item.get(name)}
    return said | ({"encrypted_content": Noted("…", size(len(sealed)))} if sealed else {})


def _other(item: Mapping[str, Any]) -> object:
    return elements.others(item, "type", "status")


_ITEMS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "function_call": _call,
    "custom_tool_call": _call,
    "mcp_call": _call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
}


# -- answers


def _page(found: Mapping[str, Any], seen: Seen) -> dict[str, object]:
    """What was wanted stands in the answer again; that is left to the request's page."""
    shown: dict[str, object] = {name: found[name] for name in _OUTCOME if found.get(name)}
    if usage := found.get("usage"):
        shown["usage"] = Line(elements.others(mapping(usage)))
    shown |= seen.facts()
    shown["output"] = [dict((_item(one),)) for one in elements.items(found.get("output"))]
    return shown


def assembled(stream: Stream) -> tuple[dict[str, Any], bool]:
    """The answer that a stream tells, and whether it came to its end: its last event holds all of it."""
    found: dict[str, Any] = {}
    items: dict[object, dict[str, Any]] = {}
    pieces: dict[tuple[object, ...], list[str]] = {}
    for name, data in [*stream.events, *stream.ending]:
        kind = text(data.get("type")) or name
        index = str(data.get("output_index"))
        if kind in _ENDS:
            return found | mapping(data.get("response")), True
        if kind == "error":
            return found | {
                "error": data.get("error") or elements.others(data, "type"),
                "output": _put_together(items, pieces),
            }, True
        if kind in ("response.output_item.added", "response.output_item.done"):
            items[index] = items.get(index, {}) | elements.others(mapping(data.get("item")))
        elif (place := _DELTAS.get(kind)) is not None:
            where = (index, place[0], str(data.get(place[1])), *place[2:])
            pieces.setdefault(where, []).append(text(data.get("delta")) or "")
        elif kind == "response.function_call_arguments.delta":
            pieces.setdefault((index, "arguments"), []).append(text(data.get("delta")) or "")
        elif "response" in data:
            found |= mapping(data["response"])
    return found | {"output": _put_together(items, pieces)}, False


def _put_together(
    items: Mapping[object, dict[str, Any]], pieces: Mapping[tuple[object, ...], list[str]]
) -> list[dict[str, Any]]:
    """The items with what was said of them in pieces, unless they were told whole."""
    found = {index: dict(item) for index, item in items.items()}
    whole = {
        (index, name) for index, item in items.items() for name in ("content", "summary", "arguments") if item.get(name)
    }
    for (index, name, *part), said in pieces.items():
        if (index, name) in whole:
            continue
        item = found.setdefault(index, {})
        if part:
            item.setdefault(str(name), []).append({"type": part[1], str(part[2]): "".join(said)})
        else:
            item |= {"type": item.get("type") or "function_call", str(name): "".join(said)}
    return list(found.values())


ANSWERS: Final = Answers("answer in Responses", ("usage", "status"), assembled, _page)
