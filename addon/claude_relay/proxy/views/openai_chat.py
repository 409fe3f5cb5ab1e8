"""OpenAI's Chat Completions, requests and answers: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from claude_relay.core.bodies.lenient import mapping, text

from . import elements
from .answers import Answers, gap
from .excerpts import Stream, listed
from .page import Line, Noted, size
from .seen import Seen

FIRST: Final = (
    *("model", "max_completion_tokens", "max_tokens", "stream", "reasoning_effort", "verbosity", "tool_choice"),
    *("temperature", "response_format", "service_tier"),
)
_THOUGHTS: Final = ("reasoning_content", "reasoning")
"""What others than OpenAI call what the model thought."""
_KNOWN: Final = ("role", "content", "tool_calls", "tool_call_id", *_THOUGHTS)
_AROUND: Final = ("id", "object", "created", "model", "choices", "usage")


# -- requests


def show_request(data: bytes, seen: Seen) -> tuple[str, Mapping[str, object]] | None:
    """Title and page."""
    found = listed(data, "messages")
    if found is None:
        return None
    shown = elements.settings(found.members, FIRST, ("tools", "functions"))
    for name in ("tools", "functions"):
        if (tools := found.members.get(name)) is not None:
            shown[name] = elements.tools(tools, _name, lambda _: "")
    if found.items:
        shown["messages"] = elements.turns(found, _turn)
    return f"request in Chat Completions, {size(found.size)}; messages: newest first", shown


def _name(tool: Mapping[str, Any]) -> list[str]:
    return [text(mapping(tool.get("function")).get("name")) or text(tool.get("name")) or text(tool.get("type")) or "?"]


def _turn(found: object) -> tuple[str, object]:
    turn = mapping(found)
    role = text(turn.get("role")) or "?"
    said = message(turn)
    if list(said) == ["content"] and "tool_call_id" not in turn:
        return role, said["content"]
    return role, ({"tool_call_id": turn["tool_call_id"]} if "tool_call_id" in turn else {}) | said


def message(found: Mapping[str, Any]) -> dict[str, object]:
    """What a message says: thoughts, content, calls."""
    shown: dict[str, object] = {name: found[name] for name in _THOUGHTS if found.get(name)}
    if found.get("content") not in (None, ""):
        shown["content"] = _content(found["content"])
    if calls := [_call(mapping(one)) for one in elements.items(found.get("tool_calls"))]:
        shown["tool_calls"] = calls
    return shown | elements.others(found, *_KNOWN)


def _content(found: object) -> object:
    return [_part(one) for one in elements.items(found)] if isinstance(found, list) else found


def _part(found: object) -> object:
    part = mapping(found)
    kind = text(part.get("type"))
    if kind in ("text", "refusal"):
        return {kind: part.get(kind, "")} | {
            name: Line(one) for name, one in elements.others(part, "type", kind).items()
        }
    if kind == "image_url":
        image = part.get("image_url")
        return {"image": elements.media(None, None, mapping(image).get("url") or image)}
    if kind == "input_audio":
        audio = mapping(part.get("input_audio"))
        return {"audio": elements.media(audio.get("format"), audio.get("data"))}
    if kind == "file":
        file = mapping(part.get("file"))
        where = text(file.get("file_data")) or f"file {file.get('file_id')}"
        return {"file": Noted(elements.media(None, None, where), text(file.get("filename")) or "")}
    return found


def _call(found: Mapping[str, Any]) -> dict[str, object]:
    function = mapping(found.get("function"))
    args = elements.arguments(function.get("arguments"))
    return elements.call(text(found.get("type")) or "function", function.get("name"), found.get("id"), args)


# -- answers


def _page(found: Mapping[str, Any], seen: Seen) -> dict[str, object]:
    shown: dict[str, object] = {"model": found["model"]} if found.get("model") else {}
    shown |= {name: Line(one) for name, one in elements.others(found, *_AROUND).items()}
    if usage := found.get("usage"):
        shown["usage"] = Line(elements.others(mapping(usage)))
    shown |= seen.facts()
    shown["choices"] = [_choice(mapping(one)) for one in elements.items(found.get("choices"))]
    return shown


def _choice(choice: Mapping[str, Any]) -> dict[str, object]:
    shown: dict[str, object] = {"finish_reason": choice.get("finish_reason")}
    return (
        shown | message(mapping(choice.get("message"))) | elements.others(choice, "index", "finish_reason", "message")
    )


def assembled(stream: Stream) -> tuple[dict[str, Any], bool]:
    """The answer that a stream tells, as one that is not streamed has it, and whether it came to its end."""
    found: dict[str, Any] = {}
    choices: dict[object, _Choice] = {}
    for n, (_, data) in enumerate([*stream.events, *stream.ending]):
        if n == len(stream.events) and stream.skipped and choices:
            next(reversed(choices.values())).gap(stream.skipped)
        found |= elements.others(data, "choices")
        for one in elements.items(data.get("choices")):
            choice = mapping(one)
            choices.setdefault(str(choice.get("index")), _Choice()).take(choice)
    found["choices"] = [choice.whole() for choice in choices.values()]
    return found, bool(choices) and all(choice.finish for choice in choices.values())


class _Choice:
    """Puts together one choice."""

    def __init__(self) -> None:
        self.finish: object = None
        self._said: dict[str, list[str]] = {}
        self._other: dict[str, Any] = {}
        self._calls: dict[object, dict[str, Any]] = {}
        self._arguments: dict[object, list[str]] = {}

    def take(self, choice: Mapping[str, Any]) -> None:
        """What the next event says of it."""
        self.finish = choice.get("finish_reason") or self.finish
        delta = mapping(choice.get("delta"))
        for name, one in delta.items():
            if name == "tool_calls":
                for call in elements.items(one):
                    self._call(mapping(call))
            elif isinstance(one, str) and name != "role":
                self._said.setdefault(name, []).append(one)
            elif one is not None and name != "role":
                self._other[name] = one

    def _call(self, piece: Mapping[str, Any]) -> None:
        index = str(piece.get("index"))
        function = mapping(piece.get("function"))
        known = self._calls.setdefault(index, {})
        known |= elements.others(piece, "index", "function")
        known["function"] = mapping(known.get("function")) | elements.others(function, "arguments")
        if isinstance(written := function.get("arguments"), str):
            self._arguments.setdefault(index, []).append(written)

    def gap(self, skipped: int) -> None:
        """Events that are not read."""
        for pieces in list(self._said.values())[-1:]:
            pieces.append(gap(skipped))

    def whole(self) -> dict[str, Any]:
        """The choice."""
        said: dict[str, Any] = self._other | {name: "".join(pieces) for name, pieces in self._said.items()}
        if self._calls:
            said["tool_calls"] = [
                call | {"function": call["function"] | {"arguments": "".join(self._arguments.get(index, ()))}}
                for index, call in self._calls.items()
            ]
        return {"finish_reason": self.finish, "message": said}


ANSWERS: Final = Answers("answer in Chat Completions", ("usage",), assembled, _page)
