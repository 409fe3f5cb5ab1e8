r"""Reads the answers of OpenAI's Responses API, streamed or whole.

    >>> reader = Reader(writer)
    >>> reader.event("", {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Hello"})
    >>> reader.event("", {"type": "response.completed", "response": {"status": "completed", "usage": {…}}})

An answer is a list of items (reasoning, message, function_call, …) made of parts. In a stream every text is told piecewise and again
whole, in up to four events; the whole counts only for parts of which no piece has come. It must not know how a request is written; what
of an answer is wanted back in the next one is in `responses_memory`.

Events: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_relay.core.bodies.lenient import count, mapping, text
from claude_relay.core.formats.base import Problem
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.counts import keep_later
from claude_relay.core.formats.error_text import read_error
from claude_relay.core.formats.errors import claude_problem
from claude_relay.core.formats.recalling import said_key
from claude_relay.core.formats.sources import Source
from claude_relay.core.formats.writer import Writer

from .responses_memory import JOINT, kept, message_memory, reasoning_memory, worth_keeping

_REASONS = {
    "max_output_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "content_filter": "refusal",
    "max_messages": "pause_turn",
    "steered": "pause_turn",
}
"""Claude's stop reason for that of an incomplete response; any other is max_tokens, too: an answer that was cut is no end of a turn.

`max_messages` and `steered` end at a whole item, and the conversation goes on from there, as after Claude's `pause_turn`; with calls,
they are what is to be answered. Reasons: `openai.types.responses.response.IncompleteDetails` of openai 3.57, 2026-11-27;
https://docs.claude.com/en/api/handling-stop-reasons
"""
_STATUSES = {
    "response.completed": "completed",
    "response.done": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""Events that end a stream, and the status of a response that does not say its own."""
_UNFIT = ("failed", "cancelled")
_NOT_WHOLE = ("incomplete", *_UNFIT)
_ENDS = ("completed", "incomplete", None)
"""Statuses of a response that has ended as it should; some servers tell none. What is not here has failed, or is not finished.

`openai.types.responses.ResponseStatus` of openai 3.57, 2026-11-27."""


@dataclass(slots=True)
class _Item:
    """One entry of `output`.

    passed  its parts of which something has been passed on
    voice   which of two kinds of thoughts counts
    length  characters of the text that it has become
    """

    number: int
    raw: dict[str, Any] = field(default_factory=dict)
    passed: set[Hashable] = field(default_factory=set)
    voice: str = ""
    length: int = 0

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
        self._reported: dict[str, object] = {}
        self._refused = False
        self._said: list[str] = []  # the text since the last thing that is none

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
        elif (handler := _EVENTS.get(kind)) is not None:
            handler(self, data)

    def end(self, *, done: bool) -> None:
        """The stream is over. Without its last event it is whole only for servers that end with `[DONE]`, as in the older API."""
        if done and self._writer.has_content and not self._writer.finished:
            self._finish({})

    def body(self, response: Json) -> None:
        """An answer that was not streamed."""
        status = response.get("status")
        is_whole = isinstance(response.get("output"), list) and status in _ENDS
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
        first = not self._items
        output = response.get("output")
        for raw in _objects(output):
            item = self._new() if first else self._same(raw)
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
        self._pass_on(item, kind, data.get(place), data.get(member), whole=member != "delta")

    def _arguments(self, data: Json) -> None:
        item = self._item(data)
        self._writer.arguments(item.number, data.get("delta"))

    def _all_arguments(self, data: Json) -> None:
        self._complete_call(self._item(data), data)

    def _annotation(self, data: Json) -> None:
        self._cite(self._item(data), data.get("annotation"))

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
            self._last, self._said = ("tool_use", item.number), []

    def _complete(self, item: _Item, raw: Json) -> None:
        """The whole item is known: tell what of it was not told."""
        self._know(item, raw)
        self._announce(item)
        if item.type == "function_call":
            self._complete_call(item, raw)
        elif item.type == "web_search_call":
            self._searched(item)
        elif item.type in ("message", "reasoning"):
            for place in ("summary", "content"):
                for index, part in enumerate(_objects(raw.get(place))):
                    if kind := _KINDS.get(str(part.get("type"))):
                        self._pass_on(item, kind, index, part.get(_MEMBERS.get(kind, "text")), whole=True)
                    for annotation in _objects(part.get("annotations")):
                        self._cite(item, annotation)

    def _complete_call(self, item: _Item, raw: Json) -> None:
        if not self._writer.has_arguments(item.number):
            self._writer.arguments(item.number, raw.get("arguments"))

    def _pass_on(self, item: _Item, kind: str, place: object, content: object, *, whole: bool) -> None:
        """A part of an item: a piece of it, or all of it."""
        part, words = (kind, count(place) or 0), text(content)
        if not words or (whole and part in item.passed):
            return
        thought = kind in _THOUGHTS
        if thought:
            item.voice = item.voice or kind
            if item.voice != kind:
                return
        item.passed.add(part)
        self._refused = self._refused or kind == "refusal"
        write = self._writer.thinking if thought else self._writer.text
        # What are parts and items here becomes one block of Claude's.
        here = (
            "thinking" if thought else "text",
            (item.number, *part) if thought or kind == "refusal" else item.number,
        )
        apart = self._last[0] == here[0] and self._last[1] != here[1]
        self._last = here
        words = f"{JOINT}{words}" if apart else words
        if thought:
            self._said = []
        else:
            self._said.append(words)
            item.length += len(words) - (len(JOINT) if apart and not item.length else 0)
        write(words)

    def _searched(self, item: _Item) -> None:
        """A search of the web that is over. Opening a page that it found, or looking into it, is none."""
        action = mapping(item.raw.get("action"))
        if "searched" in item.passed or action.get("type", "search") != "search" or item.raw.get("status") == "failed":
            return
        item.passed.add("searched")
        queries = action.get("queries")
        stated = [query for query in queries if text(query)] if isinstance(queries, list) else []
        found = [source for raw in _objects(action.get("sources")) if (source := Source.read(raw)) is not None]
        if found:
            self._last, self._said = ("search", item.number), []
        self._writer.searched(stated or filter(None, [text(action.get("query"))]), found)

    def _cite(self, item: _Item, annotation: object) -> None:
        """A text says what a page says. Told once, whether in an event of its own or with the whole text."""
        raw = mapping(annotation)
        source = Source.read(raw) if raw.get("type") == "url_citation" else None
        if source is not None and ("cited", source) not in item.passed:
            item.passed.add(("cited", source))
            self._writer.cite(source)

    # -- begin and end

    def _begin(self, response: Json) -> None:
        self._count(response)
        self._model = text(response.get("model")) or self._model
        self._writer.start(response.get("model"))

    def _count(self, response: Json) -> None:
        """Most servers tell it at the end, some as it grows."""
        if usage := mapping(response.get("usage")):
            keep_later(self._reported, usage)
            self._writer.usage(**_usage(self._reported))

    def _finish(self, response: Json) -> None:
        for item in self._items:
            self._complete_call(item, item.raw)
        self._remember()
        self._writer.stop("refusal" if self._refused else self._reason(response))
        self._writer.finish()

    def _reason(self, response: Json) -> str:
        """Claude's stop reason. Never that the turn is over for an answer that is not whole."""
        if response.get("status") != "incomplete":
            return "end_turn"
        reason = _REASONS.get(str(mapping(response.get("incomplete_details")).get("reason")), "max_tokens")
        calls = any(item.type == "function_call" for item in self._items)
        return "tool_use" if calls and reason == "pause_turn" else reason

    def _remember(self) -> None:
        """Keep what came before each call under that call, and what came after the last one; without a call, under what was said.

        Only reasoning that is encrypted can be given back, as the server stores nothing; and nothing that an item of another kind came
        after, for reasoning must not be without what followed it, and those items are not given back.
        """
        calls: list[tuple[int, list[Json]]] = []
        before: list[Json] = []
        for item in self._items:
            if item.type == "function_call":
                calls.append((item.number, before))
                before = []
            elif item.type not in _GIVEN_BACK:
                before = []
            elif memory := (
                message_memory(item.raw, item.length) if item.type == "message" else reasoning_memory(item.raw)
            ):
                before.append(memory)
        model, requested = self._model, self._writer.provider_model
        for place, (number, items) in enumerate(calls, 1):
            after = before if place == len(calls) else []
            if worth_keeping([*items, *after]):
                self._writer.remember(number, kept(model, items, requested, after))
        if not calls and self._said and worth_keeping(before):
            key = said_key(self._writer.anchor, "".join(self._said))
            self._writer.memories[key] = kept(model, before, requested)

    def _fail(self, error: Json) -> None:
        problem = stream_problem(error)
        self._writer.fail(problem.type, problem.message)


def stream_problem(error: Json) -> Problem:
    """The problem that an event `error` or a failed response tells: under a 200, so its code has to say what it is."""
    kind, code, message = read_error(error)
    return claude_problem(200, "" if kind == "error" else kind, code, message)


def _objects(listed: object) -> list[dict[str, Any]]:
    return [mapping(one) for one in listed] if isinstance(listed, list) else []


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
    "response.output_text.annotation.added": Reader._annotation,
}
