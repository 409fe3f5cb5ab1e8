"""What a provider signs along with calls, and wants back with them in the next turns.

    >>> memory = Memory()
    >>> memory.details([{"type": "reasoning.encrypted", "data": "c2ln", "id": "call_1"}])
    >>> memory.keep(writer, [0])      # an answer with one call is whole
    >>> given_back(recall, ["call_1"], "google/gemini-3-pro").details
    [{'type': 'reasoning.encrypted', 'data': 'c2ln', 'id': 'call_1'}]

OpenRouter tells `reasoning_details` of a message, in pieces, and wants the same sequence back:
https://openrouter.ai/docs/guides/best-practices/reasoning-tokens#preserving-reasoning. Gemini behind an interface like OpenAI's puts
`extra_content.google.thought_signature` on a call: https://ai.google.dev/gemini-api/docs/thought-signatures. Both are kept by the id of
the call, and given to the same line of models only, as no other can read them. It must not know messages.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from claude_relay.core.bodies.lenient import mapping, parse_object, text
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.writer import Writer

from .chat_thinking import name_of

PLACEHOLDER = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""For calls that Gemini did not make: https://ai.google.dev/gemini-api/docs/thought-signatures"""
_FORMAT = "openai-chat"
_KEPT = ("extra_content", "provider_specific_fields")
"""Fields of a call that go back as they came: Google's, and LiteLLM's name for the same, https://docs.litellm.ai/docs/providers/gemini"""
_GROWING = ("text", "summary")
_MOST = 1000
"""Entries that are kept of one answer."""
_LONGEST = 200
"""Characters of a model's name that are looked at."""
_DATED = re.compile(r"(-(\d{4}-?\d\d-?\d\d|\d{3,4}|latest|preview|exp|beta|customtools))+$")
_GEMINI = re.compile(r"gemini-(\d+)(?:\.\d+)?-(.*)")

type Detail = dict[str, object]


class Memory:
    """Of one answer."""

    def __init__(self) -> None:
        self._details: list[Detail] = []
        self._pieces: list[dict[str, list[str]]] = []
        """Of each entry, what its texts are made of."""
        self._extras: dict[Hashable, dict[str, object]] = {}

    def details(self, pieces: object, *, whole: bool = False) -> None:
        """More of `reasoning_details`: in a stream, what continues an entry is added to it."""
        for piece in map(mapping, pieces if isinstance(pieces, list) else []):
            last = self._details[-1] if self._details else {}
            if not whole and last and _continues(last, piece):
                for name, value in piece.items():
                    if name in _GROWING and isinstance(value, str):
                        self._pieces[-1].setdefault(name, []).append(value)
                    elif value is not None:
                        last[name] = value
            elif piece and piece != last and len(self._details) < _MOST:
                self._details.append(dict(piece))
                self._pieces.append({name: [words] for name in _GROWING if isinstance(words := piece.get(name), str)})

    def call(self, key: Hashable, entry: Json) -> None:
        """What stands on a call beside its name and arguments."""
        for name in _KEPT:
            if extra := mapping(entry.get(name)):
                self._extras.setdefault(key, {})[name] = extra

    def keep(self, writer: Writer, calls: Sequence[Hashable]) -> None:
        """Have it remembered under the calls of the answer: what belongs to the message, under the first."""
        models = {"asked": writer.provider_model, "model": writer.served_model}
        for detail, pieces in zip(self._details, self._pieces, strict=True):
            detail |= {name: "".join(parts) for name, parts in pieces.items()}
        for key in calls:
            kept: dict[str, object] = {}
            if self._details and key == calls[0]:
                kept["details"] = self._details
            if extra := self._extras.get(key):
                kept["extra"] = extra
            if kept:
                writer.remember(key, msgspec.json.encode({"format": _FORMAT, **models, **kept}).decode())


@dataclass(slots=True)
class Given:
    """What goes back on an assistant's message: `details` on itself, `extras` on calls, by their ids."""

    details: list[Detail] = field(default_factory=list)
    extras: dict[str, dict[str, object]] = field(default_factory=dict)


def given_back(recall: Mapping[str, str], calls: Sequence[str], model: str) -> Given:
    """What was remembered with these calls, as far as this model can read it."""
    given = Given()
    for id in calls:
        memory = parse_object(recall.get(id, "").encode("utf-8", "surrogatepass"))
        if memory.get("format") != _FORMAT or not _same_line(memory, model):
            continue
        details = memory.get("details")
        given.details += [mapping(detail) for detail in details] if isinstance(details, list) else []
        if extra := mapping(memory.get("extra")):
            given.extras[id] = extra
    return given


def wants_placeholder(model: str) -> bool:
    """Whether a model refuses calls of the running turn that are not signed: Gemini, from 3 on."""
    found = _GEMINI.match(name_of(model))
    return found is not None and int(found[1]) >= 3


def line_of(model: str) -> str:
    """Models of one line read each other's signatures: those whose names differ by vendor, variant or date, and minor Geminis."""
    name = _DATED.sub("", name_of(model).lstrip("~")[:_LONGEST])
    found = _GEMINI.fullmatch(name)
    return f"gemini-{found[1]}-{found[2]}" if found else name


def _same_line(memory: Json, model: str) -> bool:
    return line_of(model) in {line_of(name) for name in (text(memory.get("asked")), text(memory.get("model"))) if name}


def _continues(last: Detail, piece: Json) -> bool:
    """Whether a piece goes on with an entry: a text of the same kind, at the same place. One that is signed is over, and what is
    encrypted comes whole.
    """
    same = all(last.get(name) == piece.get(name) for name in ("type", "index"))
    return same and last.get("type") != "reasoning.encrypted" and not last.get("signature")
