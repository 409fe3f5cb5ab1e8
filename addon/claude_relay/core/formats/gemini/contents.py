"""A conversation as Gemini's `contents`: turns that alternate, as many responses as calls, and signatures on the calls they came with.

Gemini signs its thoughts where it calls a function, and Gemini 3 refuses a conversation that has lost a signature. They are kept under
the id of the call (`Writer.remember`) and given back on it, if a model of the same family is asked. Calls of other models get a
placeholder that Google documents for this (https://ai.google.dev/gemini-api/docs/thought-signatures), as the plain text that stands
there and in Google's own examples, though the field is one of bytes and its base64 has been seen to work as well. A signature of
another model is never sent. Where Google's own tools work beside the client's, what they did before a call goes back in front of it
(https://ai.google.dev/gemini-api/docs/tool-combination). It must not know settings, nor what tools there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from claude_relay.core.bodies.lenient import mapping, parse_object, text
from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.conversation import Call, Document, Image, Part, Result, Text, Thinking, Turn

from .grounding import SERVER_SIDE
from .media import MediaPieces, Piece
from .models import Model, model_of

PLACEHOLDER = "skip_thought_signature_validator"
"""In the place of a signature, on calls that Gemini did not make."""
GO_ON = "Go on from where your last message ends."
"""After a last message of the model's own, for models that do not continue it."""


@dataclass(slots=True)
class _Content:
    """Neighbouring turns of one role."""

    role: str
    parts: list[Part] = field(default_factory=list)

    @property
    def calls(self) -> list[Call]:
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def results(self) -> list[Result]:
        return [part for part in self.parts if isinstance(part, Result)]


class Contents:
    """Of one request while it is being written."""

    def __init__(
        self,
        query: Asked,
        model: Model,
        names: Mapping[str, str],
        note: Callable[[str], None],
        *,
        server_side: bool = False,
    ) -> None:
        """For one request.

        names        those of tools that Gemini takes, by the client's
        note         gets what is left out or changed
        server_side  whether Google's own tools work beside the client's
        """
        self._query, self._talk, self._model = query, query.conversation, model
        self._names, self._note, self._server_side = names, note, server_side
        by_url = query.options.get("url_files", model.is_at_least(2, 5)) is True
        self._media = MediaPieces(by_url=by_url, note=note)

    def turns(self) -> list[Piece]:
        """The turns. The first is the user's, and so is the last."""
        groups = self._groups()
        if not groups or groups[0].role == "model":
            groups.insert(0, _Content("user", [Text("(The conversation before this is not included.)")]))
        if groups[-1].calls:
            groups.append(_Content("user"))
        elif groups[-1].role == "model" and not self._model.rules.prefill:
            self._note("messages: the last one is followed by a user's, as this model does not continue its own")
            groups.append(_Content("user", [Text(GO_ON)]))
        answers_calls = [bool(before.calls) for before in [_Content(""), *groups]]
        turn = max((at for at, group in enumerate(groups) if group.role == "user" and not answers_calls[at]), default=0)
        contents: list[Piece] = []
        calls: list[Call] = []
        for at, group in enumerate(groups):
            if group.role == "model":
                calls = group.calls
                parts = self._model_parts(group, signed=at > turn and self._model.is_at_least(3))
            else:
                parts = self._user_parts(group, calls)
            contents.append({"role": group.role, "parts": parts})
        return contents

    def _groups(self) -> list[_Content]:
        """The turns without thoughts, which nobody but their author can use; neighbours of one role in one."""
        groups: list[_Content] = []
        for turn in self._talk.turns:
            parts = self._without_thoughts(turn)
            role = "model" if turn.role == "assistant" else "user"
            if parts and groups and groups[-1].role == role:
                groups[-1].parts.extend(parts)
            elif parts:
                groups.append(_Content(role, parts))
        return groups

    def _model_parts(self, group: _Content, *, signed: bool) -> list[Piece]:
        """`signed`: the first call must have a signature, be it the placeholder."""
        parts: list[Piece] = []
        first = True
        for part in group.parts:
            if not isinstance(part, Call):
                parts += self._pieces(part)
                continue
            memory = self._memory(part)
            if self._server_side:
                parts += _server_side_in(memory)
            call = {"name": self._names[part.name], "args": part.input} | _id_in(memory)
            signature = text(memory.get("signature")) or (PLACEHOLDER if signed and first else None)
            parts.append({"functionCall": call} | ({"thoughtSignature": signature} if signature else {}))
            first = False
        return parts

    def _user_parts(self, group: _Content, calls: list[Call]) -> list[Piece]:
        """First as many responses as there were calls, in their order; then what came with them; then all the rest."""
        results: dict[str, Result] = {}
        strays: list[Result] = []
        wanted = {call.id for call in calls}
        for result in group.results:
            if result.id in wanted and result.id not in results:
                results[result.id] = result
            else:
                strays.append(result)
        parts: list[Piece] = []
        beside: list[Piece] = []
        for call in calls:
            response, more = self._response(call, results.get(call.id))
            parts.append({"functionResponse": response})
            beside += more
        for stray in strays:
            self._note("tool_result: one without its call goes out as text")
            beside.append({"text": f"Result of an earlier tool call:\n{_words(stray)}"})
            beside += [piece for part in stray.content if not isinstance(part, Text) for piece in self._pieces(part)]
        for part in group.parts:
            beside += self._pieces(part)
        return parts + beside

    def _response(self, call: Call, result: Result | None) -> tuple[Piece, list[Piece]]:
        """The response to a call, and what of it must stand beside it."""
        head = {"name": self._names[call.name]} | _id_in(self._memory(call))
        if result is None:
            self._note("tool_use: one without a result is answered with an error")
            return head | {"response": {"error": "the call has no result"}}, []
        words: list[str] = []
        inside: list[Piece] = []
        beside: list[Piece] = []
        for part in result.content:
            for piece in self._pieces(part):
                if "text" in piece:
                    words.append(str(piece["text"]))
                else:
                    # Before Gemini 3 a response holds no files.
                    (inside if self._model.is_at_least(3) and "inlineData" in piece else beside).append(piece)
        response = head | {"response": {"error" if result.is_error else "output": "\n".join(words)}}
        return response | ({"parts": inside} if inside else {}), beside

    def _pieces(self, part: Part) -> list[Piece]:
        match part:
            case Text():
                return [{"text": part.text}]
            case Image() | Document():
                return self._media.pieces(part)
        return []

    def _memory(self, call: Call) -> Mapping[str, object]:
        """What Gemini gave with this call; nothing if it was another family's."""
        memory = parse_object(self._query.recall.get(call.id, "").encode())
        author = model_of(text(memory.get("model")) or "")
        same = (author.kind and author.kin == self._model.kin) or memory.get("asked") == self._query.model
        return memory if same and memory.get("format") == "gemini" else {}

    def _without_thoughts(self, turn: Turn) -> list[Part]:
        if turn.role == "system":
            return [Text(f"<system>\n{part.text}\n</system>") for part in turn.parts if isinstance(part, Text)]
        parts: list[Part] = [part for part in turn.parts if not isinstance(part, Thinking)]
        if len(parts) < len(turn.parts):
            self._note("thinking: left out of earlier turns")
        return parts


def _words(result: Result) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, Text))


def _id_in(memory: Mapping[str, object]) -> Piece:
    """An id goes back only where Gemini gave one: older models do not know the field."""
    id = text(memory.get("id"))
    return {"id": id} if id else {}


def _server_side_in(memory: Mapping[str, object]) -> list[Piece]:
    """What Google's own tools did before the call."""
    before = memory.get("before")
    return (
        [dict(part) for part in before if any(mapping(part).get(kind) for kind in SERVER_SIDE)]
        if isinstance(before, list)
        else []
    )
