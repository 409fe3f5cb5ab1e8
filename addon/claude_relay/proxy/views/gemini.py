"""Gemini's generateContent, requests and answers: https://ai.google.dev/api/generate-content. Names may also be written_so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping, text

from . import elements
from .answers import Answers, gap
from .excerpts import Stream, listed
from .page import Line, Noted, size
from .seen import Seen

FIRST: Final = (
    "model",
    "generationConfig",
    "generation_config",
    "toolConfig",
    "tool_config",
    "cachedContent",
    "safetySettings",
)
_SYSTEM: Final = ("systemInstruction", "system_instruction")
_AROUND: Final = ("candidates", "usageMetadata", "modelVersion", "responseId")
_UNDERSCORE = re.compile(r"_([a-z])")


# -- requests


def show_request(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page."""
    found = listed(data, "contents")
    if found is None:
        return None
    shown = elements.settings(found.members, FIRST, ("tools", *_SYSTEM))
    for name in _SYSTEM:
        if (system := found.members.get(name)) is not None:
            shown[name] = elements.instructions(system, _instructions)
    if (tools := found.members.get("tools")) is not None:
        shown["tools"] = elements.tools(tools, _names, lambda _: "")
    if found.items:
        shown["contents"] = elements.turns(found, _turn)
    return f"request to Gemini, {size(found.size)}; contents: newest first", shown


def _turn(found: object) -> tuple[str, object]:
    turn = mapping(found)
    return text(turn.get("role")) or "user", [part(one) for one in elements.items(turn.get("parts"))]


def _instructions(found: object) -> Sequence[tuple[str, str]]:
    return [(text(mapping(one).get("text")) or "?", "") for one in elements.items(mapping(found).get("parts"))]


def _names(tool: Mapping[str, Any]) -> list[str]:
    """A tool of Gemini's is a list of functions, or one of Google's own."""
    found = _camel(tool)
    functions = [text(mapping(one).get("name")) or "?" for one in elements.items(found.get("functionDeclarations"))]
    return functions + [name for name in list(found)[:10] if name != "functionDeclarations"]


def part(found: object) -> object:
    """One part of a turn."""
    fields = _camel(mapping(found))
    shown: dict[str, object] = {}
    for name, one in fields.items():
        inside = _camel(mapping(one))
        if name == "text":
            shown["thought" if fields.get("thought") is True else "text"] = one
        elif name in ("inlineData", "fileData"):
            shown[name] = elements.media(inside.get("mimeType"), inside.get("data"), inside.get("fileUri"))
        elif name == "functionCall":
            shown |= elements.call(name, inside.get("name"), inside.get("id"), inside.get("args"))
        elif name == "functionResponse":
            shown |= {name: Noted(inside.get("name"), text(inside.get("id")) or ""), "response": inside.get("response")}
        elif name == "thoughtSignature":
            shown[name] = Noted("…", size(len(text(one) or "")))
        elif name != "thought":
            shown[name] = one
    return shown


def _camel(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _UNDERSCORE.sub(lambda letter: letter[1].upper(), name[:100]): one
        for name, one in list(found.items())[: elements.MOST]
    }


# -- answers


def _page(answer: Mapping[str, Any], seen: Seen) -> dict[str, object]:
    found = _camel(answer)
    shown: dict[str, object] = {"model": found["modelVersion"]} if found.get("modelVersion") else {}
    shown |= {name: Line(one) for name, one in elements.others(found, *_AROUND).items()}
    if usage := found.get("usageMetadata"):
        shown["usage"] = Line(elements.others(mapping(usage)))
    shown |= seen.facts()
    shown["candidates"] = [_candidate(_camel(mapping(one))) for one in elements.items(found.get("candidates"))]
    return shown


def _candidate(found: Mapping[str, Any]) -> dict[str, object]:
    said = [part(one) for one in elements.items(mapping(found.get("content")).get("parts"))]
    return {"finishReason": found.get("finishReason"), "parts": said} | elements.others(
        found, "finishReason", "content", "index"
    )


def assembled(stream: Stream) -> tuple[dict[str, Any], bool]:
    """The answer that a stream tells, and whether it came to its end. Pieces of one text are put together."""
    found: dict[str, Any] = {}
    candidates: dict[object, dict[str, Any]] = {}
    said: dict[object, list[dict[str, Any]]] = {}
    for n, (_, data) in enumerate([*stream.events, *stream.ending]):
        event = _camel(data)
        found |= elements.others(event, "candidates")
        for one in elements.items(event.get("candidates")):
            candidate = _camel(mapping(one))
            index = str(candidate.get("index"))
            candidates[index] = candidates.get(index, {}) | elements.others(candidate, "content")
            so_far = said.setdefault(index, [])
            if n == len(stream.events) and stream.skipped:
                so_far.append({"text": [gap(stream.skipped)]})
            for piece in elements.items(mapping(candidate.get("content")).get("parts")):
                _add(so_far, mapping(piece))
    whole = [
        candidate | {"content": {"parts": [_joined(piece) for piece in said[index]]}}
        for index, candidate in candidates.items()
    ]
    ended = bool(whole) and all(one.get("finishReason") for one in whole)
    return found | {"candidates": whole}, ended or bool(found.get("promptFeedback"))


def _add(so_far: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """A further part: more of the last text, or a new one."""
    words = piece.get("text")
    if not isinstance(words, str) or piece.keys() - {"text", "thought"}:
        so_far.append(piece)
        return
    last = so_far[-1] if so_far else {}
    if isinstance(last.get("text"), list) and last.get("thought") == piece.get("thought"):
        last["text"].append(words)
    else:
        so_far.append({**piece, "text": [words]})


def _joined(piece: dict[str, Any]) -> dict[str, Any]:
    words = piece.get("text")
    if isinstance(words, list) and all(isinstance(one, str) for one in words):
        return piece | {"text": "".join(words)}
    return piece


ANSWERS: Final = Answers("answer of Gemini", ("usageMetadata",), assembled, _page)
