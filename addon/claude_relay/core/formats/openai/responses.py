"""OpenAI's Responses API: `POST /responses`.

    >>> request(Asked(conversation, model="gpt-5.5")).path
    '/responses'

The server stores nothing (`store: false`), so that each request holds the whole conversation. What a reasoning model thought before it
called a tool leaves it encrypted; it is remembered under the id of that call (see the stream's reader) and given back before it, but
only to the same model. Options of a provider:

    encrypted_reasoning  true: ask for encrypted reasoning, as by default of models that take an effort, and give it back; false: neither
    reasoning_summary    false: never ask for a summary of the thoughts, which OpenAI gives only to verified organisations
    reasoning_effort     false: never send it; true: send low, medium or high; a list: the levels that are taken
    user_field           where the hashed `metadata.user_id` goes: "safety_identifier", by default for OpenAI's models only, or ""

What a model takes follows from its name (openai_common.FAMILIES). How answers are read is in openai_responses_stream.
It must not know keys, routes or sockets. Reference: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from claude_relay.core.bodies.lenient import mapping, parse_object, text
from claude_relay.core.formats.base import Asked, EventReader, Problem, Sent
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Conversation,
    Document,
    Image,
    Json,
    Part,
    Result,
    Text,
    Thinking,
    Tool,
)
from claude_relay.core.formats.error_text import read_problem
from claude_relay.core.formats.errors import claude_problem, stated_wait
from claude_relay.core.formats.naming import fit_id, fit_names
from claude_relay.core.formats.writer import Writer

from .families import effort_for, family, fits_strict, hashed_user, parameters_of
from .responses_answers import Reader, is_of

PATH = "/responses"
SHORTEST = 16
"""The least `max_output_tokens` that OpenAI takes."""
LONGEST_ID = 64
"""Characters of a `call_id`."""
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_SCHEMA_NAME = "answer"
_TIERS = {"standard_only": "default"}
_PLAIN_EFFORTS = ("low", "medium", "high")
_NO_RESULT = "(no result)"
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def request(asked: Asked) -> Sent:
    """The request for a conversation."""
    said = asked.conversation
    notes: list[str] = []
    names = fit_names(_names(said), _NAME)
    body: dict[str, object] = {
        "model": asked.model,
        "input": (items := list(_Input(asked, names, notes).items())),
        "max_output_tokens": max(SHORTEST, said.max_tokens),
        "store": False,
    }
    if items and items[-1].get("role") == "assistant":
        notes.append("messages: the assistant's last turn is an ordinary message to this provider")
    if said.max_tokens < SHORTEST:
        notes.append(f"max_tokens: raised to {SHORTEST}")
    if said.system:
        body["instructions"] = "\n\n".join(part.text for part in said.system)
    if said.schema is not None:
        shape = {"type": "json_schema", "name": _SCHEMA_NAME, "schema": said.schema, "strict": fits_strict(said.schema)}
        body["text"] = {"format": shape}
    if said.stream:
        body["stream"] = True
    body |= _tools(said, names, notes) | _reasoning(asked, notes) | _sampling(asked, notes) | _account(asked, notes)
    notes += [f"{name}: left out" for name, given in (("top_k", said.top_k), ("stop_sequences", said.stops)) if given]
    back = {theirs: own for own, theirs in names.items() if theirs != own}
    return Sent(PATH, msgspec.json.encode(body), tuple(dict.fromkeys(notes)), back)


def answer(body: Json, writer: Writer) -> None:
    """Read an answer that was not streamed."""
    Reader(writer).body(body)


def stream(writer: Writer) -> EventReader:
    """A reader for a stream."""
    return Reader(writer)


def error(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Read an error answer."""
    kind, code, message = read_problem(body)
    wait = stated_wait(headers, body, message) if status == 429 or status >= 500 else None
    return claude_problem(status, kind, code, message, wait)


# -- what goes before the conversation


def _names(said: Conversation) -> Iterator[str]:
    yield from (tool.name for tool in said.tools)
    yield from (part.name for turn in said.turns for part in turn.parts if isinstance(part, Call))


def _tools(said: Conversation, names: Mapping[str, str], notes: list[str]) -> dict[str, object]:
    tools = [_tool(tool, names, notes) for tool in said.tools]
    members: dict[str, object] = {}
    if said.web_search is not None:
        tools.append(_web_search(said.web_search, notes))
        if isinstance(uses := said.web_search.get("max_uses"), int):
            members["max_tool_calls"] = uses
    if not tools:
        return {}
    members |= {"tools": tools, "tool_choice": _choice(said.choice, said, names)}
    if not said.choice.parallel:
        members["parallel_tool_calls"] = False
    return members


def _tool(tool: Tool, names: Mapping[str, str], notes: list[str]) -> dict[str, object]:
    schema = parameters_of(tool.schema)
    strict = tool.strict and fits_strict(schema)
    if tool.strict and not strict:
        notes.append(f"tools.{tool.name}.strict: left out, the schema has optional properties")
    about = {"description": tool.description} if tool.description else {}
    # OpenAI takes a missing `strict` for true.
    return {
        "type": "function",
        "name": names[tool.name],
        **about,
        "parameters": schema,
        "strict": strict,
    }


def _web_search(settings: Json, notes: list[str]) -> dict[str, object]:
    tool: dict[str, object] = {"type": "web_search"}
    if settings.get("allowed_domains"):
        tool["filters"] = {"allowed_domains": settings["allowed_domains"]}
    if settings.get("blocked_domains"):
        notes.append("tools.web_search.blocked_domains: left out")
    if place := mapping(settings.get("user_location")):
        tool["user_location"] = place
    return tool


def _choice(choice: Choice, said: Conversation, names: Mapping[str, str]) -> object:
    if choice.kind != "tool":
        return _CHOICES[choice.kind]
    if choice.name in {tool.name for tool in said.tools}:
        return {"type": "function", "name": names[choice.name]}
    return {"type": "web_search"} if said.web_search is not None else "required"


def _reasoning(asked: Asked, notes: list[str]) -> dict[str, object]:
    effort, known = asked.conversation.effort, _efforts(asked)
    members: dict[str, object] = {}
    if asked.options.get("encrypted_reasoning", bool(known)):
        members["include"] = ["reasoning.encrypted_content"]
    reasoning: dict[str, str] = {}
    level = effort_for(effort, known)
    if level == "minimal" and asked.conversation.web_search is not None:
        level = "low"  # the search is refused with the least effort
    if level:
        reasoning["effort"] = level
    elif effort.asked or effort.off:
        notes.append("thinking: left to the model")
    if known and effort.asked and asked.options.get("reasoning_summary", True):
        reasoning["summary"] = "auto"
    return members | ({"reasoning": reasoning} if reasoning else {})


def _efforts(asked: Asked) -> Sequence[str]:
    match asked.options.get("reasoning_effort"):
        case False:
            return ()
        case True:
            return family(asked.model).efforts or _PLAIN_EFFORTS
        case list() | tuple() as levels:
            return [str(level) for level in levels]
    return family(asked.model).efforts


def _sampling(asked: Asked, notes: list[str]) -> dict[str, object]:
    given = {"temperature": asked.conversation.temperature, "top_p": asked.conversation.top_p}
    told: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if family(asked.model).sampling:
        return told
    notes += [f"{name}: left out, {asked.model} does not take it" for name in told]
    return {}


def _account(asked: Asked, notes: list[str]) -> dict[str, object]:
    """Who asks, and in which tier: OpenAI's fields, which other servers may refuse."""
    said, openai = asked.conversation, family(asked.model).openai
    members: dict[str, object] = {}
    if said.user:
        name = asked.options.get("user_field", "safety_identifier" if openai else "")
        if isinstance(name, str) and name:
            members[name] = hashed_user(said.user)
        notes.append(f"metadata.user_id: {'hashed' if members else 'left out'}")
    if openai and said.tier in _TIERS:
        members["service_tier"] = _TIERS[said.tier]
    return members


# -- the conversation


@dataclass(slots=True)
class _Input:
    """Writes `input`. `_given`: reasoning that is there already. `_open`: ids of calls that still lack their result."""

    asked: Asked
    names: Mapping[str, str]
    notes: list[str]
    _given: set[str] = field(default_factory=set)
    _open: dict[str, None] = field(default_factory=dict)

    def items(self) -> Iterator[dict[str, object]]:
        for role, turns in groupby(self.asked.conversation.turns, key=lambda turn: turn.role):
            parts = [part for turn in turns for part in turn.parts]
            yield from {"assistant": self._assistant, "system": self._system, "user": self._user}[role](parts)
        yield from self._settle()

    def _system(self, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
        yield {"type": "message", "role": "developer", "content": _content(parts)}

    def _user(self, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
        """Results first, as they belong to the calls just before; one that belongs to none is told as text."""
        shown: list[Part] = []
        for part in parts:
            if not isinstance(part, Result):
                shown.append(part)
            elif part.id in self._open:
                del self._open[part.id]
                yield _result(part.id, _output(part))
            else:
                shown += [Text("Result of an earlier call:"), *part.content]
        yield from self._settle()
        if content := _content(shown):
            yield {"type": "message", "role": "user", "content": content}

    def _settle(self) -> Iterator[dict[str, object]]:
        """Calls without a result get one: OpenAI refuses a conversation that lacks it."""
        for id in self._open:
            yield _result(id, _NO_RESULT)
        self._open = {}

    def _assistant(self, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
        texts: list[dict[str, object]] = []
        for part in parts:
            if isinstance(part, Text):
                texts.append({"type": "output_text", "text": part.text})
            elif isinstance(part, Call):
                if texts:
                    yield _message(texts)
                    texts = []
                yield from self._call(part)
            elif isinstance(part, Thinking):
                self.notes.append("thinking: left out of earlier turns")
        if texts:
            yield _message(texts)

    def _call(self, call: Call) -> Iterator[dict[str, object]]:
        yield from self._recalled(call.id)
        self._open[call.id] = None
        yield {
            "type": "function_call",
            "call_id": fit_id(call.id, LONGEST_ID),
            "name": self.names[call.name],
            "arguments": msgspec.json.encode(call.input).decode(),
        }

    def _recalled(self, id: str) -> Iterator[dict[str, object]]:
        """The reasoning that led to a call, unless it is another model's or was given before."""
        memory = parse_object(self.asked.recall.get(id, "").encode("utf-8", "surrogatepass"))
        if not is_of(memory, self.asked.model) or not self.asked.options.get("encrypted_reasoning", True):
            return
        items = memory.get("items")
        for item in map(mapping, items if isinstance(items, list) else []):
            secret, own = text(item.get("encrypted_content")), text(item.get("id"))
            if secret and secret not in self._given:
                self._given.add(secret)
                summary = item.get("summary")
                yield {
                    "type": "reasoning",
                    **({"id": own} if own else {}),
                    "summary": summary if isinstance(summary, list) else [],
                    "encrypted_content": secret,
                }


def _message(texts: list[dict[str, object]]) -> dict[str, object]:
    return {"type": "message", "role": "assistant", "content": texts}


def _result(id: str, output: object) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": fit_id(id, LONGEST_ID), "output": output}


def _output(result: Result) -> object:
    """A text where there is nothing else, which every server takes."""
    mark = "Error: " if result.is_error else ""
    if all(isinstance(part, Text) for part in result.content):
        return mark + "\n".join(part.text for part in result.content if isinstance(part, Text))
    return [*([{"type": "input_text", "text": mark.strip()}] if mark else []), *_content(result.content)]


def _content(parts: Iterable[Part]) -> list[dict[str, object]]:
    return [written for part in parts if (written := _part(part)) is not None]


def _part(part: Part) -> dict[str, object] | None:
    match part:
        case Text(text=words):
            return {"type": "input_text", "text": words}
        case Image():
            return {"type": "input_image", "image_url": part.url or _data_url(part), "detail": "auto"}
        case Document(url=url) if url:
            return {"type": "input_file", "file_url": url}
        case Document():
            return {"type": "input_file", "filename": _filename(part), "file_data": _data_url(part)}
    return None


def _data_url(part: Image | Document) -> str:
    return f"data:{part.media_type};base64,{part.data}"


def _filename(document: Document) -> str:
    """OpenAI tells the type of a file by its name."""
    title = document.title or "document"
    return title if title.lower().endswith(".pdf") else f"{title}.pdf"
