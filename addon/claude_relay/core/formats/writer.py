r"""Writes an answer in Claude's form, as a stream or whole, whatever the order in which a provider tells its parts.

    >>> writer = Writer("claude-sonnet-5", "req_1", stream=True)
    >>> writer.text("Hello")
    >>> writer.stop("end_turn")
    >>> writer.finish()
    >>> writer.take()
    b'event: message_start\ndata: {"type":"message_start",…}\n\nevent: content_block_start…'

The sequence is always valid: `message_start`, blocks one at a time with indices 0, 1, 2 …, one `message_delta` with stop reason and
usage, `message_stop`; nothing after it. Text and thoughts leave as they come. So do the arguments of the first call; what follows it
(providers tell calls side by side) leaves once they are a whole object, at the latest at the end. A text of blanks alone is no block:
Claude refuses it when it comes back. It must not know providers, nor how a block's pieces are read. Sequence:
https://docs.claude.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping

import msgspec

from claude_relay.core.bodies.lenient import count

from .answer_blocks import FOREIGN, SEARCH_ID, Block, Kind, arguments_of
from .sources import Source

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")
_SEED = 32  # characters, so that ids made of it stay within Claude's 64
_USAGE = (("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"), ("output_tokens",))
"""What is told together: tokens that the cache gave are none of the fresh ones any more."""
_DELTAS: Mapping[Kind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
    "server_tool_use": ("input_json_delta", "partial_json"),
}


class Writer:
    """One answer.

    provider_model  the model's name at the provider, as it was asked for it
    anchor          what the answer is given to (`recalling.anchor`)
    served_model    the model that the provider says has answered
    memories        texts to be kept for the conversation's next turns, by the id of the call that they belong to, or another key of
                    `recalling`
    finished        nothing can be added any more
    failed          it ended with an error
    """

    def __init__(
        self,
        model: str,
        seed: str,
        *,
        stream: bool,
        names: Mapping[str, str] | None = None,
        estimate: int = 0,
        provider_model: str = "",
        anchor: str = "",
    ) -> None:
        """For one request.

        model     the model's name as the client knows it
        seed      unique to the request; ids are made of it
        names     the client's names of tools, by the provider's
        estimate  input tokens for `message_start`, before the provider has told them
        """
        self.provider_model, self.anchor = provider_model, anchor
        self.served_model: str | None = None
        self.memories: dict[str, str] = {}
        self.finished = self.failed = False
        self._model, self._seed, self._stream = model, _ID_UNFIT.sub("", seed)[-_SEED:], stream
        self._names = names or {}
        self._usage: dict[str, int] = {"input_tokens": estimate, "output_tokens": 0}
        self._reported: set[str] = set()
        self._thought = self._searches = 0
        self._uncited: list[Source] = []
        self._error: tuple[str, str] = ("", "")
        self._started = False
        self._blocks: list[Block] = []
        self._closed = 0
        self._blanks: tuple[Kind, list[str]] = ("text", [])
        self._calls: dict[Hashable, Block] = {}
        self._ids: set[str] = set()
        self._numbers: Iterator[int] = itertools.count()
        self._reason: str | None = None
        self._sequence: str | None = None
        self._out: list[bytes] = []

    # -- what a format tells

    def start(self, served_model: object = None) -> None:
        """The answer has begun; may be said again. `message_start` leaves at once, even if nothing else has come."""
        if isinstance(served_model, str) and served_model and self.served_model is None:
            self.served_model = served_model
        if not self._started and not self.finished:
            self._started = True
            self._emit("message_start", message=self._message([], self._usage))

    def text(self, text: object) -> None:
        """More of the visible answer. What is no text, or empty, is nothing."""
        self._prose("text", text)

    def thinking(self, text: object) -> None:
        """More of the thoughts before it."""
        self._prose("thinking", text)

    def call(self, key: Hashable, *, id: object = "", name: object = "") -> None:
        """A tool is called. `key` tells the calls of this answer apart; id and name may come later, or twice, and the first count.

        A call takes its place when its name comes; one that never gets a name is left out.
        """
        if self.finished:
            return
        block = self._calls.get(key)
        if block is None:
            block = self._calls[key] = Block("tool_use")
        if not block.id and isinstance(id, str) and id:
            block.id = self._own_id(id)
        if not block.name and isinstance(name, str) and name:
            block.name = self._names.get(name, name)
            self._add(block)
        self._flow()

    def arguments(self, key: Hashable, fragment: object) -> None:
        """More of a call's arguments: a piece of their JSON text, or an object that is all of them.

        An object takes the place of pieces, unless they have begun one. Blanks in front are dropped, as some providers send nothing else,
        and so is what comes after the call is over.
        """
        block = self._calls.get(key)
        if block is None or block.closed or block.whole or self.finished:
            return
        if isinstance(fragment, Mapping):
            if block.fit_to_pass():
                return
            block.pieces.clear()
            fragment, block.whole = msgspec.json.encode(dict(fragment)).decode(), True
        if isinstance(fragment, str) and (fragment := fragment if block.pieces else fragment.lstrip()):
            block.pieces.append(fragment)
            self._flow()

    def has_arguments(self, key: Hashable) -> bool:
        """Whether anything of a call's arguments has come."""
        block = self._calls.get(key)
        return block is not None and bool(block.pieces or block.closed)

    def remember(self, key: Hashable, what: str) -> None:
        """Keep this for the turns to come: it is given back as `Asked.recall` when the conversation holds this call."""
        block = self._calls.get(key)
        if block is not None:
            block.memory = what
            self._keep_memory(block)

    def searched(self, queries: Iterable[str], sources: Iterable[Source]) -> None:
        """The provider has searched the web, once for each query, and has found these pages in all. Without a page there is no block."""
        if self.finished:
            return
        stated, found = [query for query in queries if query], [source.result() for source in sources]
        self._searches += max(1, len(stated))
        if found:
            id = f"{SEARCH_ID}{self._seed.replace('-', '_')}_{next(self._numbers)}"
            query = msgspec.json.encode({"query": "; ".join(stated)}).decode()
            self._add(Block("server_tool_use", id, "web_search", pieces=[query]))
            self._add(Block("web_search_tool_result", id, entries=found))
            self._flow()

    def cite(self, *sources: Source) -> None:
        """The text that is being written, or else the next one, says what these pages say. Each counts once for a text."""
        block = self._blocks[-1] if self._blocks else None
        if self.finished or block is None or block.kind != "text":
            self._uncited += sources
            return
        for source in sources:
            if source not in block.known:
                block.known.add(source)
                block.entries.append(source.citation())
        self._flow()

    def usage(self, **tokens: object) -> None:
        """Tokens so far, by the names of Claude's `usage` (`input_tokens` without cached ones); the last number of each counts.

        All that went in is one number here, in parts. A 0 takes no number's place: providers send it for what they do not count again.
        `thinking_tokens` is a part of `output_tokens`.
        """
        if self.finished:
            return
        for names in _USAGE:
            numbers = {name: number for name in names if (number := count(tokens.get(name))) is not None}
            if any(numbers.values()) or not self._reported.issuperset(numbers):
                self._usage |= numbers
                self._reported |= numbers.keys()
        self._thought = count(tokens.get("thinking_tokens")) or self._thought

    def stop(self, reason: str, sequence: str | None = None) -> None:
        """Why the model stopped, in Claude's words; an answer with calls stops for them unless it was cut or refused."""
        if not self.finished:
            self._reason, self._sequence = reason, sequence

    @property
    def reported_usage(self) -> dict[str, object]:
        """What `usage` was told by now, in Claude's form, without what was estimated."""
        reported: dict[str, object] = {name: self._usage[name] for name in self._reported}
        return reported | self._details()

    @property
    def held(self) -> tuple[str, int]:
        """Texts and arguments that have come and not left, and how many calls that have not been opened."""
        waiting = self._blocks[self._closed :]
        pieces = (piece for block in waiting for piece in block.pieces[block.emitted :])
        return "".join(pieces), sum(block.kind == "tool_use" and not block.opened for block in waiting)

    @property
    def stopped(self) -> bool:
        """Whether a reason to stop was told."""
        return self._reason is not None

    @property
    def has_content(self) -> bool:
        """Whether there is a block."""
        return bool(self._blocks)

    def finish(self) -> None:
        """The answer is whole."""
        if self.finished:
            return
        self.start()
        for block in self._blocks[self._closed :]:
            self._send(block)
            self._close(block)
        self._emit("message_delta", delta=self._ending(), usage=self._whole_usage())
        self._emit("message_stop")
        self.finished = True

    def fail(self, type: str, message: str) -> None:
        """The provider broke off with an error; `type` is one of Claude's error types."""
        if not self.finished:
            self._error = (type, message)
            self.finished = self.failed = True
            self._emit("error", error={"type": type, "message": message})

    # -- what has become of it

    def take(self) -> bytes:
        """The bytes of the stream since the last time."""
        out, self._out = b"".join(self._out), []
        return out

    def whole(self) -> bytes:
        """The answer as one JSON body: the message, or the error. Only for a writer that does not stream."""
        if self.failed:
            kind, message = self._error
            return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
        content = [block.content() for block in self._blocks]
        return msgspec.json.encode(self._message(content, self._whole_usage()) | self._ending())

    # -- inside

    def _prose(self, kind: Kind, text: object) -> None:
        if not isinstance(text, str) or not text or self.finished:
            return
        self.start()
        block = self._blocks[-1] if self._blocks else None
        if block is None or block.kind != kind:
            text = self._without_blanks(kind, text)
            if not text:
                return
            block = Block(kind)
            self._add(block)
        block.pieces.append(text)
        if kind == "text" and self._uncited:
            waiting, self._uncited = self._uncited, []
            self.cite(*waiting)
        self._flow()

    def _without_blanks(self, kind: Kind, text: str) -> str:
        """What a new block begins with: nothing as long as only blanks have come, which are kept until then."""
        if self._blanks[0] != kind:
            self._blanks = (kind, [])
        self._blanks[1].append(text)
        return "" if text.isspace() else "".join(self._blanks[1])

    def _add(self, block: Block) -> None:
        self._blanks = ("text", [])
        self._blocks.append(block)

    def _flow(self) -> None:
        """Send what can be sent: the pieces of the first block that is not over."""
        while self._closed < len(self._blocks):
            block = self._blocks[self._closed]
            self._send(block)
            if self._closed == len(self._blocks) - 1 or not block.over():
                return
            self._close(block)

    def _send(self, block: Block) -> None:
        """Open the block and send what it has."""
        self.start()
        if not block.opened:
            block.opened = True
            if block.kind == "tool_use":
                block.id = block.id or self._own_id("")
                self._keep_memory(block)
            self._emit("content_block_start", index=self._closed, content_block=block.opening())
        if not self._stream or (block.kind == "tool_use" and not block.fit_to_pass()):
            return
        for piece in block.pieces[block.emitted :]:
            self._delta(block.kind, piece)
        if block.kind == "tool_use":
            block.emitted = len(block.pieces)
        else:
            block.pieces.clear()
        if block.kind == "text":
            for citation in block.entries[block.cited :]:
                delta = {"type": "citations_delta", "citation": citation}
                self._emit("content_block_delta", index=self._closed, delta=delta)
            block.cited = len(block.entries)

    def _close(self, block: Block) -> None:
        if block.kind == "thinking":
            delta = {"type": "signature_delta", "signature": FOREIGN}
            self._emit("content_block_delta", index=self._closed, delta=delta)
        if self._stream and block.kind == "tool_use":
            if not block.emitted and (arguments := arguments_of("".join(block.pieces))):
                self._delta("tool_use", msgspec.json.encode(arguments).decode())
            block.pieces.clear()
        self._emit("content_block_stop", index=self._closed)
        block.closed = True
        self._closed += 1

    def _delta(self, kind: Kind, piece: str) -> None:
        type, name = _DELTAS[kind]
        self._emit("content_block_delta", index=self._closed, delta={"type": type, name: piece})

    def _ending(self) -> dict[str, object]:
        reason = self._stop_reason()
        return {"stop_reason": reason, "stop_sequence": self._sequence if reason == "stop_sequence" else None}

    def _stop_reason(self) -> str:
        calls = any(block.kind == "tool_use" for block in self._blocks)
        if calls and self._reason in (None, "end_turn", "stop_sequence"):
            return "tool_use"
        if self._reason == "tool_use" and not calls:
            return "end_turn"
        return self._reason or "end_turn"

    def _whole_usage(self) -> dict[str, object]:
        return {**self._usage, **self._details()}

    def _details(self) -> dict[str, object]:
        details: dict[str, object] = {}
        if self._thought:
            details["output_tokens_details"] = {"thinking_tokens": self._thought}
        if self._searches:
            details["server_tool_use"] = {"web_search_requests": self._searches, "web_fetch_requests": 0}
        return details

    def _message(self, content: list[dict[str, object]], usage: Mapping[str, object]) -> dict[str, object]:
        return {
            "id": f"msg_{self._seed}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _own_id(self, theirs: str) -> str:
        """The provider's id where it can serve as Claude's, and no other call has it."""
        own = theirs if _ID.fullmatch(theirs) else self._made_id(theirs)
        while own in self._ids:
            own = self._made_id(theirs)
        self._ids.add(own)
        return own

    def _made_id(self, theirs: str) -> str:
        """Unique over the answers of a conversation, too: some providers number the calls of each answer from 0."""
        return f"{_ID_UNFIT.sub('_', theirs)[:20] or 'toolu'}_{self._seed}_{next(self._numbers)}"

    def _keep_memory(self, block: Block) -> None:
        if block.opened and block.memory is not None:
            self.memories[block.id] = block.memory

    def _emit(self, type: str, **data: object) -> None:
        if self._stream:
            self._out.append(b"event: %b\ndata: %b\n\n" % (type.encode(), msgspec.json.encode({"type": type} | data)))
