r"""Counts what an answer uses while it passes, and tells where its end begins.

    >>> meter = Meter({}, endpoint=Endpoint.MESSAGES)
    >>> meter.feed(b'event: message_start\ndata: {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}}\n\n')
    >>> meter.feed(b'event: ping\ndata: {}\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n')
    22
    >>> meter.complete, meter.usage.input_tokens
    (True, 3)

Works on raw wire bytes in any pieces, compressed or not, and never raises: an answer is passed on whatever this makes
of it. Only the four events that carry usage or an end are read as JSON, and what kind of block begins. Knows nothing of
status codes, keys or the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from claude_relay.core.bodies.decode import Decoder
from claude_relay.core.bodies.lenient import (
    block_type,
    count,
    error_name,
    last_member,
    mapping,
    parse_answer,
    parse_object,
    text,
    value,
)
from claude_relay.core.bodies.resources import MOST_NAMED, containers
from claude_relay.core.bodies.sniff import Shape, event_kind, sniff
from claude_relay.core.bodies.sse import Event, SseParser
from claude_relay.core.exchange import Endpoint

from .passed import CALLS, SPOKEN, Passed
from .terms import Terms
from .tokens import ADVISOR, COMPACTION, DECLINED, Charge, Tally, Usage

__all__ = ["Meter", "Usage"]

BODY_LIMIT = 1024 * 1024
"""Bytes of an answer that is no stream up to which all of it is kept. 128,000 tokens of text are half of that."""
FRONT, TAIL = 16 * 1024, 64 * 1024
"""Bytes of a larger one that are kept: the API names the model before the content, and the stop reason and the usage after it."""

LONGEST_NAME = 255
"""Characters of a model's name or a stop reason that are kept."""

_PAID = frozenset({Endpoint.MESSAGES, Endpoint.COMPLETE})
_UNCOUNTED = frozenset({Endpoint.RESOURCE, Endpoint.SIDE})
_DELTA = b"event: content_block_delta\ndata: "
"""How Claude's API begins nearly all events of a stream. A piece that is just one of them is counted without being parsed."""
_ENDS = frozenset({"message_stop", "error"})
# Blocks in which nothing but pings may come for minutes: thoughts that are not shown, a summary being made, a search or a program that
# runs at the provider. https://docs.claude.com/en/docs/build-with-claude/streaming, …/extended-thinking#redacted-thinking
_SILENT = frozenset({"thinking", "redacted_thinking", "compaction"})
_AT_SERVERS = frozenset({"server_tool_use", "mcp_tool_use"})
_KNOWN_CHARGES = frozenset({ADVISOR, COMPACTION, DECLINED})
REFUSAL = "refusal"
"""Before any output it is not billed: https://docs.claude.com/en/docs/build-with-claude/refusals-and-fallback"""


class Meter:
    """The meter of one answer.

    served_model  the model that the answer names
    stop_reason   why the model stopped
    error         type of an upstream `error` event or error answer; "error" when it has none
    complete      True once the answer is whole and no error: at `message_stop`, or at `end` for an answer that is no stream. A body that
                  cannot be looked into (unknown coding, too large) counts as whole when the transport says so.
    events        events of a stream so far, pings too
    content       True once an event with content was seen, or a byte of a JSON answer
    containers    ids of the containers that the answer says it ran in
    quiet         True where a model may say nothing but pings for long: while it thinks, and while a tool works at the provider
    passed        what it has said so far
    """

    def __init__(self, headers: Mapping[str, str], *, endpoint: Endpoint) -> None:
        self.served_model: str | None = None
        self.stop_reason: str | None = None
        self.error: str | None = None
        self.complete = False
        self.events = 0
        self.content = False
        self.containers: tuple[str, ...] = ()
        self.quiet = False
        self.passed = Passed()
        self._headers = headers
        self._completes = endpoint is Endpoint.COMPLETE
        self._paid = endpoint in _PAID
        self._tally = Tally()
        self._decoder = Decoder(headers.get("content-encoding", ""))
        self._blind = endpoint in _UNCOUNTED or self._decoder.blind
        self._shape: Shape | None = None
        self._head = b""  # as long as the shape is unknown
        self._parser = SseParser()
        self._body = bytearray()
        self._front: bytes | None = None  # of a large one
        self._steady = False  # an uncompressed stream without its final event
        self._final = False
        self._ended = False
        self._pings = 0
        self._pieces = 0  # of bodies that are no stream of events, or cannot be looked into
        self._awaited = False  # a tool at the provider, whose result comes as the next block
        self._begun = False  # a message of a stream
        self._counted = False  # its last count was told
        self._guessed = False  # its input was told by the relay itself
        self._apart = False

    @property
    def usage(self) -> Usage:
        """What is known by now of the answer's own model."""
        return self._tally.usage

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What is billed beside it."""
        found = self._tally.charges
        return tuple(one for one in found if one.kind in _KNOWN_CHARGES or one.model != self.served_model)

    @property
    def took_over(self) -> str | None:
        """The model that took over from one that declined."""
        return self._tally.served

    def terms(self, speed: str = "") -> Terms:
        """At which terms it was served. `speed`: what was asked for, for an answer that does not say it."""
        refused = self.stop_reason == REFUSAL and not self.passed
        return terms_of(self._tally, self.stop_reason if refused else None, speed)

    @property
    def uncounted(self) -> bool:
        """Whether its tokens are known at best in part: a stream that has not told its last count, an answer without any."""
        if self._counted:
            return self._guessed or (self._paid and not self._tally.knows_input)
        return bool(self.passed) or (self._begun and not self.complete)

    @property
    def unknown(self) -> Passed | None:
        """What it has said, as far as its output is to be estimated by that; None: all is known."""
        if not self.uncounted:
            return None
        return Passed() if self._counted else self.passed

    def usage_reported(self, usage: Mapping[str, object], held: str, calls: int) -> None:
        """What a provider of another format has told by now, beside what of it stands in the answer in Claude's form.

        usage  tokens by Claude's names, without what the relay itself has guessed
        held   texts and arguments that wait for others before them; `calls`: of tools that wait so
        """
        self._absorb(usage)
        apart = Tally()
        apart.absorb(usage)
        self._guessed = not apart.knows_input
        if not self._apart:
            self._apart = True
            self.passed.calls += calls
            self.passed.arguments(held)

    @property
    def moves(self) -> int:
        """How often the answer has moved on: grows with everything but pings, comments and blank lines."""
        return self.events - self._pings + self._pieces

    def feed(self, data: bytes) -> int | None:
        """Count the next bytes; returns where in them the final event (`message_stop` or `error`) begins, else None.

        0 when it began earlier, and when the body is compressed. All that follows it is 0 too.
        """
        if self._steady and data.startswith(_DELTA) and self._parser.idle and _is_one_event(data):
            self.events += 1  # the usual case by far: the whole of one delta
            self.content = True
            self.passed.event(data)
            return None
        if self._final:
            return 0
        if self._blind:
            self._pieces += 1
            return None
        if self._decoder.identity:
            return self._read(data)
        return 0 if any(self._read(piece) is not None for piece in self._decoder.pieces(data)) else None

    def end(self) -> None:
        """The transport says that the body is whole."""
        if self._ended or self._final:
            return
        self._ended = True
        self._blind = self._blind or self._decoder.blind or self._parser.dead
        if self._blind:
            self.complete = True
        elif not self._decoder.dead:
            _AT_END[self._shape](self)

    def let_go(self) -> None:
        """Nothing more is read, and what was read is counted."""
        self._body, self._head, self.passed = bytearray(), b"", Passed()

    def _read(self, data: bytes) -> int | None:
        if self._shape is None:
            return self._begin(data)
        return _READ[self._shape](self, data)

    def _begin(self, data: bytes) -> int | None:
        before = len(self._head)
        self._head += data
        self._shape = sniff(self._head, self._headers)
        if self._shape is None:
            return None
        self._steady = self._shape is Shape.SSE and self._decoder.identity
        head, self._head = self._head, b""
        offset = _READ[self._shape](self, head)
        return None if offset is None else max(offset - before, 0)

    # -- streams

    def _read_stream(self, data: bytes) -> int | None:
        for event in self._parser.feed(data):
            self.events += 1
            read = _EVENTS.get(event.name or event_kind(event))
            if read is None:
                self.content = True
            elif read(self, event):
                self._final = True
                self._steady = False
                return max(event.start, 0)
        return None

    def _end_stream(self) -> None:
        """Some servers forget the blank line after the last event."""
        for event in self._parser.end():
            if (kind := event_kind(event)) in _ENDS and parse_object(event.data):
                self.events += 1
                self._final = _EVENTS[kind](self, event)

    def _ping(self, event: Event) -> bool:
        self._pings += 1
        return False

    def _block_start(self, event: Event) -> bool:
        kind = block_type(event.data)
        self.content = True
        if kind in SPOKEN:
            self.passed.event(event.data)
        elif kind in CALLS:
            self.passed.calls += 1
            self.passed.arguments(mapping(mapping(parse_object(event.data).get("content_block")).get("input")))
        self._awaited = kind in _AT_SERVERS
        self.quiet = self._awaited or kind in _SILENT or kind.endswith("_tool_result")
        return False

    def _block_stop(self, event: Event) -> bool:
        self.content = True
        self.quiet = self._awaited
        return False

    def _delta(self, event: Event) -> bool:
        self.content = True
        self.passed.event(event.data)
        return False

    def _message_start(self, event: Event) -> bool:
        self._begun = True
        message = mapping(parse_object(event.data).get("message"))
        self.served_model = name(message.get("model")) or self.served_model
        self._absorb(message.get("usage"))
        self._note_containers(event.data)
        return False

    def _message_delta(self, event: Event) -> bool:
        data = parse_object(event.data)
        self.stop_reason = name(mapping(data.get("delta")).get("stop_reason")) or self.stop_reason
        self._absorb(data.get("usage"))
        # An event in the middle, after an advisor's answer, tells what was used until then.
        final = self.stop_reason is not None and bool(count(mapping(data.get("usage")).get("output_tokens")))
        self._counted = self._counted or final
        self._note_containers(event.data)
        return False

    def _message_stop(self, event: Event) -> bool:
        self.complete = True
        return True

    def _error(self, event: Event) -> bool:
        self.error = error_name(parse_object(event.data).get("error"))
        return True

    def _completion(self, event: Event) -> bool:
        """An event of the old text completions; the one with a stop reason is the last."""
        data = parse_object(event.data)
        self.content = True
        self.passed.event(event.data)
        self.served_model = name(data.get("model")) or self.served_model
        self.stop_reason = name(data.get("stop_reason"))
        self.complete = self.stop_reason is not None
        return self.complete

    def _absorb(self, usage: object) -> None:
        self._tally.absorb(usage)
        self.served_model = self._tally.served or self.served_model

    def _note_containers(self, data: bytes) -> None:
        if found := containers(data):
            self.containers = tuple(dict.fromkeys((*self.containers, *found)))[:MOST_NAMED]

    # -- other answers

    def _read_json(self, data: bytes) -> int | None:
        self.content = True
        self._pieces += bool(data.strip())
        self._body += data
        if self._front is None and len(self._body) > BODY_LIMIT:
            self._front = bytes(self._body[:FRONT])
        if self._front is not None and len(self._body) > 2 * TAIL:
            del self._body[:-TAIL]
        return None

    def _end_large(self, front: bytes) -> None:
        """One of which only both ends are known: whole if the transport says so."""
        tail = bytes(self._body)
        self.complete = True
        self.served_model = name(last_member(front, "model"))
        self.stop_reason = name(last_member(tail, "stop_reason"))
        self._absorb(last_member(tail, "usage") or last_member(front, "usage"))
        self._counted = bool(self.usage.output_tokens)

    def _end_json(self) -> None:
        if self._front is not None:
            self._end_large(self._front)
            return
        body = bytes(self._body)
        answer = parse_answer(body)
        if answer is None:
            if self._paid:
                self.passed.event(body)  # cut off
            return
        if answer.is_error:
            self.error = error_name(value(answer.error))
            return
        self.complete = True
        self.served_model = name(value(answer.model))
        self.stop_reason = name(value(answer.stop_reason))
        self._absorb(value(answer.usage))
        self._note_containers(body)
        self._counted = bool(self.usage.output_tokens)
        if self._completes:
            self.passed.event(body)
        elif self._paid and not self._counted:
            self.passed.content(value(answer.content))

    def _read_other(self, data: bytes) -> int | None:
        self._pieces += 1
        return None

    def _end_other(self) -> None:
        self.complete = True

    def _end_empty(self) -> None:
        self.complete = not self._head


def terms_of(tally: Tally, stop_reason: str | None, speed: str = "") -> Terms:
    """At which terms an answer was served that stopped for this reason. `speed`: what was asked for."""
    terms = tally.terms(speed)
    refused = stop_reason == REFUSAL and not tally.usage.output_tokens
    return replace(terms, unbilled=True) if refused else terms


_READ: dict[Shape, Callable[[Meter, bytes], int | None]] = {
    Shape.SSE: Meter._read_stream,
    Shape.JSON: Meter._read_json,
    Shape.OTHER: Meter._read_other,
}
_AT_END: dict[Shape | None, Callable[[Meter], None]] = {
    Shape.SSE: Meter._end_stream,
    Shape.JSON: Meter._end_json,
    Shape.OTHER: Meter._end_other,
    None: Meter._end_empty,
}
# True: the event is the final one. Events that are not here carry content.
_EVENTS: dict[str, Callable[[Meter, Event], bool]] = {
    "message_start": Meter._message_start,
    "message_delta": Meter._message_delta,
    "message_stop": Meter._message_stop,
    "error": Meter._error,
    "completion": Meter._completion,
    "content_block_start": Meter._block_start,
    "content_block_delta": Meter._delta,
    "content_block_stop": Meter._block_stop,
    "ping": Meter._ping,
    "": Meter._ping,
}


def name(value: object) -> str | None:
    """A text of the upstream's as far as it is kept; None: it is none."""
    found = text(value)
    return found[:LONGEST_NAME] if found is not None else None


def _is_one_event(data: bytes) -> bool:
    """Whether a piece that begins with an event's two lines holds nothing else."""
    return data.endswith(b"\n\n") and data.count(b"\n") == 3 and b"\r" not in data
