r"""Reads answers of Chat Completions, whole or in chunks, with all the ways in which servers differ.

    >>> reader = ChatReader(Writer("claude-haiku", "1", stream=True))
    >>> reader.event("", {"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]})
    >>> reader.end(done=True)

Nothing but the order of events is relied on: calls are told apart by index and id, whichever a server gives; `finish_reason` and
`usage` count wherever they stand. Requests and Claude's form are known elsewhere.

https://platform.openai.com/docs/api-reference/chat-streaming · https://api-docs.deepseek.com/api/create-chat-completion ·
https://openrouter.ai/docs/use-cases/reasoning-tokens · https://docs.mistral.ai/capabilities/reasoning
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from claude_relay.core.bodies.lenient import count, mapping, text, value
from claude_relay.core.formats.conversation import Json
from claude_relay.core.formats.counts import keep_later
from claude_relay.core.formats.error_text import read_error
from claude_relay.core.formats.errors import claude_problem
from claude_relay.core.formats.writer import Writer

from .chat_ends import end_of, stated_end
from .chat_memory import Memory
from .chat_search import Findings

_THOUGHTS = ("reasoning_content", "reasoning")
"""DeepSeek's field, and those who follow it; OpenRouter's, Groq's, and newer vLLM's."""
_LONGEST_REASON = 64
_TRIES = 64  # how often the arguments of a call are tested for being whole: each test reads all of them


def read_answer(body: Json, writer: Writer) -> None:
    """Read an answer that came whole."""
    reader = ChatReader(writer)
    reader.event("", body)
    reader.end(done=writer.has_content)


@dataclass(slots=True, eq=False)
class _Call:
    """A call as far as it has been told."""

    key: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    whole: bool | None = None
    """Whether its arguments are a whole object; None: not looked at since the last piece."""
    tries: int = 0

    def add(self, arguments: str) -> None:
        """A piece of its arguments."""
        self.pieces.append(arguments)
        if not arguments.isspace():
            self.whole = None if arguments.rstrip().endswith("}") else False

    def is_whole(self) -> bool:
        """Whether its arguments are a whole object, so that nothing more can come."""
        if self.whole is None:
            self.tries += 1
            joined = "".join(self.pieces) if self.tries <= _TRIES else ""
            self.whole = isinstance(value(joined.encode("utf-8", "replace")), dict)
        return self.whole


class ChatReader:
    """Reads one stream."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._calls: list[_Call] = []
        self._by_id: dict[str, dict[_Call, None]] = {}
        self._at: dict[int, _Call] = {}
        self._reported: dict[str, object] = {}
        self._memory, self._findings = Memory(), Findings(writer)
        self._thoughts = ""
        self._reason = ""
        self._refused = False

    def event(self, name: str, data: Json) -> None:
        """The next chunk; a whole answer counts as one."""
        if self._writer.finished:
            return
        choice = _choice(data)
        self._usage(data, choice)
        if name == "error" or _is_error(data, choice):
            self._fail(data if data.get("error") or not choice.get("error") else choice)
            return
        self._writer.start(data.get("model"))
        message = _added(choice, not self._reason)
        self._findings.read(data, message)
        if choice:
            if details := message.get("reasoning_details"):
                self._memory.details(details, whole=not mapping(choice.get("delta")))
            self._message(message)
            self._finish(choice)

    def end(self, *, done: bool) -> None:
        """The stream is over: the answer is whole when it said so, by a reason, or by `[DONE]` after anything was told."""
        if (self._reason or (done and self._writer.has_content)) and not self._writer.finished:
            self._memory.keep(self._writer, [call.key for call in self._calls])
            self._findings.end()
            self._writer.stop("refusal" if self._refused else end_of(self._reason or "stop").reason)
            self._writer.finish()

    # -- inside

    def _fail(self, error: Json) -> None:
        kind, code, message = read_error(error)
        problem = claude_problem(0, kind, code, message or "the provider broke off with an error")
        self._writer.fail(problem.type, problem.message)

    def _finish(self, choice: Json) -> None:
        stated = text(choice.get("finish_reason"))
        if self._reason or not stated:
            return
        self._reason = stated_end(stated, text(choice.get("native_finish_reason")) or "")
        if error := end_of(self._reason).error:
            self._writer.fail(error, f"the provider broke off: {self._reason[:_LONGEST_REASON]}")

    def _usage(self, data: Json, choice: Json) -> None:
        """The last usage counts; Moonshot tells it within the choice, Groq in a field of its own."""
        usages = [mapping(place.get("usage")) for place in (mapping(data.get("x_groq")), choice, data)]
        if any(usages):
            for usage in usages:
                keep_later(self._reported, usage)
            self._writer.usage(**usage_of(self._reported))

    def _message(self, message: Json) -> None:
        self._think(message)
        for kind, piece in _pieces(message.get("content")):
            if kind == "thinking":
                self._writer.thinking(piece)
            elif piece:
                self._findings.before_text()
                self._writer.text(piece)
        if refusal := text(message.get("refusal")):
            self._refused = True
            self._writer.text(refusal)
        self._findings.cite()
        self._read_calls(message)

    def _think(self, message: Json) -> None:
        """Thoughts, of the first field that had any: some servers fill two or three with the same."""
        thoughts = {name: text(message.get(name)) for name in _THOUGHTS} | {
            "details": _details(message.get("reasoning_details"))
        }
        self._thoughts = self._thoughts or next((name for name, thought in thoughts.items() if thought), "")
        self._writer.thinking(thoughts.get(self._thoughts))

    def _read_calls(self, message: Json) -> None:
        listed = message.get("tool_calls")
        touched: set[_Call] = set()
        for entry in listed if isinstance(listed, list) else []:
            if isinstance(entry, dict):
                touched.add(self._read_call(entry, touched))
        legacy = mapping(message.get("function_call"))
        if text(legacy.get("name")) or text(legacy.get("arguments")):
            self._read_call({"index": -1, "function": legacy}, touched)

    def _read_call(self, entry: Json, touched: set[_Call]) -> _Call:
        function = mapping(entry.get("function")) or entry
        index, id = _index(entry.get("index")), text(entry.get("id")) or ""
        name, arguments = text(function.get("name")) or "", function.get("arguments")
        call = self._known(index, id, name, touched, bool(arguments))
        if call is None:
            call = _Call(len(self._calls))
            self._calls.append(call)
        if index is not None:
            self._at[index] = call
        call.id, call.name = call.id or id, call.name or name
        self._by_id.setdefault(call.id, {})[call] = None
        self._memory.call(call.key, entry)
        self._writer.call(call.key, id=call.id, name=call.name)
        self._read_arguments(call, arguments)
        return call

    def _known(self, index: int | None, id: str, name: str, touched: set[_Call], more: bool) -> _Call | None:
        """The call that a fragment belongs to; None: a new one. `touched`: calls of the same chunk; `more`: it has arguments."""
        last = self._at.get(index) if index is not None else self._last()
        if id and (own := self._by_id.get(id)):
            # An id may come twice: with a name and at another place it is another call.
            same = last if last in own else next(reversed(own)) if index is None or not name else None
            return None if same in touched and name else same
        if last is None or not name:
            return last  # also an id that comes late, or is made anew for every piece
        if id and last.id:
            return None
        again = last.name == name and last not in touched and not (more and last.is_whole())
        return last if again or not last.name else None

    def _last(self) -> _Call | None:
        return self._calls[-1] if self._calls else None

    def _read_arguments(self, call: _Call, arguments: object) -> None:
        if isinstance(arguments, Mapping):
            if not self._writer.has_arguments(call.key):
                self._writer.arguments(call.key, arguments)
        elif isinstance(arguments, str) and arguments:
            repeated = arguments.lstrip().startswith("{") and call.is_whole()
            if not repeated:
                call.add(arguments)
                self._writer.arguments(call.key, arguments)


def usage_of(usage: Json) -> dict[str, int]:
    """Claude's usage of a `usage` object; {} when it tells nothing.

    `prompt_tokens` holds what the cache gave and took, Claude's `input_tokens` does not. A cached part larger than the whole was
    not in it. `completion_tokens` holds the reasoning, but for servers (xAI's) whose total shows that it does not.
    """
    prompt, completion = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return {}
    prompt, completion = prompt or 0, completion or 0
    details, made = mapping(usage.get("prompt_tokens_details")), mapping(usage.get("completion_tokens_details"))
    cached = (details.get("cached_tokens"), usage.get("prompt_cache_hit_tokens"), usage.get("cached_tokens"))
    read = next((number for number in map(count, cached) if number), 0)
    written, thought = count(details.get("cache_write_tokens")) or 0, count(made.get("reasoning_tokens")) or 0
    apart = count(usage.get("total_tokens")) == prompt + completion + thought
    return {
        "input_tokens": prompt - read - written if read + written <= prompt else prompt,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": completion + thought if apart else completion,
        "thinking_tokens": thought,
    }


def _choice(data: Json) -> dict[str, object]:
    choices = data.get("choices")
    return next((mapping(choice) for choice in choices if mapping(choice)), {}) if isinstance(choices, list) else {}


def _added(choice: Json, first: bool) -> dict[str, object]:
    """What a choice adds: its delta, or the message of a whole answer; a message after the end repeats what was told."""
    return mapping(choice.get("delta")) or (mapping(choice.get("message")) if first else {})


def _is_error(data: Json, choice: Json) -> bool:
    """Whether an event is an error, which may stand beside `choices` or in their place."""
    if data.get("error") or choice.get("error") or data.get("object") == "error":
        return True
    return not choice and "choices" not in data and any(text(data.get(name)) for name in ("message", "detail", "msg"))


def _pieces(content: object) -> Iterator[tuple[str, str]]:
    """The texts and thoughts of a content that may be a list of parts."""
    if isinstance(content, str):
        yield "text", content
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            yield "text", part
        elif mapping(part).get("type") == "thinking":
            for _, thought in _pieces(part.get("thinking")):
                yield "thinking", thought
        elif words := text(mapping(part).get("text")):
            yield "text", words


def _details(details: object) -> str:
    """The readable part of OpenRouter's `reasoning_details`."""
    listed = [mapping(detail) for detail in details] if isinstance(details, list) else []
    return "".join(text(detail.get("text")) or text(detail.get("summary")) or "" for detail in listed)


def _index(raw: object) -> int | None:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None
