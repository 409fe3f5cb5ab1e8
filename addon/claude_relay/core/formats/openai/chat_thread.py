"""A conversation as the messages of Chat Completions: each call with exactly one result, right after it; files; thoughts that go back.

    >>> Thread(query, family, names, notes).messages((Turn("user", (Text("Hi"),)),), ())
    [{'role': 'user', 'content': 'Hi'}]

It must not know the other fields of a request, nor how answers are read.
https://platform.openai.com/docs/api-reference/chat/create#chat_create-messages
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import groupby

import msgspec

from claude_relay.core.formats.base import Asked
from claude_relay.core.formats.conversation import Call, Document, Image, Part, Result, Text, Thinking, Turn
from claude_relay.core.formats.naming import fit_id

from .chat_media import Media, Message
from .chat_memory import PLACEHOLDER, given_back, wants_placeholder
from .chat_thinking import for_model
from .common import NO_RESULT
from .families import Family

LONGEST_ID = 40
"""Characters of a call's id that every server takes."""
LOST_THOUGHTS = " "
"""The least `reasoning_content` that Moonshot takes: https://github.com/earendil-works/pi/issues/4179"""
BRIDGE = "I have the results."
"""What the assistant says between results and a user's text, where a server wants it to say something."""

_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")

type Shown = Text | Image | Document


class Thread:
    """The messages of one request."""

    def __init__(self, query: Asked, known: Family, names: Mapping[str, str], notes: list[str]) -> None:
        """`known`: what the model takes; `names`: those of tools, by the client's; `notes` gets what is left out or changed."""
        self._query, self._options, self._names, self._notes = query, query.options, names, notes
        self._short_ids = known.short_ids
        self._turns = _merged(query.conversation.turns)
        self._media = Media(self._turns, query.model, query.options, openai=known.openai, notes=notes)
        self._history = _history(for_model(query.options.get("reasoning_history"), query.model))
        self._running = (
            _running(self._turns) if wants_placeholder(query.model) and self._is_google() else len(self._turns)
        )
        self._called = _called(self._turns)
        self._messages: list[Message] = []
        self._open: dict[str, None] = {}
        """Ids of calls that still lack their result."""
        self._late: list[tuple[Text, ...]] = []
        """System texts that wait for these."""

    def messages(self, system: tuple[Text, ...]) -> list[Message]:
        """All of them, `system` first."""
        if system:
            self._system(system)
        for at, turn in enumerate(self._turns):
            self._turn(turn, at)
        self._settle()
        if self._messages and self._messages[-1]["role"] == "assistant":
            self._notes.append("messages: the assistant's last turn is an ordinary message to this provider")
            if self._short_ids:
                self._messages[-1]["prefix"] = True
        return self._messages

    def _turn(self, turn: Turn, at: int) -> None:
        if turn.role == "system":
            texts = tuple(part for part in turn.parts if isinstance(part, Text))
            if self._open:
                self._late.append(texts)
            else:
                self._system(texts)
        elif turn.role == "assistant":
            self._settle()
            self._assistant(turn.parts, at)
        else:
            self._user(turn.parts)

    def _system(self, texts: tuple[Text, ...]) -> None:
        if self._messages and self._options.get("late_system") == "user":
            return self._add("user", (Text(f"<system>\n{_joined(texts)}\n</system>"),))
        return self._add("developer" if self._options.get("developer_role") else "system", texts)

    # -- the assistant's

    def _assistant(self, parts: Sequence[Part], at: int) -> None:
        calls, said = [part for part in parts if isinstance(part, Call)], _said(parts)
        thoughts = [part for part in parts if isinstance(part, Thinking)]
        given = given_back(self._query.recall, [call.id for call in calls], self._query.model)
        message: Message = {"role": "assistant", "content": self._content(said) if said else None}
        if given.details:
            message["reasoning_details"] = given.details
        elif self._history and (calls or said):
            foreign = "\n\n".join(thought.text for thought in thoughts if thought.foreign and thought.text)
            lost = LOST_THOUGHTS if self._history == "reasoning_content" and at in self._called else ""
            if foreign or lost:
                message[self._history] = foreign or lost
        if thoughts and not (
            given.details or (self._history and (calls or said) and all(one.foreign for one in thoughts))
        ):
            self._notes.append("thinking: left out of earlier turns")
        if calls:
            extras = dict(given.extras)
            if at > self._running and calls[0].id not in extras:
                extras[calls[0].id] = {"extra_content": PLACEHOLDER}
            message["tool_calls"] = [self._call(call) | extras.get(call.id, {}) for call in calls]
            self._open = dict.fromkeys(call.id for call in calls)
        if calls or said:
            self._messages.append(message)

    def _is_google(self) -> bool:
        """Whether it may be Google's own interface, which checks signatures. OpenRouter's puts them where they are missing."""
        return self._options.get("thinking") != "openrouter"

    def _call(self, call: Call) -> dict[str, object]:
        function = {"name": self._names[call.name], "arguments": msgspec.json.encode(call.input).decode()}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _id(self, id: str) -> str:
        if not self._short_ids:
            return fit_id(id, LONGEST_ID)
        return id if _SHORT_ID.fullmatch(id) else sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:9]

    # -- the user's

    def _user(self, parts: Sequence[Part]) -> None:
        """Results first, as they must follow their calls directly; then their pictures and what the user says, in one message."""
        shown: list[Shown] = []
        for part in parts:
            if isinstance(part, Result):
                shown += self._result(part)
        self._settle()
        shown += [part for part in parts if isinstance(part, Text | Image | Document)]
        if shown:
            if self._short_ids and self._messages and self._messages[-1]["role"] == "tool":
                self._messages.append({"role": "assistant", "content": BRIDGE})
            self._add("user", shown)

    def _result(self, result: Result) -> list[Shown]:
        """Say a result; returns what only a user's message can hold."""
        texts = [part for part in result.content if isinstance(part, Text)]
        files = [part for part in result.content if not isinstance(part, Text)]
        label = f"Files from the result of call {self._id(result.id)}:"
        if result.id not in self._open:
            return [Text(f"Result of call {self._id(result.id)}:"), *result.content]
        del self._open[result.id]
        if result.is_error:
            texts = [Text("Error:"), *texts]
        if files:
            texts.append(Text("(files of this result are in the next user message)"))
        content = self._content(texts) if texts else ""
        self._messages.append({"role": "tool", "tool_call_id": self._id(result.id), "content": content})
        return [Text(label), *files] if files else []

    def _settle(self) -> None:
        """Calls without a result get one, as no server takes them without; then come the texts that waited."""
        for id in self._open:
            self._messages.append({"role": "tool", "tool_call_id": self._id(id), "content": NO_RESULT})
        self._open = {}
        late, self._late = self._late, []
        for texts in late:
            self._system(texts)

    # -- contents

    def _add(self, role: str, parts: Sequence[Shown]) -> None:
        self._messages.append({"role": role, "content": self._content(parts)})

    def _content(self, parts: Sequence[Shown]) -> object:
        """A text where texts are all there is, as the least of servers take that; else parts."""
        shown = [part if isinstance(part, Text) else self._media.shown(part) for part in parts]
        texts = [part for part in shown if isinstance(part, Text)]
        marked = self._options.get("cache_control") and any(text.cached for text in texts)
        if len(texts) == len(shown) and not marked:
            return _joined(texts)
        return [self._text(part) if isinstance(part, Text) else part for part in shown]

    def _text(self, part: Text) -> Message:
        marked = part.cached and self._options.get("cache_control")
        return {"type": "text", "text": part.text} | ({"cache_control": {"type": "ephemeral"}} if marked else {})


def _history(option: object) -> str:
    """The field of assistant messages in which thoughts go back; "" for none."""
    return option if isinstance(option, str) else "reasoning_content" if option is True else ""


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours of the same role as one turn, as Claude's API takes them."""
    groups = groupby(turns, key=lambda turn: turn.role)
    return [Turn(role, tuple(part for turn in group for part in turn.parts)) for role, group in groups]


def _is_own(turn: Turn) -> bool:
    """Whether a turn is the user's own, not only results."""
    return turn.role == "user" and not any(isinstance(part, Result) for part in turn.parts)


def _running(turns: Sequence[Turn]) -> int:
    """Where the turn begins that runs: at what the user asked last."""
    return max((at for at, turn in enumerate(turns) if _is_own(turn)), default=-1)


def _called(turns: Sequence[Turn]) -> set[int]:
    """The assistant's turns that answer a user's with calls, the last one with the answer itself, too.

    DeepSeek wants the thoughts of all of them back, in every later request: https://api-docs.deepseek.com/guides/thinking_mode
    """
    found: set[int] = set()
    answers: list[int] = []
    calls = False
    for at, turn in enumerate(turns):
        if _is_own(turn):
            answers, calls = [], False
        elif turn.role == "assistant":
            answers.append(at)
            calls = calls or any(isinstance(part, Call) for part in turn.parts)
            if calls:
                found.update(answers)
    return found


def _said(parts: Sequence[Part]) -> list[Text]:
    """The assistant's texts: neighbours are pieces of one (that is how Claude cites), others stand apart."""
    runs = ([part for part in run if isinstance(part, Text)] for _, run in groupby(parts, key=type))
    return [Text("".join(part.text for part in run), run[-1].cached) for run in runs if run]


def _joined(texts: Sequence[Text]) -> str:
    return "\n\n".join(text.text for text in texts)
