"""OpenAI's Chat Completions, and all that is made after them: DeepSeek, GLM, Qwen, Moonshot, OpenRouter, Groq, Mistral, xAI,
Ollama, LM Studio, vLLM, Azure.

    >>> request(Asked(Conversation(model="claude-haiku", max_tokens=9, turns=(Turn("user", (Text("Hi"),)),)), "gpt-4.1")).body
    b'{"model":"gpt-4.1","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":9}'

What a model takes follows from its name (openai_common.FAMILIES). What a provider takes is told by its options:

    max_tokens_field   "max_tokens" or "max_completion_tokens", whatever the family
    reasoning_effort   false: never send it; true: send low, medium or high; a list: the levels that are taken
    reasoning_history  true: thoughts of other models go back as `reasoning_content` of assistant messages with calls, a blank where
                       they are lost (DeepSeek, Moonshot and Zhipu want them, https://api-docs.deepseek.com/guides/thinking_mode)
    developer_role     true: system texts have the role `developer`
    late_system        "user": system texts in mid-conversation become a user's, for servers that take them only at the start
    user_field         where the hashed `metadata.user_id` goes: "safety_identifier", "user", or "" for nowhere; only OpenAI's models
                       have the first by default, as other servers refuse fields that they do not know
    cache_control      true: pass breakpoints of the cache on (OpenRouter with models of Anthropic)
    top_k              true: pass it on
    stream_usage       false: do not ask for usage in streams
    json_schema        false: only `json_object` is known; the schema goes into the system text (DeepSeek)
    pdf, images        false: a line of text in the place of such files

How answers are read is in chat_answers. It must not know keys or URLs.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby

import msgspec

from claude_relay.core.bodies.lenient import mapping
from claude_relay.core.formats.base import Asked, EventReader, Problem, Sent
from claude_relay.core.formats.conversation import (
    Call,
    Conversation,
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
from claude_relay.core.formats.error_text import read_problem
from claude_relay.core.formats.errors import claude_problem, stated_wait
from claude_relay.core.formats.naming import fit_id, fit_names
from claude_relay.core.formats.writer import Writer

from .chat_answers import ChatReader, read_answer
from .families import Family, effort_for, family, fits_strict, hashed_user, parameters_of

NAME = re.compile(r"[a-zA-Z0-9_-]+")
"""Names of functions, at most 64 characters: https://platform.openai.com/docs/api-reference/chat/create#chat_create-tools"""
LONGEST_ID = 40
"""Characters of a call's id that every server takes."""
MOST_STOPS = 4
SCHEMA_NAME = "answer"
"""Claude's `output_config.format` has no name, OpenAI's `json_schema` must have one."""
NO_RESULT = "(no result)"
LOST_THOUGHTS = " "
"""The least `reasoning_content` that Moonshot takes: https://github.com/earendil-works/pi/issues/4179"""
BRIDGE = "I have the results."
"""What the assistant says between results and a user's text, where a server wants it to say something."""

_SHORT_ID = re.compile(r"[a-zA-Z0-9]{9}")
_SEARCHES = re.compile(r".*-search(-.*)?", re.DOTALL)
_PLAIN_EFFORTS = ("low", "medium", "high")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TIERS = {"standard_only": "default"}

type Message = dict[str, object]
type Shown = Text | Image | Document


def request(asked: Asked) -> Sent:
    """The request for `/chat/completions`. https://platform.openai.com/docs/api-reference/chat/create"""
    return _Request(asked).sent()


def answer(body: Json, writer: Writer) -> None:
    """Read a whole answer. https://platform.openai.com/docs/api-reference/chat/object"""
    read_answer(body, writer)


def stream(writer: Writer) -> EventReader:
    """A reader of the chunks of one stream. https://platform.openai.com/docs/api-reference/chat-streaming"""
    return ChatReader(writer)


def error(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """An error answer; `headers` by their names in small letters."""
    kind, code, message = read_problem(body)
    wait = stated_wait(headers, body, message) if status == 429 or status >= 500 else None
    return claude_problem(status, kind, code, message, wait)


class _Request:
    """One request while it is written."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self.talk, self.options = asked, asked.conversation, asked.options
        self.family: Family = family(asked.model)
        self.notes: list[str] = []
        self.names = fit_names(_names(self.talk), NAME)

    def sent(self) -> Sent:
        body: dict[str, object] = {"model": self.asked.model, "messages": self._messages()}
        for fields in (self._limits(), self._sampling(), self._tools(), self._thought(), self._form(), self._rest()):
            body |= fields
        names = {theirs: ours for ours, theirs in self.names.items() if theirs != ours}
        return Sent("/chat/completions", msgspec.json.encode(body), tuple(dict.fromkeys(self.notes)), names)

    # -- messages

    def _messages(self) -> list[Message]:
        thread = _Thread(self)
        if system := self._system_texts():
            thread.system(system)
        for turn in _merged(self.talk.turns):
            thread.turn(turn)
        return thread.whole()

    def _system_texts(self) -> tuple[Text, ...]:
        if self.talk.schema is None or self.options.get("json_schema", True):
            return self.talk.system
        schema = msgspec.json.encode(self.talk.schema).decode()
        return (
            *self.talk.system,
            Text(f"Answer with one JSON object that fits this JSON schema, and nothing else:\n{schema}"),
        )

    # -- everything else

    def _limits(self) -> dict[str, object]:
        fields: dict[str, object] = {self._tokens_field(): self.talk.max_tokens}
        stops = self.talk.stops
        if stops and not self.family.stops:
            self.notes.append("stop_sequences: left out, this model takes none")
        elif stops:
            fields["stop"] = list(stops[:MOST_STOPS])
            if len(stops) > MOST_STOPS:
                self.notes.append(f"stop_sequences: only the first {MOST_STOPS}")
        return fields

    def _tokens_field(self) -> str:
        told = self.options.get("max_tokens_field")
        return told if isinstance(told, str) and told else self.family.tokens

    def _sampling(self) -> dict[str, object]:
        told = {"temperature": self.talk.temperature, "top_p": self.talk.top_p, "top_k": self.talk.top_k}
        takes = {
            "temperature": self.family.sampling,
            "top_p": self.family.sampling,
            "top_k": bool(self.options.get("top_k")),
        }
        given = {name: number for name, number in told.items() if number is not None}
        self.notes += [f"{name}: left out" for name in given if not takes[name]]
        return {name: number for name, number in given.items() if takes[name]}

    def _tools(self) -> dict[str, object]:
        fields: dict[str, object] = {}
        if self.talk.web_search is not None:
            if _SEARCHES.fullmatch(self.asked.model):
                fields["web_search_options"] = _search_options(self.talk.web_search)
            else:
                self.notes.append("tools: web search left out")
        if not self.talk.tools:
            return fields
        choice = self.talk.choice
        fields["tools"] = [self._tool(tool) for tool in self.talk.tools]
        if choice.kind == "tool":
            fields["tool_choice"] = {"type": "function", "function": {"name": self.names[choice.name]}}
        else:
            fields["tool_choice"] = _CHOICES[choice.kind]
        if not choice.parallel:
            fields["parallel_tool_calls"] = False
        return fields

    def _tool(self, tool: Tool) -> dict[str, object]:
        function: dict[str, object] = {"name": self.names[tool.name]}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = parameters_of(tool.schema)
        if tool.strict and fits_strict(function["parameters"]):
            function["strict"] = True
        elif tool.strict:
            self.notes.append(f"tools.{tool.name}.strict: left out, the schema leaves properties open")
        return {"type": "function", "function": function}

    def _thought(self) -> dict[str, object]:
        effort = self.talk.effort
        level = effort_for(effort, self._efforts())
        with_tools = self.family.tools if self.talk.tools and "reasoning_effort" not in self.options else None
        if with_tools is not None and level != with_tools:
            if level:
                self.notes.append("thinking: left out, this model thinks and calls tools only in the Responses API")
            level = with_tools
        elif not level and (effort.asked or effort.off):
            self.notes.append("thinking: left to the model")
        return {"reasoning_effort": level} if level else {}

    def _efforts(self) -> Sequence[str]:
        match self.options.get("reasoning_effort"):
            case False:
                return ()
            case True:
                return self.family.efforts or _PLAIN_EFFORTS
            case list() | tuple() as levels:
                return [str(level) for level in levels]
        return self.family.efforts

    def _form(self) -> dict[str, object]:
        schema = self.talk.schema
        if schema is None:
            return {}
        if not self.options.get("json_schema", True):
            self.notes.append("output_config.format: told in the system text")
            return {"response_format": {"type": "json_object"}}
        form = {"name": SCHEMA_NAME, "schema": schema, "strict": fits_strict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": form}}

    def _rest(self) -> dict[str, object]:
        fields: dict[str, object] = {}
        if self.talk.stream:
            fields["stream"] = True
            if self.options.get("stream_usage", True):
                fields["stream_options"] = {"include_usage": True}
        if self.talk.user:
            name = self.options.get("user_field", "safety_identifier" if self.family.openai else "")
            if isinstance(name, str) and name:
                fields[name] = hashed_user(self.talk.user)
            self.notes.append(f"metadata.user_id: {'hashed' if name else 'left out'}")
        if (tier := _TIERS.get(self.talk.tier)) and self.family.openai:
            fields["service_tier"] = tier
        return fields


@dataclass
class _Thread:
    """The messages so far. `open`: ids of calls that still lack their result. `late`: system texts that wait for these."""

    of: _Request
    messages: list[Message] = field(default_factory=list)
    open: dict[str, None] = field(default_factory=dict)
    late: list[tuple[Text, ...]] = field(default_factory=list)

    def turn(self, turn: Turn) -> None:
        if turn.role == "system":
            texts = tuple(part for part in turn.parts if isinstance(part, Text))
            if self.open:
                self.late.append(texts)
            else:
                self.system(texts)
        elif turn.role == "assistant":
            self._settle()
            self._assistant(turn.parts)
        else:
            self._user(turn.parts)

    def whole(self) -> list[Message]:
        self._settle()
        if self.messages and self.messages[-1]["role"] == "assistant":
            self.of.notes.append("messages: the assistant's last turn is an ordinary message to this provider")
            if self.of.family.short_ids:
                self.messages[-1]["prefix"] = True
        return self.messages

    def system(self, texts: tuple[Text, ...]) -> None:
        if self.messages and self.of.options.get("late_system") == "user":
            return self._add("user", (Text(f"<system>\n{_joined(texts)}\n</system>"),))
        return self._add("developer" if self.of.options.get("developer_role") else "system", texts)

    def _assistant(self, parts: Sequence[Part]) -> None:
        calls = [part for part in parts if isinstance(part, Call)]
        said = _said(parts)
        if not calls and not said:
            return
        message: Message = {"role": "assistant", "content": self._content(said) if said else None}
        if calls:
            if self.of.options.get("reasoning_history"):
                thoughts = [part.text for part in parts if isinstance(part, Thinking) and part.foreign and part.text]
                message["reasoning_content"] = "\n\n".join(thoughts) or LOST_THOUGHTS
            message["tool_calls"] = [self._call(call) for call in calls]
            self.open = dict.fromkeys(call.id for call in calls)
        self.messages.append(message)

    def _call(self, call: Call) -> dict[str, object]:
        function = {"name": self.of.names[call.name], "arguments": msgspec.json.encode(call.input).decode()}
        return {"id": self._id(call.id), "type": "function", "function": function}

    def _user(self, parts: Sequence[Part]) -> None:
        """Results first, as they must follow their calls directly; then their pictures and what the user says, in one message."""
        shown: list[Shown] = []
        for part in parts:
            if isinstance(part, Result):
                shown += self._result(part)
        self._settle()
        shown += [part for part in parts if isinstance(part, Text | Image | Document)]
        if shown:
            if self.of.family.short_ids and self.messages and self.messages[-1]["role"] == "tool":
                self.messages.append({"role": "assistant", "content": BRIDGE})
            self._add("user", shown)

    def _result(self, result: Result) -> list[Shown]:
        """Say a result; returns what only a user's message can hold."""
        texts = [part for part in result.content if isinstance(part, Text)]
        files = [part for part in result.content if not isinstance(part, Text)]
        label = f"Files from the result of call {self._id(result.id)}:"
        if result.id not in self.open:
            return [Text(f"Result of call {self._id(result.id)}:"), *result.content]
        del self.open[result.id]
        if result.is_error:
            texts = [Text("Error:"), *texts]
        if files:
            texts.append(Text("(files of this result are in the next user message)"))
        content = self._content(texts) if texts else ""
        self.messages.append({"role": "tool", "tool_call_id": self._id(result.id), "content": content})
        return [Text(label), *files] if files else []

    def _settle(self) -> None:
        """Calls without a result get one, as no server takes them without; then come the texts that waited."""
        for id in self.open:
            self.messages.append({"role": "tool", "tool_call_id": self._id(id), "content": NO_RESULT})
        self.open = {}
        late, self.late = self.late, []
        for texts in late:
            self.system(texts)

    def _add(self, role: str, parts: Sequence[Shown]) -> None:
        self.messages.append({"role": role, "content": self._content(parts)})

    def _content(self, parts: Sequence[Shown]) -> object:
        """A text where texts are all there is, as the least of servers take that; else parts."""
        shown = [self._shown(part) for part in parts]
        texts = [part for part in shown if isinstance(part, Text)]
        marked = self.of.options.get("cache_control") and any(text.cached for text in texts)
        if len(texts) == len(shown) and not marked:
            return _joined(texts)
        return [self._text(part) if isinstance(part, Text) else part for part in shown]

    def _text(self, part: Text) -> Message:
        marked = part.cached and self.of.options.get("cache_control")
        return {"type": "text", "text": part.text} | ({"cache_control": {"type": "ephemeral"}} if marked else {})

    def _shown(self, part: Shown) -> Text | Message:
        options, notes = self.of.options, self.of.notes
        match part:
            case Text():
                return part
            case Image() if not options.get("images", True):
                notes.append("messages: pictures left out")
                return Text("(a picture, which this model cannot see)")
            case Image():
                return {
                    "type": "image_url",
                    "image_url": {"url": part.url or f"data:{part.media_type};base64,{part.data}"},
                }
            case Document() if part.data and options.get("pdf", True):
                data = f"data:{part.media_type};base64,{part.data}"
                return {"type": "file", "file": {"filename": part.title or "document.pdf", "file_data": data}}
            case Document():
                notes.append("messages: documents left out" if part.data else "messages: documents told by their URL")
                about = ", ".join(filter(None, (part.title, part.url)))
                return Text(f"(a PDF document{': ' if about else ''}{about}, which this model cannot read)")

    def _id(self, id: str) -> str:
        if not self.of.family.short_ids:
            return fit_id(id, LONGEST_ID)
        return id if _SHORT_ID.fullmatch(id) else sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbours of the same role as one turn, as Claude's API takes them."""
    groups = groupby(turns, key=lambda turn: turn.role)
    return [Turn(role, tuple(part for turn in group for part in turn.parts)) for role, group in groups]


def _said(parts: Sequence[Part]) -> list[Text]:
    """The assistant's texts: neighbours are pieces of one (that is how Claude cites), others stand apart."""
    runs = ([part for part in run if isinstance(part, Text)] for _, run in groupby(parts, key=type))
    return [Text("".join(part.text for part in run), run[-1].cached) for run in runs if run]


def _joined(texts: Sequence[Text]) -> str:
    return "\n\n".join(text.text for text in texts)


def _names(talk: Conversation) -> list[str]:
    """Every name of a tool in the request: declared, called or demanded."""
    called = [part.name for turn in talk.turns for part in turn.parts if isinstance(part, Call)]
    return [tool.name for tool in talk.tools] + called + ([talk.choice.name] if talk.choice.name else [])


def _search_options(settings: Json) -> dict[str, object]:
    """https://platform.openai.com/docs/guides/tools-web-search?api-mode=chat"""
    place = mapping(settings.get("user_location"))
    known = {
        name: place[name] for name in ("country", "region", "city", "timezone") if isinstance(place.get(name), str)
    }
    return {"user_location": {"type": "approximate", "approximate": known}} if known else {}
