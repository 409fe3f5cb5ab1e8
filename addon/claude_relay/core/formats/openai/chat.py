"""OpenAI's Chat Completions, and all that is made after them: DeepSeek, GLM, Qwen, Moonshot, OpenRouter, Groq, Mistral, xAI,
Ollama, LM Studio, vLLM, Azure.

    >>> request(Asked(Conversation(model="claude-haiku", max_tokens=9, turns=(Turn("user", (Text("Hi"),)),)), "gpt-4.1")).body
    b'{"model":"gpt-4.1","messages":[{"role":"user","content":"Hi"}],"max_completion_tokens":9}'

What a model takes follows from its name (`families`). What a provider takes is told by its options:

    max_tokens_field   "max_tokens" or "max_completion_tokens", whatever the family
    family             whose rules count, for models of free names: "gpt-5.6-sol", or one for each, {"my-*": "gpt-5.6-sol"}
    most_output        output tokens that a model gives at most
    most_tools         how many tools a request may have
    thinking           the dialect in which thinking is switched on and off, of `data/thinking.json` (chat_thinking); false: none; without
                       it, the vendor's own by the model's name
    reasoning_effort   false: never send it; true: send low, medium or high; a list: the levels that are taken
    reasoning_history  true: thoughts of other models go back as `reasoning_content` of the assistant's messages, a blank where they are
                       lost (DeepSeek, Moonshot and Zhipu want them, https://api-docs.deepseek.com/guides/thinking_mode); "reasoning": as
                       that field, and no blank; or one of these by globs of models
    web_search         how the provider's own search is asked for (chat_search): "openrouter", "zhipu", "groq-compound" or "groq-browser";
                       or one of these by globs of models
    developer_role     true: system texts have the role `developer`
    late_system        "user": system texts in mid-conversation become a user's, for servers that take them only at the start
    user_field         where the hashed `metadata.user_id` goes: "safety_identifier", "user", or "" for nowhere; only OpenAI's models
                       have the first by default, as other servers refuse fields that they do not know
    cache_control      true: pass breakpoints of the cache on (OpenRouter with models of Anthropic)
    top_k              true: pass it on
    stream_usage       false: do not ask for usage in streams
    json_schema        false: only `json_object` is known; the schema goes into the system text (DeepSeek)
    patterns           "anchored": only patterns from ^ to $ stay in schemas (llama.cpp); false: none does
    images             false: a line of text in the place of pictures; a list: the media types that are taken; or one of these by globs
                       of models
    image_urls         false: pictures are not fetched from their URL
    image_bytes        the largest picture, in bytes
    most_images        the most pictures in a request; the earliest are left out
    pdf                false: a line of text in the place of PDFs; "document_url": they are told as Mistral wants them
    pdf_urls           true: PDFs may be told by their URL

How messages are written is in chat_thread, how answers are read in chat_answers. It must not know keys or URLs.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import msgspec

from claude_relay.core.formats.base import Asked, EventReader, Sent
from claude_relay.core.formats.conversation import Json, Text, Tool
from claude_relay.core.formats.naming import fit_names
from claude_relay.core.formats.writer import Writer

from .chat_answers import ChatReader, read_answer
from .chat_schemas import without_patterns
from .chat_search import Search, search
from .chat_thinking import thinking
from .chat_thread import Thread
from .common import CHOICES, NAME, SCHEMA_NAME, TIERS, check_tools, output_limit
from .common import error as error  # a function of the format
from .families import Family, family, fits_strict, hashed_user, notes_on_name, parameters_of, ruling_name
from .schemas import schema_notes

MOST_STOPS = 4


def request(query: Asked) -> Sent:
    """The request for `/chat/completions`. https://platform.openai.com/docs/api-reference/chat/create"""
    return _Request(query).build()


def answer(body: Json, writer: Writer) -> None:
    """Read a whole answer. https://platform.openai.com/docs/api-reference/chat/object"""
    read_answer(body, writer)


def stream(writer: Writer) -> EventReader:
    """A reader of the chunks of one stream. https://platform.openai.com/docs/api-reference/chat-streaming"""
    return ChatReader(writer)


class _Request:
    """One request while it is written."""

    def __init__(self, query: Asked) -> None:
        self.query, self.talk, self.options = query, query.conversation, query.options
        self.family: Family = family(ruling_name(query))
        self.notes: list[str] = []
        self.names = fit_names(self.talk.names_of_tools(), NAME)

    def build(self) -> Sent:
        messages = Thread(self.query, self.family, self.names, self.notes).messages(self._system_texts())
        body: dict[str, object] = {"model": self.query.model, "messages": messages}
        for fields in (self._limits(), self._sampling(), self._tools(), self._form(), self._others()):
            body |= fields
        names = {theirs: ours for ours, theirs in self.names.items() if theirs != ours}
        return Sent("/chat/completions", msgspec.json.encode(body), tuple(dict.fromkeys(self.notes)), names)

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
        self.notes += notes_on_name(ruling_name(self.query), self.query.model)
        self.notes += schema_notes(self.talk)
        check_tools(self.query, self.family, len(self.talk.tools))
        limit = output_limit(self.query, self.family.least_output, self.notes)
        fields: dict[str, object] = {self._tokens_field(): limit}
        stops = self.talk.stops
        if stops and not self.family.stops:
            self.notes.append("stop_sequences: left out, this model takes none")
        elif stops:
            fields["stop"] = list(stops[:MOST_STOPS])
            if len(stops) > MOST_STOPS:
                self.notes.append(f"stop_sequences: only the first {MOST_STOPS}")
        return fields

    def _tokens_field(self) -> str:
        name = self.options.get("max_tokens_field")
        return name if isinstance(name, str) and name else self.family.tokens

    def _sampling(self) -> dict[str, object]:
        settings = {"temperature": self.talk.temperature, "top_p": self.talk.top_p, "top_k": self.talk.top_k}
        takes = {
            "temperature": self.family.sampling,
            "top_p": self.family.sampling,
            "top_k": bool(self.options.get("top_k")),
        }
        given = {name: number for name, number in settings.items() if number is not None}
        self.notes += [f"{name}: left out" for name in given if not takes[name]]
        return {name: number for name, number in given.items() if takes[name]}

    def _tools(self) -> dict[str, object]:
        """The client's tools and the provider's search; with them, how far the model shall think."""
        talk = self.talk
        thought = thinking(talk, self.query.model, self.family, self.options)
        self.notes += thought.notes
        found = self._search()
        fields: dict[str, object] = {**thought.fields, **found.fields}
        choice = thought.choice
        tools = [self._tool(tool) for tool in talk.tools] if choice is not None else []
        if tools or found.tools:
            fields["tools"] = [*tools, *found.tools]
        if not tools or choice is None:
            return fields | ({"tool_choice": found.choice} if found.choice is not None else {})
        if choice.kind == "tool":
            fields["tool_choice"] = {"type": "function", "function": {"name": self.names[choice.name]}}
        else:
            fields["tool_choice"] = CHOICES[choice.kind]
        if choice.kind == "search" and found.choice is not None:
            self.notes.append("tool_choice: auto, as this provider cannot be made to search beside other tools")
        if not choice.parallel:
            fields["parallel_tool_calls"] = False
        return fields

    def _search(self) -> Search:
        demanded = self.talk.choice.kind == "search"
        if self.talk.web_search is None:
            return Search()
        found = search(self.talk.web_search, self.query.model, self.options, demanded=demanded)
        self.notes += found.notes
        return found

    def _tool(self, tool: Tool) -> dict[str, object]:
        function: dict[str, object] = {"name": self.names[tool.name]}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = self._plain(parameters_of(tool.schema), f"tools.{tool.name}.input_schema")
        if tool.strict and fits_strict(function["parameters"]):
            function["strict"] = True
        elif tool.strict:
            self.notes.append(f"tools.{tool.name}.strict: left out, the schema leaves properties open")
        return {"type": "function", "function": function}

    def _plain(self, schema: Json, path: str) -> Json:
        """The schema without patterns that the server does not take."""
        plain, changed = without_patterns(schema, self.options.get("patterns"))
        if changed:
            self.notes.append(f"{path}: pattern only in the description")
        return plain

    def _form(self) -> dict[str, object]:
        schema = self.talk.schema
        if schema is None:
            return {}
        if not self.options.get("json_schema", True):
            self.notes.append("output_config.format: in the system text")
            return {"response_format": {"type": "json_object"}}
        if schema.get("type", "object") == "object":
            schema = parameters_of(schema)
        schema = self._plain(schema, "output_config.format.schema")
        form = {"name": SCHEMA_NAME, "schema": schema, "strict": fits_strict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": form}}

    def _others(self) -> dict[str, object]:
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
        if tier := TIERS.get(self.talk.tier):
            if self.family.openai:
                fields["service_tier"] = tier
            else:
                self.notes.append("service_tier: left out")
        return fields
