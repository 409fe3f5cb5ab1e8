"""The blocks of a request's messages: which there are, where each may stand, and what it becomes.

    blocks = Blocks(Notes(), offered)
    blocks.read({"type": "text", "text": "Hi"}, "user", "messages.0.content.0")
    -> (Text("Hi"),)

What the table BLOCKS does not know is refused, and so is what stands where it must not; what only Claude's own servers understand
becomes a text or a note. It must not know turns, nor the other fields of a request.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from claude_relay.core.bodies.lenient import mapping
from claude_relay.core.formats.answer_blocks import FOREIGN
from claude_relay.core.formats.base import Unsuited
from claude_relay.core.formats.conversation import Call, Document, Image, Json, Part, Result, Text, Thinking

from .fields import Notes, cached, filled, objects, optional, required
from .offered import Offered

type Role = Literal["user", "assistant", "system"]
ROLES: Mapping[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


class Blocks:
    """Those of one request; calls and their results are held against each other over all of its turns."""

    def __init__(self, notes: Notes, offered: Offered) -> None:
        self.notes, self.offered = notes, offered
        self.calls: set[str] = set()
        self.results: dict[str, str] = {}
        """Paths of results, by the id of the call."""
        self._files: list[Document] = []

    def read(self, block: Json, place: str, path: str) -> tuple[Part, ...]:
        """The parts that a block becomes. `place`: a role, or the kind of the block that it is in. Raises Unsuited."""
        kind = required(block, "type", str, path)
        known = BLOCKS.get(kind)
        if known is None or place not in known.places:
            why = "is not known" if known is None else f"cannot stand in a {place}{' turn' if place in ROLES else ''}"
            raise Unsuited(f"{path}.type", f"{kind[:64]} {why}")
        self.notes.others(block, known.fields, kind)
        parts = known.read(self, block, path)
        if place != "assistant":
            return parts
        for file in (part for part in parts if isinstance(part, Document)):
            self.notes.add(kind, "its file is in the user's next turn")
            self.put_off(file)
        return tuple(part for part in parts if not isinstance(part, Document))

    def put_off(self, file: Document) -> None:
        """A file in an assistant's turn, which no other provider takes there: it goes into the user's next."""
        self._files.append(file)

    def files(self) -> tuple[Document, ...]:
        """Those that were put off until now."""
        files, self._files = tuple(self._files), []
        return files

    def texts(self, items: list[object], path: str) -> list[Text]:
        """Text blocks where nothing else may be; empty ones are kept."""
        found = []
        for block, where in objects(items, path):
            if block.get("type") != "text":
                raise Unsuited(f"{where}.type", "must be text")
            found.append(Text(required(block, "text", str, where), cached(block)))
            self.notes.others(block, BLOCKS["text"].fields, "text")
        return found

    def forget(self) -> None:
        """What has been called does not count any more, nor has been put off."""
        self.calls.clear()
        self.results.clear()
        self._files.clear()

    def check_results(self) -> None:
        """Raises Unsuited for a result without its call."""
        for id, path in self.results.items():
            if id not in self.calls:
                raise Unsuited(f"{path}.tool_use_id", "no tool_use block has this id")


# -- what a block becomes


def _text(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    text = required(block, "text", str, path)
    return (Text(text, cached(block)),) if text else ()


def _image(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    source, where = required(block, "source", dict, path), f"{path}.source"
    match source.get("type"):
        case "base64":
            return (Image(filled(source, "media_type", where), filled(source, "data", where)),)
        case "url":
            return (Image(url=filled(source, "url", where)),)
    raise _no_source(source, where)


def _document(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    source, where = required(block, "source", dict, path), f"{path}.source"
    if mapping(block.get("citations")).get("enabled"):
        reader.notes.add("document.citations")
    title, context = optional(block, "title", str, path) or "", optional(block, "context", str, path) or ""
    match source.get("type"):
        case "url":
            pdf = Document(url=filled(source, "url", where), title=title)
        case "base64":
            media_type, data = filled(source, "media_type", where), filled(source, "data", where)
            if media_type.startswith("text/"):
                return _titled(title, context, [_plain(data, where)], block)
            if media_type != "application/pdf":
                raise Unsuited(f"{where}.media_type", "must be application/pdf or a text")
            pdf = Document(media_type, data, title=title)
        case "text":
            return _titled(title, context, [required(source, "data", str, where)], block)
        case "content":
            content = source.get("content")
            if isinstance(content, str):
                return _titled(title, context, [content], block)
            blocks = objects(required(source, "content", list, where), f"{where}.content")
            inner = [part for item, at in blocks for part in reader.read(item, "document", at)]
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
    return (Text(text, cached(block)),) if text else ()


def _no_source(source: Json, path: str) -> Unsuited:
    if source.get("type") == "file":
        return Unsuited(path, "a file uploaded to Claude cannot be read by another provider")
    return Unsuited(f"{path}.type", "is not known")


def _search_result(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    title, source = required(block, "title", str, path), required(block, "source", str, path)
    texts = reader.texts(required(block, "content", list, path), f"{path}.content")
    if mapping(block.get("citations")).get("enabled"):
        reader.notes.add("search_result.citations")
    return _titled(title, source, [text.text for text in texts], block)


def _thinking(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    text, signature = required(block, "thinking", str, path), optional(block, "signature", str, path) or ""
    return (Thinking(text, signature, signature.startswith(FOREIGN)),) if text else ()


def _call(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    id, name = filled(block, "id", path), filled(block, "name", path)
    if id in reader.calls:
        raise Unsuited(f"{path}.id", "another tool_use block has this id")
    if mapping(block.get("caller")).get("type", "direct") != "direct":
        reader.notes.add("tool_use.caller")
    reader.calls.add(id)
    return (Call(id, name, required(block, "input", dict, path)),)


def _result(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    id, content = filled(block, "tool_use_id", path), block.get("content")
    reader.results.setdefault(id, path)
    if isinstance(content, str):
        parts: list[Part] = [Text(content)] if content else []
    else:
        items = objects(optional(block, "content", list, path) or [], f"{path}.content")
        parts = [part for item, where in items for part in reader.read(item, "tool_result", where)]
    if cached(block) and parts and isinstance(parts[-1], Text):
        parts[-1] = replace(parts[-1], cached=True)
    shown = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    return (Result(id, shown, optional(block, "is_error", bool, path) or False),)


def _tool_reference(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    return (Text(f"The tool {required(block, 'tool_name', str, path)} is available.", cached(block)),)


def _readable(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    """What Claude's own servers did, as text; what they encrypted is left out."""
    kind = str(block["type"])
    reader.notes.add(kind, "as text")
    return (Text("\n".join([f"[{kind}]", *_lines(block)]), cached(block)),)


def _fetched(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    """A page that Claude's own servers have fetched: as text, and itself where it is a PDF."""
    page = mapping(mapping(block.get("content")).get("content"))
    source, title = mapping(page.get("source")), page.get("title")
    text = _readable(reader, block, path)
    data = source.get("data")
    if (
        source.get("media_type") != "application/pdf"
        or source.get("type") != "base64"
        or not isinstance(data, str)
        or not data
    ):
        return text
    return (*text, Document("application/pdf", data, title=title if isinstance(title, str) else ""))


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


def _compaction(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    for change, where in objects(optional(block, "tool_changes", list, path) or [], f"{path}.tool_changes"):
        reader.read(change, "compaction", where)
    summary = optional(block, "content", str, path)
    if not summary:
        reader.notes.add("compaction")
        return ()
    reader.notes.add("compaction", "as text")
    return (Text(f"Summary of the conversation so far:\n{summary}", cached(block)),)


def _change(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    reader.offered.change(block, path)
    return ()


def _left_out(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    reader.notes.add(str(block["type"]))
    return ()


def _refused(reader: Blocks, block: Json, path: str) -> tuple[Part, ...]:
    raise Unsuited(path, f"{block['type']} refers to a file that only Claude's own servers have")


@dataclass(frozen=True, slots=True)
class _Block:
    """A kind of block.

    read    what makes parts of it
    places  roles of turns, and blocks, in which it may stand
    fields  those that are read, or mean nothing elsewhere; others are noted
    """

    read: Callable[[Blocks, Json, str], tuple[Part, ...]]
    places: frozenset[str]
    fields: frozenset[str]


def _block(read: Callable[[Blocks, Json, str], tuple[Part, ...]], places: str, fields: str) -> _Block:
    return _Block(read, frozenset(places.split()), frozenset(fields.split()) | {"type", "cache_control"})


_SERVER_USES = ("server_tool_use", "mcp_tool_use")
_SERVER_RESULTS = (
    "web_search_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_result",
)
BLOCKS: Mapping[str, _Block] = {
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
    "tool_addition": _block(_change, "system compaction", "tool"),
    "tool_removal": _block(_change, "system compaction", "tool"),
    "compaction": _block(_compaction, "user assistant", "content encrypted_content signature tool_changes"),
    "container_upload": _block(_refused, "user assistant", "file_id"),
    "fallback": _block(_left_out, "assistant", "from to trigger"),
    "mcp_tool_listing": _block(_left_out, "assistant", "mcp_server_name tools"),
    **dict.fromkeys(_SERVER_USES, _block(_readable, "assistant", "id name input server_name caller")),
    **dict.fromkeys(_SERVER_RESULTS, _block(_readable, "user assistant", "tool_use_id content is_error caller")),
    "web_fetch_tool_result": _block(_fetched, "user assistant", "tool_use_id content is_error caller"),
}
