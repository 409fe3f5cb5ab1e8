r"""Reads the answers of OpenAI's Responses API, streamed or whole.

    >>> reader = Reader(writer)
    >>> reader.event("", {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello"})
    >>> reader.event("", {"type": "response.completed", "response": {"status": "completed", "usage": {…}}})

An answer is a list of items (reasoning, message, function_call, …) made of parts. In a stream every text is told piecewise and again
whole, in up to four events; the whole counts only for parts of which no piece has come. It must not know how a request is written, but
for `kept`, the form in which reasoning is remembered for the next one.

Events: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.base import Problem
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.counts import keep_later
from claude_relay.core.formats.error_text import read_error
from claude_relay.core.formats.errors import claude_problem
from claude_relay.core.formats.writer import Writer

FORMAT = "openai-responses"
"""Whose reasoning it is that was remembered."""

_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|latest)$")
_REASONS = {"max_output_tokens": "max_tokens", "max_tokens": "max_tokens", "content_filter": "refusal"}
_STATUSES = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
_UNFIT = ("failed", "cancelled")
_UNFINISHED = ("queued", "in_progress")
_NOT_WHOLE = ("incomplete", *_UNFIT)


def lineage(model: str) -> str:
    """The model's name without vendor, date and variant: reasoning is only given back to the model that it came from."""
    return _DATED.sub("", model.lower().rpartition("/")[2].partition(":")[0])


def kept(model: str, items: list[Json], asked: str = "") -> str:
    """Reasoning items as `Writer.remember` keeps them. `asked`: the name by which the model was asked for, such as a deployment's."""
    return msgspec.json.encode({"format": FORMAT, "model": lineage(model), "asked": asked, "items": items}).decode()


def is_of(memory: Json, model: str) -> bool:
    """Whether what was kept came from the model that is asked for now."""
    same = memory.get("model") == lineage(model) or memory.get("asked") == model
    return memory.get("format") == FORMAT and same


@dataclass(slots=True)
class _Item:
    """One entry of `output`. `told`: its parts of which something has been passed on. `voice`: which of two kinds of thoughts counts."""

    number: int
    raw: dict[str, Any] = field(default_factory=dict)
    told: set[Hashable] = field(default_factory=set)
    voice: str = ""

    @property
    def type(self) -> object:
        """What it is: message, reasoning, function_call …; None while that is not known."""
        return self.raw.get("type")


class Reader:
    """One answer: an `EventReader`, and by `whole` a reader of answers that come at once."""

    def __init__(self, writer: Writer) -> None:
        """For one answer."""
        self._writer = writer
        self._items: list[_Item] = []
        self._by_index: dict[int, _Item] = {}
        self._by_id: dict[tuple[str, str], _Item] = {}
        self._last: tuple[str, Hashable] = ("", None)
        self._model = ""
        self._told: dict[str, object] = {}
        self._refused = False

    def event(self, name: str, data: Json) -> None:
        """The next event; its kind is in the data."""
        kind = text(data.get("type")) or name
        if kind == "error" or (data.get("error") and not kind.startswith("response.")):
            self._fail(data)
        elif kind in _STATUSES:
            response = mapping(data.get("response"))
            said = response.get("status")
            self.whole({**response, "status": said if said in _NOT_WHOLE else _STATUSES[kind]})
        elif (part := _PARTS.get(kind)) is not None:
            self._part(part, data)
        elif (told := _EVENTS.get(kind)) is not None:
            told(self, data)

    def end(self, *, done: bool) -> None:
        """The stream is over. Without its last event it is whole only for servers that end with `[DONE]`, as in the older API."""
        if done and self._writer.has_content and not self._writer.finished:
            self._finish({})

    def body(self, response: Json) -> None:
        """An answer that was not streamed."""
        status = response.get("status")
        is_whole = isinstance(response.get("output"), list) and status not in _UNFINISHED
        if response.get("error") or status in _UNFIT or is_whole:
            self.whole(response)
        else:
            self._fail(
                response if _says_why(response) else {"error": "the answer is not finished, or no answer at all"}
            )

    def whole(self, response: Json) -> None:
        """A whole response, as the last event of a stream holds it."""
        self._count(response)
        status = response.get("status")
        if status in _UNFIT or response.get("error"):
            self._fail(response if response.get("error") else {"error": f"the answer ended as {status}"})
            return
        self._begin(response)
        untold = not self._items
        output = response.get("output")
        for raw in map(mapping, output if isinstance(output, list) else []):
            item = self._new() if untold else self._same(raw)
            if item is not None:
                self._complete(item, raw)
        self._finish(response)

    # -- events

    def _created(self, data: Json) -> None:
        self._begin(mapping(data.get("response")))

    def _added(self, data: Json) -> None:
        item = self._new()
        self._know(item, mapping(data.get("item")))
        if (index := count(data.get("output_index"))) is not None:
            self._by_index[index] = item
        self._announce(item)

    def _done(self, data: Json) -> None:
        self._complete(self._item(data), mapping(data.get("item")))

    def _part(self, part: tuple[str, str, str], data: Json) -> None:
        kind, place, member = part
        item = self._item(data)
        self._tell(item, kind, data.get(place), data.get(member), whole=member != "delta")

    def _arguments(self, data: Json) -> None:
        item = self._item(data)
        self._writer.arguments(item.number, data.get("delta"))

    def _all_arguments(self, data: Json) -> None:
        self._complete_call(self._item(data), data)

    # -- items

    def _new(self) -> _Item:
        self._items.append(item := _Item(len(self._items)))
        return item

    def _item(self, data: Json) -> _Item:
        """The item of an event: by its place, which is always right, else by its id, which some proxies change from event to event."""
        index = count(data.get("output_index"))
        if index is None:
            raw = {"id": data.get("item_id")} | mapping(data.get("item"))
            last = self._items[-1] if self._items else None
            goes_on = last is not None and raw.get("type", last.type) == last.type
            return self._same(raw) or (last if last and goes_on else self._new())
        if index not in self._by_index:
            self._by_index[index] = self._new()
        return self._by_index[index]

    def _same(self, raw: Json) -> _Item | None:
        """The item that was told before under this id."""
        for name in ("id", "call_id"):
            if (wanted := text(raw.get(name))) and (found := self._by_id.get((name, wanted))):
                return found
        return None

    def _know(self, item: _Item, raw: Json) -> None:
        """More is told of an item itself. Of two with the same id the first counts."""
        item.raw |= {name: value for name, value in raw.items() if value is not None}
        for name in ("id", "call_id"):
            if id := text(item.raw.get(name)):
                self._by_id.setdefault((name, id), item)

    def _announce(self, item: _Item) -> None:
        if item.type == "function_call":
            id = item.raw.get("call_id") or item.raw.get("id")
            self._writer.call(item.number, id=id, name=item.raw.get("name"))
            self._last = ("tool_use", item.number)

    def _complete(self, item: _Item, raw: Json) -> None:
        """The whole item is known: tell what of it was not told."""
        self._know(item, raw)
        self._announce(item)
        if item.type == "function_call":
            self._complete_call(item, raw)
        elif item.type in ("message", "reasoning"):
            for place in ("summary", "content"):
                told = raw.get(place)
                for index, part in enumerate(map(mapping, told if isinstance(told, list) else [])):
                    if kind := _KINDS.get(str(part.get("type"))):
                        self._tell(item, kind, index, part.get(_MEMBERS.get(kind, "text")), whole=True)

    def _complete_call(self, item: _Item, raw: Json) -> None:
        if not self._writer.has_arguments(item.number):
            self._writer.arguments(item.number, raw.get("arguments"))

    def _tell(self, item: _Item, kind: str, place: object, told: object, *, whole: bool) -> None:
        """A part of an item: a piece of it, or all of it."""
        part, words = (kind, count(place) or 0), text(told)
        if not words or (whole and part in item.told):
            return
        thought = kind in _THOUGHTS
        if thought:
            item.voice = item.voice or kind
            if item.voice != kind:
                return
        item.told.add(part)
        self._refused = self._refused or kind == "refusal"
        write = self._writer.thinking if thought else self._writer.text
        # What are parts and items here becomes one block of Claude's.
        here = (
            "thinking" if thought else "text",
            (item.number, *part) if thought or kind == "refusal" else item.number,
        )
        apart = self._last[0] == here[0] and self._last[1] != here[1]
        self._last = here
        write(f"\n\n{words}" if apart else words)

    # -- begin and end

    def _begin(self, response: Json) -> None:
        self._count(response)
        self._model = text(response.get("model")) or self._model
        self._writer.start(response.get("model"))

    def _count(self, response: Json) -> None:
        """Most servers tell it at the end, some as it grows."""
        if usage := mapping(response.get("usage")):
            keep_later(self._told, usage)
            self._writer.usage(**_usage(self._told))

    def _finish(self, response: Json) -> None:
        for item in self._items:
            self._complete_call(item, item.raw)
        self._remember()
        reason = "end_turn"
        if response.get("status") == "incomplete":
            why = mapping(response.get("incomplete_details")).get("reason")
            reason = _REASONS.get(str(why), reason)
        self._writer.stop("refusal" if self._refused else reason)
        self._writer.finish()

    def _remember(self) -> None:
        """Keep the reasoning before each call under that call.

        Only what is encrypted can be given back, as the server stores nothing; and nothing that an item of another kind came after,
        for reasoning must not be without what followed it, and those items are not given back.
        """
        before: list[Json] = []
        for item in self._items:
            if item.type == "reasoning" and text(item.raw.get("encrypted_content")):
                before.append(
                    {name: item.raw[name] for name in ("id", "encrypted_content", "summary") if name in item.raw}
                )
            elif item.type == "function_call" and before:
                self._writer.remember(item.number, kept(self._model, before, self._writer.asked_model))
                before = []
            elif item.type not in _GIVEN_BACK:
                before = []

    def _fail(self, error: Json) -> None:
        problem = stream_problem(error)
        self._writer.fail(problem.type, problem.message)


def stream_problem(error: Json) -> Problem:
    """The problem that an event `error` or a failed response tells: under a 200, so its code has to say what it is."""
    kind, code, message = read_error(error)
    return claude_problem(200, "" if kind == "error" else kind, code, message)


def _says_why(body: Json) -> bool:
    return any(text(body.get(name)) for name in ("message", "detail"))


def _usage(usage: Json) -> dict[str, object]:
    """Tokens by Claude's names; cached and cache-written ones are inside of OpenAI's `input_tokens`."""
    details = mapping(usage.get("input_tokens_details"))
    read, written = count(details.get("cached_tokens")), count(details.get("cache_write_tokens"))
    total = count(usage.get("input_tokens"))
    return {
        "input_tokens": None if total is None else max(0, total - (read or 0) - (written or 0)),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": count(usage.get("output_tokens")),
        "thinking_tokens": count(mapping(usage.get("output_tokens_details")).get("reasoning_tokens")),
    }


_GIVEN_BACK = ("reasoning", "message", "function_call")
_THOUGHTS = ("summary", "reasoning")
# Kinds of parts, by their type in an item.
_KINDS = {"output_text": "text", "refusal": "refusal", "summary_text": "summary", "reasoning_text": "reasoning"}
_MEMBERS = {"refusal": "refusal"}
# Kind of part, member with its place in the item, member with the text.
_PARTS: Mapping[str, tuple[str, str, str]] = {
    "response.output_text.delta": ("text", "content_index", "delta"),
    "response.output_text.done": ("text", "content_index", "text"),
    "response.refusal.delta": ("refusal", "content_index", "delta"),
    "response.refusal.done": ("refusal", "content_index", "refusal"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "delta"),
    "response.reasoning_summary_text.done": ("summary", "summary_index", "text"),
    "response.reasoning_text.delta": ("reasoning", "content_index", "delta"),
    "response.reasoning_text.done": ("reasoning", "content_index", "text"),
}
_EVENTS: Mapping[str, Callable[[Reader, Json], None]] = {
    "response.created": Reader._created,
    "response.in_progress": Reader._created,
    "response.output_item.added": Reader._added,
    "response.output_item.done": Reader._done,
    "response.function_call_arguments.delta": Reader._arguments,
    "response.function_call_arguments.done": Reader._all_arguments,
}
