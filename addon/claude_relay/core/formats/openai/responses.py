"""OpenAI's Responses API: `POST /responses`.

    >>> request(Asked(conversation, model="gpt-5.5")).path
    '/responses'

The server stores nothing (`store: false`), so that each request holds the whole conversation. What a reasoning model thought leaves it
encrypted; it is remembered with what else OpenAI wants back of an answer (`responses_memory`), and given back in its place, but only to
the same model. Options of a provider:

    family               whose rules count, for models of free names: "gpt-5.6-sol", or one for each, {"my-*": "gpt-5.6-sol"}
    encrypted_reasoning  true: ask for encrypted reasoning, as by default of models that take an effort, and give it back; false: neither
    reasoning_summary    false: never ask for a summary of the thoughts, which OpenAI gives only to verified organisations
    reasoning_effort     false: never send it; true: send low, medium or high; a list: the levels that are taken
    user_field           where the hashed `metadata.user_id` goes: "safety_identifier", by default for OpenAI's models only, or ""
    most_output          output tokens that a model gives at most
    most_tools           how many tools a request may have
    search_sources       false: do not ask which pages a search has found

What a model takes follows from its name (`families`). How answers are read is in `responses_answers`.
It must not know keys, routes or sockets. Reference: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import msgspec

from claude_relay.core.bodies.lenient import parse_object
from claude_relay.core.formats.base import Asked, EventReader, Sent, Unsuited
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Document,
    Image,
    Json,
    Part,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.naming import fit_id, fit_names
from claude_relay.core.formats.recalling import SAID, anchor, said_key
from claude_relay.core.formats.searching import place_of, restrict
from claude_relay.core.formats.writer import Writer

from .common import CHOICES, NAME, NO_RESULT, PLAIN_EFFORTS, SCHEMA_NAME, TIERS, check_tools, output_limit, unseen
from .common import error as error  # a function of the format
from .families import Family, effort_for, effort_notes, family, hashed_user, notes_on_name, ruling_name
from .responses_answers import Reader
from .responses_memory import is_of, replay
from .schemas import answer_schema, fits_strict, parameters_of, schema_notes

PATH = "/responses"
SHORTEST = 16
"""The least `max_output_tokens` that OpenAI takes. https://github.com/earendil-works/pi/issues/6265 2026-07-02"""
LONGEST_ID = 64
"""Characters of a `call_id`."""


def request(query: Asked) -> Sent:
    """The request for a conversation. Raises Unsuited for what this model or the provider's search cannot be asked."""
    said, name = query.conversation, ruling_name(query)
    rules = family(name)
    notes = list(notes_on_name(name, query.model))
    names = fit_names(said.names_of_tools(), NAME)
    body: dict[str, object] = {
        "model": query.model,
        "input": (items := list(_Input(query, rules, names, notes).items())),
        "max_output_tokens": output_limit(query, SHORTEST, notes),
        "store": False,
    }
    if items and items[-1].get("role") == "assistant":
        notes.append("messages: the assistant's last turn is an ordinary message to this provider")
    if said.system:
        body["instructions"] = "\n\n".join(part.text for part in said.system)
    if said.schema is not None:
        schema, strict = answer_schema(said.schema)
        body["text"] = {"format": {"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": strict}}
    if said.stream:
        body["stream"] = True
    body |= _tools(query, rules, names, notes) | _reasoning(query, rules, notes)
    if include := _include(query, rules):
        body["include"] = include
    body |= _sampling(query, rules, notes) | _account(query, rules, notes)
    notes += schema_notes(said)
    notes += [f"{name}: left out" for name, given in (("top_k", said.top_k), ("stop_sequences", said.stops)) if given]
    back = {theirs: own for own, theirs in names.items() if theirs != own}
    return Sent(PATH, msgspec.json.encode(body), tuple(dict.fromkeys(notes)), back)


def answer(body: Json, writer: Writer) -> None:
    """Read an answer that was not streamed."""
    Reader(writer).body(body)


def stream(writer: Writer) -> EventReader:
    """A reader for a stream."""
    return Reader(writer)


# -- what goes before the conversation


def _tools(query: Asked, rules: Family, names: Mapping[str, str], notes: list[str]) -> dict[str, object]:
    said = query.conversation
    tools = [_tool(tool, names, notes) for tool in said.tools]
    members: dict[str, object] = {}
    if said.web_search is not None:
        tools.append(_web_search(said.web_search, rules))
        if isinstance(uses := said.web_search.get("max_uses"), int):
            members["max_tool_calls"] = uses
    if not tools:
        return {}
    check_tools(query, rules, len(tools))
    members |= {"tools": tools, "tool_choice": _choice(said.choice, names, len(tools))}
    if not said.choice.parallel:
        members["parallel_tool_calls"] = False
    return members


def _tool(tool: Tool, names: Mapping[str, str], notes: list[str]) -> dict[str, object]:
    schema = parameters_of(tool.schema)
    strict = tool.strict and fits_strict(schema)
    if tool.strict and not strict:
        notes.append(f"tools.{tool.name}.strict: left out, the schema is not of the kind that this provider guarantees")
    about = {"description": tool.description} if tool.description else {}
    # OpenAI takes a missing `strict` for true.
    return {
        "type": "function",
        "name": names[tool.name],
        **about,
        "parameters": schema,
        "strict": strict,
    }


def _web_search(settings: Json, rules: Family) -> dict[str, object]:
    """Domains that are blocked are in no type of the SDK's, but in its guide: #domain-filtering, 2026-11-27.

    https://developers.openai.com/api/docs/guides/tools-web-search
    """
    restrict(settings, *rules.searches)
    tool: dict[str, object] = {"type": "web_search"}
    filters = {name: settings[name] for name in ("allowed_domains", "blocked_domains") if settings.get(name)}
    for name, domains in filters.items():
        listed = domains if isinstance(domains, list) else []
        if len(listed) > rules.searches[name]:
            raise Unsuited(f"tools.web_search.{name}", f"at most {rules.searches[name]} with this provider")
        if not listed or any("/" in str(domain) for domain in listed):
            raise Unsuited(f"tools.web_search.{name}", "the web search of this provider takes domains without paths")
    if filters:
        tool["filters"] = filters
    if settings.get("user_location"):  # without a place it says that there is none, or the United States would be taken
        tool["user_location"] = {"type": "approximate", **place_of(settings)}
    return tool


def _choice(choice: Choice, names: Mapping[str, str], tools: int) -> object:
    """A choice of the type `web_search` is taken for that of an older tool, and refused: so it is the only one allowed, and required.

    https://community.openai.com/t/tool-choice-forcing-web-search-not-working/1368057 2026-11-27
    """
    match choice.kind:
        case "tool":
            return {"type": "function", "name": names[choice.name]}
        case "search" if tools == 1:
            return "required"
        case "search":
            return {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]}
        case kind:
            return CHOICES[kind]


def _reasoning(query: Asked, rules: Family, notes: list[str]) -> dict[str, object]:
    effort, known = query.conversation.effort, _efforts(query, rules)
    reasoning: dict[str, str] = {}
    level = effort_for(effort, known)
    if level == "minimal" and query.conversation.web_search is not None:
        level = "low"  # the search is refused with the least effort
    if level:
        reasoning["effort"] = level
    notes += effort_notes(effort, level)
    if known and effort.asked and query.options.get("reasoning_summary", True):
        reasoning["summary"] = "auto"
    return {"reasoning": reasoning} if reasoning else {}


def _include(query: Asked, rules: Family) -> list[str]:
    """What an answer is to hold that it does not by itself."""
    wanted = []
    if query.options.get("encrypted_reasoning", bool(_efforts(query, rules))):
        wanted.append("reasoning.encrypted_content")
    if query.conversation.web_search is not None and query.options.get("search_sources", rules.search_sources):
        wanted.append("web_search_call.action.sources")
    return wanted


def _efforts(query: Asked, rules: Family) -> Sequence[str]:
    match query.options.get("reasoning_effort"):
        case False:
            return ()
        case True:
            return rules.responses_efforts or PLAIN_EFFORTS
        case list() | tuple() as levels:
            return [str(level) for level in levels]
    return rules.responses_efforts


def _sampling(query: Asked, rules: Family, notes: list[str]) -> dict[str, object]:
    given = {"temperature": query.conversation.temperature, "top_p": query.conversation.top_p}
    settings: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if rules.sampling:
        return settings
    notes += [f"{name}: left out, {query.model} does not take it" for name in settings]
    return {}


def _account(query: Asked, rules: Family, notes: list[str]) -> dict[str, object]:
    """Who asks, and in which tier: OpenAI's fields, which other servers may refuse."""
    said = query.conversation
    members: dict[str, object] = {}
    if said.user:
        name = query.options.get("user_field", "safety_identifier" if rules.openai else "")
        if isinstance(name, str) and name:
            members[name] = hashed_user(said.user)
        notes.append(f"metadata.user_id: {'hashed' if members else 'left out'}")
    if rules.openai and said.tier in TIERS:
        members["service_tier"] = TIERS[said.tier]
    elif said.tier not in ("", "auto"):
        notes.append("service_tier: left out")
    return members


# -- the conversation


@dataclass(slots=True)
class _Input:
    """Writes `input`. `_given`: reasoning that is there already. `_open`: ids of calls that still lack their result."""

    query: Asked
    rules: Family
    names: Mapping[str, str]
    notes: list[str]
    _given: set[str] = field(default_factory=set)
    _open: dict[str, None] = field(default_factory=dict)

    def items(self) -> Iterator[dict[str, object]]:
        before: list[Turn] = []
        for role, turns in groupby(self.query.conversation.turns, key=lambda turn: turn.role):
            run = list(turns)
            parts = [part for turn in run for part in turn.parts]
            if role == "assistant":
                yield from self._assistant(parts, before)
            else:
                yield from self._system(parts) if role == "system" else self._user(parts)
            before = run if role == "user" else before
        yield from self._settle()

    def _system(self, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
        yield {"type": "message", "role": "developer", "content": self._content(parts)}

    def _user(self, parts: Sequence[Part]) -> Iterator[dict[str, object]]:
        """Results first, as they belong to the calls just before; one that belongs to none is told as text."""
        shown: list[Part] = []
        for part in parts:
            if not isinstance(part, Result):
                shown.append(part)
            elif part.id in self._open:
                del self._open[part.id]
                yield _result(part.id, self._output(part))
            else:
                shown += [Text("Result of an earlier call:"), *part.content]
        yield from self._settle()
        if content := self._content(shown):
            yield {"type": "message", "role": "user", "content": content}

    def _settle(self) -> Iterator[dict[str, object]]:
        """Calls without a result get one: OpenAI refuses a conversation that lacks it."""
        for id in self._open:
            yield _result(id, NO_RESULT)
        self._open = {}

    def _assistant(self, parts: Sequence[Part], before: Sequence[Turn]) -> Iterator[dict[str, object]]:
        texts: list[str] = []
        after: object = None
        for part in parts:
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, Call):
                memory = self._recalled(part.id)
                # Texts between two calls come after the one as well as before the other; only one of these was remembered.
                yield from self._replay([*_items(after), *_items(memory.get("items"))], texts)
                texts, after = [], memory.get("after")
                yield self._call(part)
            elif isinstance(part, Thinking):
                self.notes.append("thinking: left out of earlier turns")
        if texts and after is None and any(key.startswith(SAID) for key in self.query.recall):
            after = self._recalled(said_key(anchor(before), texts[-1])).get("items")
        yield from self._replay(_items(after), texts)

    def _call(self, call: Call) -> dict[str, object]:
        self._open[call.id] = None
        return {
            "type": "function_call",
            "call_id": fit_id(call.id, LONGEST_ID),
            "name": self.names[call.name],
            "arguments": msgspec.json.encode(call.input).decode(),
        }

    def _recalled(self, key: str) -> Mapping[str, object]:
        """What was kept of an answer, unless it is another model's."""
        memory = parse_object(self.query.recall.get(key, "").encode("utf-8", "surrogatepass"))
        allowed = self.query.options.get("encrypted_reasoning", True) and is_of(memory, self.query.model)
        return memory if allowed else {}

    def _replay(self, items: list[object], texts: Sequence[str]) -> Iterator[dict[str, object]]:
        for item in replay(items, texts):
            secret = item.get("encrypted_content")
            if secret is None or secret not in self._given:
                self._given.update({secret} if secret else ())
                yield item

    def _output(self, result: Result) -> object:
        """A text where there is nothing else, which every server takes."""
        mark = "Error: " if result.is_error else ""
        if all(isinstance(part, Text) for part in result.content):
            return mark + "\n".join(part.text for part in result.content if isinstance(part, Text))
        return [*([{"type": "input_text", "text": mark.strip()}] if mark else []), *self._content(result.content)]

    def _content(self, parts: Iterable[Part]) -> list[dict[str, object]]:
        return [written for part in parts for written in self._part(part)]

    def _part(self, part: Part) -> Iterator[dict[str, object]]:
        match part:
            case Text(text=words):
                yield {"type": "input_text", "text": words}
            case Image():
                if kind := unseen(part, self.rules):
                    self.notes.append(f"messages.image: {kind} becomes a line of text")
                    yield {"type": "input_text", "text": f"(a picture of the type {kind}, which this model cannot see)"}
                else:
                    yield {"type": "input_image", "image_url": part.url or _data_url(part), "detail": "auto"}
            case Document(url=url) if url:
                if part.title:  # a file that is named by its URL has no other name
                    yield {"type": "input_text", "text": part.title}
                yield {"type": "input_file", "file_url": url}
            case Document():
                yield {"type": "input_file", "filename": _filename(part), "file_data": _data_url(part)}


def _result(id: str, output: object) -> dict[str, object]:
    return {"type": "function_call_output", "call_id": fit_id(id, LONGEST_ID), "output": output}


def _items(listed: object) -> list[object]:
    return listed if isinstance(listed, list) else []


def _data_url(part: Image | Document) -> str:
    return f"data:{part.media_type};base64,{part.data}"


def _filename(document: Document) -> str:
    """OpenAI tells the type of a file by its name."""
    title = document.title or "document"
    return title if title.lower().endswith(".pdf") else f"{title}.pdf"
