"""Reads a client's Messages request and checks it, for providers that are asked in another format.

    >>> read(b'{"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}').turns
    (Turn(role='user', parts=(Text(text='Hi', cached=False),)),)

Every field of the API is read, refused (`Unsuited`, naming its path) or noted in `Conversation.notes`; what the tables below do not know
is noted when it is a field, and refused when it is a block. Only `cache_control` is passed over, as leaving it out changes no answer,
and the line of Claude Code's about billing, which is meant for the transport. It must not know the formats that are written from it.

Shapes follow the official Python SDK (`anthropic.types.beta`), https://docs.claude.com/en/api/messages.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from claude_relay.core.bodies.facts import named_model
from claude_relay.core.bodies.legible import utf8, whole
from claude_relay.core.bodies.lenient import BAD_JSON, mapping
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import (
    Call,
    Choice,
    Conversation,
    Document,
    Effort,
    Image,
    Json,
    Part,
    Result,
    Text,
    Thinking,
    Tool,
    Turn,
)
from claude_relay.core.formats.writer import FOREIGN

from .tools import builtin

_BILLING = "x-anthropic-billing-header:"
_LONGEST_NAME = 96
_UNFIT = re.compile(r"[^\w.-]")
"""Characters that a client's own names must not bring into a note."""
_LEVELS = ("low", "medium", "high", "xhigh", "max")
_TYPES: Mapping[type, str] = {
    str: "a string",
    list: "a list",
    dict: "an object",
    bool: "true or false",
    int: "a whole number",
}

_READ = frozenset(
    {
        *("model", "max_tokens", "messages", "system", "stream", "metadata", "service_tier", "cache_control"),
        *("tools", "tool_choice", "thinking", "output_config", "output_format"),
        *("stop_sequences", "temperature", "top_p", "top_k"),
    }
)


class _Refusal(NamedTuple):
    """When a top-level field cannot be left out, and why."""

    applies: Callable[[Any], bool]
    why: str


_REFUSED: Mapping[str, _Refusal] = {
    "mcp_servers": _Refusal(bool, "only Claude's own servers connect to MCP servers"),
    "compaction": _Refusal(bool, "only Claude's own servers compact a conversation"),
    "thread": _Refusal(
        lambda it: mapping(it).get("type") == "continue", "the conversation so far is kept by Claude's own servers"
    ),
    "inference_geo": _Refusal(lambda it: it != "global", "another provider does not promise where it computes"),
}


def read(body: bytes, *, count_only: bool = False) -> Conversation:
    """The conversation in a Messages request; `count_only`: in a count_tokens request, which needs no `max_tokens` (0 then).

    Raises Unsuited when the JSON is broken or not what the API describes, or asks for what only Claude's own servers can do.
    """
    try:
        return _Reader().conversation(_decoded(body), count_only)
    except RecursionError:
        raise Unsuited("body", "nested too deeply") from None


def _decoded(body: bytes) -> Json:
    """As all readers of requests have it (`reading.legible`)."""
    body = utf8(body)
    try:
        decoded, strictly = whole(body)
    except BAD_JSON as error:
        raise Unsuited("body", f"no valid JSON ({error})") from None
    if not isinstance(decoded, dict):
        raise Unsuited("body", "must be a JSON object")
    if not strictly and "model" in decoded and isinstance(decoded["model"], str):
        decoded["model"] = named_model(body)
    return decoded


# -- fields


def _optional[T](of: Json, name: str, kind: type[T], path: str) -> T | None:
    """The field, if it is there and not null. Raises Unsuited on another type; true and false are no numbers."""
    value = of.get(name)
    if value is None or type(value) is kind:
        return value
    raise Unsuited(_path(path, name), f"must be {_TYPES[kind]}")


def _required[T](of: Json, name: str, kind: type[T], path: str) -> T:
    """The field. Raises Unsuited when it is missing or of another type."""
    value = of.get(name)
    if type(value) is kind:
        return value
    raise Unsuited(_path(path, name), "is required" if value is None else f"must be {_TYPES[kind]}")


def _filled(of: Json, name: str, path: str) -> str:
    """A string that must not be empty."""
    if value := _required(of, name, str, path):
        return value
    raise Unsuited(_path(path, name), "must not be empty")


def _number(of: Json, name: str) -> float | None:
    value = of.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise Unsuited(name, "must be a number")


def _objects(items: list[object], path: str) -> Iterator[tuple[Json, str]]:
    """The entries of a list, each with its path."""
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise Unsuited(f"{path}.{number}", "must be an object")
        yield item, f"{path}.{number}"


def _strings(of: Json, name: str) -> tuple[str, ...]:
    items = _optional(of, name, list, "") or []
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise Unsuited(f"{name}.{number}", "must be a string")
    return tuple(item for item in items if item)


def _path(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _cached(block: Json) -> bool:
    return bool(block.get("cache_control"))


# -- the request


class _Reader:
    """One request; what is found out on the way is collected here."""

    def __init__(self) -> None:
        self.notes: dict[str, None] = {}
        self.declared: dict[str, Tool] = {}
        self.tools: dict[str, Tool] = {}
        """Those that are offered at the end of the conversation."""
        self.left_out: set[str] = set()
        self.search: Json | None = None
        self.turns: list[Turn] = []
        self.calls: set[str] = set()
        self.results: dict[str, str] = {}
        """Paths of results, by the id of the call."""

    def note(self, field: str, what: str = "left out") -> None:
        self.notes[f"{_UNFIT.sub('?', field[:_LONGEST_NAME])}: {what}"] = None

    def note_others(self, of: Json, known: frozenset[str], field: str) -> None:
        """Note the fields that nobody reads; null, false and empty ones mean nothing."""
        if not of.keys() <= known:
            for name in of.keys() - known:
                if of[name]:
                    self.note(_path(field, name))

    def conversation(self, body: Json, count_only: bool) -> Conversation:
        for name, refusal in _REFUSED.items():
            if body.get(name) is not None and refusal.applies(body[name]):
                raise Unsuited(name, refusal.why)
        self.note_others(body, _READ, "")
        model, limit = _filled(body, "model", ""), _optional(body, "max_tokens", int, "")
        if not count_only and (limit is None or limit < 1):
            raise Unsuited("max_tokens", "is required" if limit is None else "must be at least 1")
        for tool, path in _objects(_optional(body, "tools", list, "") or [], "tools"):
            self.read_tool(tool, path)
        system = self.read_system(body)
        self.read_messages(_required(body, "messages", list, ""))
        effort, schema = self.read_output(body)
        metadata = _optional(body, "metadata", dict, "") or {}
        self.note_others(metadata, frozenset({"user_id"}), "metadata")
        return Conversation(
            model=model,
            max_tokens=limit or 0,
            turns=tuple(self.turns),
            system=system,
            tools=tuple(self.tools.values()),
            choice=self.read_choice(body),
            effort=effort,
            temperature=_number(body, "temperature"),
            top_p=_number(body, "top_p"),
            top_k=_optional(body, "top_k", int, ""),
            stops=_strings(body, "stop_sequences"),
            schema=schema,
            web_search=self.search,
            user=_optional(metadata, "user_id", str, "metadata") or "",
            tier=_optional(body, "service_tier", str, "") or "",
            stream=_optional(body, "stream", bool, "") or False,
            notes=tuple(sorted(self.notes)),
        )

    def read_system(self, body: Json) -> tuple[Text, ...]:
        if isinstance(system := body.get("system"), str):
            blocks = [Text(system)]
        else:
            blocks = self.texts(_optional(body, "system", list, "") or [], "system")
        if blocks and blocks[0].text.startswith(_BILLING):
            del blocks[0]
        return tuple(block for block in blocks if block.text)

    def texts(self, items: list[object], path: str) -> list[Text]:
        """Text blocks where nothing else may be; empty ones are kept."""
        found = []
        for block, where in _objects(items, path):
            if block.get("type") != "text":
                raise Unsuited(f"{where}.type", "must be text")
            found.append(Text(_required(block, "text", str, where), _cached(block)))
            self.note_others(block, _BLOCKS["text"].fields, "text")
        return found

    # -- how to answer

    def read_output(self, body: Json) -> tuple[Effort, Json | None]:
        config = _optional(body, "output_config", dict, "") or {}
        self.note_others(config, frozenset({"effort", "format"}), "output_config")
        level = _optional(config, "effort", str, "output_config") or ""
        if level and level not in _LEVELS:
            raise Unsuited("output_config.effort", f"must be one of {', '.join(_LEVELS)}")
        old = self.read_format(body, "output_format", "")
        return self.read_thinking(body, level), self.read_format(config, "format", "output_config") or old

    def read_format(self, of: Json, name: str, parent: str) -> Json | None:
        form, path = _optional(of, name, dict, parent), _path(parent, name)
        if form is None:
            return None
        if form.get("type") != "json_schema":
            raise Unsuited(f"{path}.type", "must be json_schema")
        self.note_others(form, frozenset({"type", "schema"}), path)
        return _required(form, "schema", dict, path)

    def read_thinking(self, body: Json, level: str) -> Effort:
        thinking = _optional(body, "thinking", dict, "")
        if thinking is None:
            return Effort(asked=bool(level), level=level)
        kind = _required(thinking, "type", str, "thinking")
        if kind not in _THINKING:
            raise Unsuited("thinking.type", f"must be one of {', '.join(_THINKING)}")
        self.note_others(thinking, frozenset({"type", "budget_tokens"}), "thinking")
        if kind == "between_tools":
            self.note("thinking.type", "between_tools taken for adaptive")
        budget = _required(thinking, "budget_tokens", int, "thinking") if kind == "enabled" else None
        return Effort(asked=_THINKING[kind], off=not _THINKING[kind], budget=budget, level=level)

    def read_choice(self, body: Json) -> Choice:
        choice = _optional(body, "tool_choice", dict, "")
        if choice is None:
            return Choice()
        self.note_others(choice, frozenset({"type", "name", "disable_parallel_tool_use"}), "tool_choice")
        kind = _CHOICES.get(_required(choice, "type", str, "tool_choice"))
        if kind is None:
            raise Unsuited("tool_choice.type", f"must be one of {', '.join(_CHOICES)}")
        parallel = not _optional(choice, "disable_parallel_tool_use", bool, "tool_choice")
        name = _filled(choice, "name", "tool_choice") if kind == "tool" else ""
        if name and name not in self.tools and name not in self.left_out:
            raise Unsuited("tool_choice.name", "there is no such tool")
        if name in self.left_out or (kind == "any" and not self.tools):
            self.note("tool_choice", "auto, as the tool is none of the client's")
            return Choice(parallel=parallel)
        return Choice(kind, name, parallel)

    # -- tools

    def read_tool(self, tool: Json, path: str) -> None:
        """One entry of `tools`."""
        kind = _optional(tool, "type", str, path) or "custom"
        if kind.startswith(_TOOLSETS):
            raise Unsuited(f"{path}.type", "only Claude knows the tools of this set")
        if known := builtin(kind):
            self.note_others(tool, _BUILTIN_FIELDS.union(known.settings), f"tools.{kind}")
            self.offer(known.tool(_filled(tool, "name", path), tool), path)
        elif kind == "custom" or "input_schema" in tool:
            self.note_others(tool, _TOOL_FIELDS, "tools")
            description = _optional(tool, "description", str, path) or ""
            schema, strict = _required(tool, "input_schema", dict, path), _optional(tool, "strict", bool, path)
            self.offer(Tool(_filled(tool, "name", path), description, schema, strict or False), path)
        else:
            if name := _optional(tool, "name", str, path):
                self.left_out.add(name)
            if kind.startswith("web_search_"):
                self.search = {name: value for name, value in tool.items() if name not in _BUILTIN_FIELDS}
            else:
                self.note(f"tools.{kind}")

    def offer(self, tool: Tool, path: str) -> None:
        if tool.name in self.declared:
            raise Unsuited(f"{path}.name", "another tool has this name")
        self.declared[tool.name] = self.tools[tool.name] = tool

    def change_tools(self, block: Json, path: str) -> tuple[()]:
        """A tool comes or goes in mid-conversation; what counts is what is offered at its end."""
        tool, adds = _required(block, "tool", dict, path), block.get("type") == "tool_addition"
        name = tool.get("name")
        if adds and tool.get("type") == "tool_definition":
            self.read_tool(_required(tool, "definition", dict, f"{path}.tool"), f"{path}.tool.definition")
        elif tool.get("type") != "tool_reference" or not isinstance(name, str) or name not in self.declared:
            self.note(str(block.get("type")))
        elif adds:
            self.tools[name] = self.declared[name]
        else:
            self.tools.pop(name, None)
            self.left_out.add(name)
        return ()

    # -- messages

    def read_messages(self, messages: list[object]) -> None:
        entries = list(_objects(messages, "messages"))
        last_user = max((n for n, (entry, _) in enumerate(entries) if entry.get("role") == "user"), default=-1)
        for number, (entry, path) in enumerate(entries):
            role = _ROLES.get(_required(entry, "role", str, path))
            if role is None:
                raise Unsuited(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
            self.note_others(entry, _MESSAGE_FIELDS, "messages")
            if entry.get("clear_at") == "next_user_message" and number < last_user:
                continue
            if parts := tuple(self.read_content(entry, role, path)):
                self.turns.append(Turn(role, parts))
        if not self.turns:
            raise Unsuited("messages", "there is nothing to answer")
        for id, path in self.results.items():
            if id not in self.calls:
                raise Unsuited(f"{path}.tool_use_id", "no tool_use block has this id")

    def read_content(self, entry: Json, role: str, path: str) -> list[Part]:
        content = entry.get("content")
        if isinstance(content, str):
            return [Text(content)] if content else []
        needed = _optional if role == "system" else _required
        parts: list[Part] = []
        for block, where in _objects(needed(entry, "content", list, path) or [], f"{path}.content"):
            found = self.read_block(block, role, where)
            if block["type"] == "compaction" and found:
                self.restart(found)
                parts = []
            else:
                parts += found
        return parts

    def read_block(self, block: Json, place: str, path: str) -> tuple[Part, ...]:
        """The parts that a block becomes. `place`: a role, or "tool_result"."""
        kind = _required(block, "type", str, path)
        known = _BLOCKS.get(kind)
        if known is None or place not in known.places:
            why = "is not known" if known is None else f"cannot stand in a {place}{' turn' if place in _ROLES else ''}"
            raise Unsuited(f"{path}.type", f"{kind[:64]} {why}")
        self.note_others(block, known.fields, kind)
        return known.read(self, block, path)

    def restart(self, summary: tuple[Part, ...]) -> None:
        """Claude passes over everything before a summary.

        https://docs.claude.com/en/docs/build-with-claude/compaction
        """
        self.turns = [Turn("user", summary)]
        self.calls.clear()
        self.results.clear()


# -- blocks


def _text(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    text = _required(block, "text", str, path)
    return (Text(text, _cached(block)),) if text else ()


def _image(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    source, where = _required(block, "source", dict, path), f"{path}.source"
    match source.get("type"):
        case "base64":
            return (Image(_filled(source, "media_type", where), _filled(source, "data", where)),)
        case "url":
            return (Image(url=_filled(source, "url", where)),)
    raise _no_source(source, where)


def _document(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    source, where = _required(block, "source", dict, path), f"{path}.source"
    if mapping(block.get("citations")).get("enabled"):
        reader.note("document.citations")
    title, context = _optional(block, "title", str, path) or "", _optional(block, "context", str, path) or ""
    match source.get("type"):
        case "url":
            pdf = Document(url=_filled(source, "url", where), title=title)
        case "base64":
            media_type, data = _filled(source, "media_type", where), _filled(source, "data", where)
            if media_type.startswith("text/"):
                return _titled(title, context, [_plain(data, where)], block)
            if media_type != "application/pdf":
                raise Unsuited(f"{where}.media_type", "must be application/pdf or a text")
            pdf = Document(media_type, data, title=title)
        case "text":
            return _titled(title, context, [_required(source, "data", str, where)], block)
        case "content":
            content = source.get("content")
            if isinstance(content, str):
                return _titled(title, context, [content], block)
            blocks = _objects(_required(source, "content", list, where), f"{where}.content")
            inner = [part for item, at in blocks for part in reader.read_block(item, "document", at)]
            return _titled(title, context, [], block) + tuple(inner)
        case _:
            raise _no_source(source, where)
    return ((Text(context),) if context else ()) + (pdf,)


def _plain(data: str, path: str) -> str:
    try:
        return b64decode(data).decode("utf-8", "replace")
    except ValueError:
        raise Unsuited(f"{path}.data", "must be base64") from None


def _titled(title: str, context: str, texts: list[str], block: Json) -> tuple[Text, ...]:
    """The texts as one, with what tells where they are from in front; nothing when all are empty."""
    text = "\n".join(piece for piece in (title, context, *texts) if piece)
    return (Text(text, _cached(block)),) if text else ()


def _no_source(source: Json, path: str) -> Unsuited:
    if source.get("type") == "file":
        return Unsuited(path, "a file uploaded to Claude cannot be read by another provider")
    return Unsuited(f"{path}.type", "is not known")


def _search_result(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    title, source = _required(block, "title", str, path), _required(block, "source", str, path)
    texts = reader.texts(_required(block, "content", list, path), f"{path}.content")
    if mapping(block.get("citations")).get("enabled"):
        reader.note("search_result.citations")
    return _titled(title, source, [text.text for text in texts], block)


def _thinking(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    text, signature = _required(block, "thinking", str, path), _optional(block, "signature", str, path) or ""
    return (Thinking(text, signature, signature.startswith(FOREIGN)),) if text else ()


def _call(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    id, name = _filled(block, "id", path), _filled(block, "name", path)
    if id in reader.calls:
        raise Unsuited(f"{path}.id", "another tool_use block has this id")
    if mapping(block.get("caller")).get("type", "direct") != "direct":
        reader.note("tool_use.caller")
    reader.calls.add(id)
    return (Call(id, name, _required(block, "input", dict, path)),)


def _result(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    id, content = _filled(block, "tool_use_id", path), block.get("content")
    reader.results.setdefault(id, path)
    if isinstance(content, str):
        parts: list[Part] = [Text(content)] if content else []
    else:
        items = _objects(_optional(block, "content", list, path) or [], f"{path}.content")
        parts = [part for item, where in items for part in reader.read_block(item, "tool_result", where)]
    if _cached(block) and parts and isinstance(parts[-1], Text):
        parts[-1] = replace(parts[-1], cached=True)
    shown = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    return (Result(id, shown, _optional(block, "is_error", bool, path) or False),)


def _tool_reference(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    return (Text(f"The tool {_required(block, 'tool_name', str, path)} is available.", _cached(block)),)


def _readable(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    """What Claude's own servers did, as text; what they encrypted is left out."""
    kind = str(block["type"])
    reader.note(kind, "as text")
    return (Text("\n".join([f"[{kind}]", *_lines(block)]), _cached(block)),)


def _lines(value: object, name: str = "") -> Iterator[str]:
    """The lines of a text that says what is in the value."""
    if isinstance(value, list):
        for item in value:
            yield from _lines(item, name)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not (_UNREADABLE.match(key) or (key == "data" and value.get("type") == "base64")):
                yield from _lines(inner, key)
    elif value is not None and value is not False and value != "":
        yield str(value) if name in _UNNAMED else f"{name}: {value}"


# What only Claude's servers can read, or what refers to other blocks.
_UNREADABLE = re.compile(r"encrypted_|(type|id|tool_use_id|cache_control|caller|citations|signature|media_type)\Z")
_UNNAMED = frozenset({"text", "content", "data"})


def _compaction(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    for change, where in _objects(_optional(block, "tool_changes", list, path) or [], f"{path}.tool_changes"):
        reader.read_block(change, "compaction", where)
    summary = _optional(block, "content", str, path)
    if not summary:
        return ()
    reader.note("compaction", "as text")
    return (Text(f"Summary of the conversation so far:\n{summary}", _cached(block)),)


def _left_out(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    reader.note(str(block["type"]))
    return ()


def _refused(reader: _Reader, block: Json, path: str) -> tuple[Part, ...]:
    raise Unsuited(path, f"{block['type']} refers to a file that only Claude's own servers have")


@dataclass(frozen=True, slots=True)
class _Block:
    """A kind of block.

    read    what makes parts of it
    places  roles of turns, and blocks, in which it may stand
    fields  those that are read, or mean nothing elsewhere; others are noted
    """

    read: Callable[[_Reader, Json, str], tuple[Part, ...]]
    places: frozenset[str]
    fields: frozenset[str]


def _block(read: Callable[[_Reader, Json, str], tuple[Part, ...]], places: str, fields: str) -> _Block:
    return _Block(read, frozenset(places.split()), frozenset(fields.split()) | {"type", "cache_control"})


_SERVER_USES = ("server_tool_use", "mcp_tool_use")
_SERVER_RESULTS = (
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_result",
)
_BLOCKS: Mapping[str, _Block] = {
    "text": _block(_text, "user assistant system tool_result document", "text"),
    "image": _block(_image, "user tool_result document", "source"),
    "document": _block(_document, "user tool_result", "source title context citations"),
    "search_result": _block(_search_result, "user tool_result", "title source content citations"),
    "thinking": _block(_thinking, "assistant", "thinking signature"),
    "redacted_thinking": _block(_left_out, "assistant", "data"),
    "tool_use": _block(_call, "assistant", "id name input caller"),
    "tool_result": _block(_result, "user", "tool_use_id content is_error"),
    "tool_reference": _block(_tool_reference, "tool_result", "tool_name"),
    "browser_state": _block(_readable, "tool_result", "tabs state_changes"),
    "tool_addition": _block(_Reader.change_tools, "system compaction", "tool"),
    "tool_removal": _block(_Reader.change_tools, "system compaction", "tool"),
    "compaction": _block(_compaction, "user assistant", "content encrypted_content signature tool_changes"),
    "container_upload": _block(_refused, "user assistant", "file_id"),
    "fallback": _block(_left_out, "assistant", "from to trigger"),
    "mcp_tool_listing": _block(_left_out, "assistant", "mcp_server_name tools"),
    **dict.fromkeys(_SERVER_USES, _block(_readable, "assistant", "id name input server_name caller")),
    **dict.fromkeys(_SERVER_RESULTS, _block(_readable, "user assistant", "tool_use_id content is_error caller")),
}

type _Role = Literal["user", "assistant", "system"]
_ROLES: Mapping[str, _Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_MESSAGE_FIELDS = frozenset({"role", "content", "clear_at"})
_CHOICES: Mapping[str, Literal["auto", "any", "tool", "none"]] = {
    "auto": "auto",
    "any": "any",
    "tool": "tool",
    "none": "none",
}
_THINKING: Mapping[str, bool] = {"enabled": True, "adaptive": True, "between_tools": True, "disabled": False}
_TOOL_FIELDS = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
_BUILTIN_FIELDS = frozenset({"type", "name", "cache_control"})
_TOOLSETS = ("computer_toolset_", "browser_toolset_")
