"""What bodies in Claude's own format need on their way: bytes cut out or exchanged, all others left as they are.

    >>> without_thinking(b'{"messages": [{"role": "assistant", "content": [{"type": "thinking"}, {"type": "text"}]}]}')
    b'{"messages": [{"role": "assistant", "content": [{"type": "text"}]}]}'
    >>> back = ModelBack("claude-sonnet-5", stream=False)
    >>> back.feed(b'{"type": "message", "model": "glm-5"}') + back.end()
    b'{"type": "message", "model": "claude-sonnet-5"}'

A body is never written anew, as caches and signatures hang on its bytes. What is not as expected passes untouched. It must not know
other formats, nor who answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec import Raw

from claude_relay.core.bodies.facts import members, rename_model
from claude_relay.core.bodies.legible import read_leniently, utf8, written_as
from claude_relay.core.bodies.lenient import BAD_JSON, parse_answer, text, value
from claude_relay.core.bodies.sse import SseParser
from claude_relay.core.formats.answer_blocks import FOREIGN, SEARCH_ID
from claude_relay.core.spans import holds

_FOREIGN = FOREIGN.encode()
_THINKING = frozenset({"thinking", "redacted_thinking"})
_BLANKS = b" \t\r\n"

_decode_list = msgspec.json.Decoder(list[Raw]).decode


class _Block(msgspec.Struct):
    type: object = None
    signature: object = None
    id: object = None
    tool_use_id: object = None


_decode_block = msgspec.json.Decoder(_Block).decode


# -- requests


def without_foreign_thinking(body: bytes) -> bytes:
    """The request without thoughts and web searches of other providers, which Claude refuses as they are not signed; never raises.

    Texts that cite what was found lose the citations. A turn that held nothing else goes too. The same object when there are none.
    """
    return _without(body, _is_foreign, cites=True) if has_foreign_thinking(body) else body


def has_foreign_thinking(body: bytes) -> bool:
    """Whether there may be thoughts or searches of other providers in a request."""
    return holds(utf8(body), _FOREIGN)


def without_thinking(body: bytes) -> bytes:
    """The request without any thoughts of earlier turns, for one more try after a signature was refused; never raises.

    A turn that held nothing else goes too. Claude can do without them:
    https://docs.claude.com/en/docs/build-with-claude/extended-thinking#preserving-thinking-blocks
    """
    return _without(body, _is_thinking)


def without_tags(body: bytes) -> bytes:
    """The request without the labels (`tags`) that are its gateway's, and that the API does not know; never raises."""
    plain = utf8(body)
    try:
        found = list(members(plain))
    except BAD_JSON:
        return body
    if all(name != "tags" for name, _, _ in found):
        return body
    begin = plain.index(b"{") + 1
    pieces, after = [plain[:begin]], begin
    for place, (name, _, end) in enumerate(found):
        comma = plain.index(b",", after) + 1 if place else begin
        if name != "tags":
            pieces += [plain[after:comma] if len(pieces) > 1 else b"", plain[comma:end]]
        after = end
    return written_as(body, b"".join([*pieces, plain[after:]]))


def _is_foreign(block: _Block) -> bool:
    match block.type:
        case "thinking":
            return isinstance(block.signature, str) and block.signature.startswith(FOREIGN)
        case "server_tool_use":
            return isinstance(block.id, str) and block.id.startswith(SEARCH_ID)
        case "web_search_tool_result":
            return isinstance(block.tool_use_id, str) and block.tool_use_id.startswith(SEARCH_ID)
    return False


def _is_thinking(block: _Block) -> bool:
    return isinstance(block.type, str) and block.type in _THINKING


def _without(body: bytes, goes: Callable[[_Block], bool], *, cites: bool = False) -> bytes:
    """`cites`: other providers' citations go, too."""
    plain = utf8(body)
    block = lambda block: _block(block, goes, cites)  # noqa: E731
    try:
        found = _exchanged(plain, "messages", lambda messages: _mapped(messages, lambda turn: _turn(turn, block)))
    except BAD_JSON:
        return body
    return body if found is plain else written_as(body, found)


def _turn(turn: bytes, change: Callable[[bytes], bytes | None]) -> bytes | None:
    """A turn with its blocks changed; None when nothing is left of it."""
    kept = _exchanged(turn, "content", lambda content: _mapped(content, change))
    return (
        None if kept is not turn and any(_is_empty(kept[start:end]) for start, end in _spans(kept, "content")) else kept
    )


def _block(block: bytes, goes: Callable[[_Block], bool], cites: bool) -> bytes | None:
    try:
        known = read_leniently(_decode_block, block)[1]
        if goes(known):
            return None
        if cites and known.type == "text" and _FOREIGN in block:
            return _exchanged(block, "citations", lambda cited: b"null" if _FOREIGN in cited else cited)
    except BAD_JSON:
        pass
    return block


def _spans(data: bytes, name: str) -> list[tuple[int, int]]:
    """Where the values of an object's members of that name are."""
    return [(start, end) for found, start, end in members(data) if found == name]


def _exchanged(data: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The object with its members of that name changed; the same object when none is. Raises one of BAD_JSON when it is none."""
    changed = [(start, end, change(data[start:end])) for start, end in _spans(data, name)]
    return _spliced(data, [change for change in changed if data[change[0] : change[1]] != change[2]])


def _spliced(data: bytes, changes: Iterable[tuple[int, int, bytes]]) -> bytes:
    pieces, done = [], 0
    for start, end, new in changes:
        pieces += [data[done:start], new]
        done = end
    return b"".join([*pieces, data[done:]]) if pieces else data


def _mapped(data: bytes, change: Callable[[bytes], bytes | None]) -> bytes:
    """The JSON list with each element changed, or taken out where `change` says None; what is no list stays."""
    try:
        spans = _elements(data)
    except BAD_JSON:
        return data
    elements = [data[start:end] for start, end in spans]
    changed = [change(element) for element in elements]
    if all(new is old for new, old in zip(changed, elements, strict=True)):
        return data
    return b"".join(_joined(data, spans, changed))


def _elements(data: bytes) -> list[tuple[int, int]]:
    """Where the elements of a list are."""
    text, elements = read_leniently(_decode_list, data)
    spans, position = [], 0
    for element in map(bytes, elements):
        start = text.index(element, position)
        position = start + len(element)
        spans.append((start, position))
    return spans


def _joined(data: bytes, spans: Sequence[tuple[int, int]], changed: Sequence[bytes | None]) -> Iterator[bytes]:
    """The pieces of the list: an element that goes takes the comma before it along, or the one after it when it is the first."""
    position = spans[0][0]
    yield data[:position]
    begun = False
    for (start, end), new in zip(spans, changed, strict=True):
        if new is not None:
            yield data[position:start] * begun + new
            begun = True
        position = end
    yield data[position:]


def _is_empty(content: bytes) -> bool:
    return content.strip(_BLANKS)[:1] == b"[" and not content.strip(_BLANKS + b"[]")


# -- answers


class ModelBack:
    """Puts the client's name of the model back into one answer that was asked under another.

    A stream is held until its first event other than `ping` is whole, a JSON answer until its end. The caller decompresses.

    served_model  the name that the provider gave; None until it is known
    """

    def __init__(self, client_model: str, *, stream: bool) -> None:
        self.served_model: str | None = None
        self.moves: int | None = None  # what it gives shows that
        self.quiet = False
        self._model = client_model
        self._held = bytearray()
        self._events = SseParser() if stream else None
        self._settled = False

    def feed(self, data: bytes) -> bytes:
        """What may go on to the client. Never raises."""
        if self._settled:
            return data
        before = len(self._held)
        self._held += data
        if self._events is None:
            return b""
        for event in self._events.feed(data):
            if event.name != "ping":
                return self._opened(event.data, before + event.start)
        return self._released() if self._events.dead else b""

    def end(self) -> bytes:
        """The rest."""
        held = self._released()
        return self._renamed(held) if self._events is None and held else held

    def _released(self) -> bytes:
        held, self._settled = bytes(self._held), True
        self._held.clear()
        return held

    def _opened(self, event: bytes, start: int) -> bytes:
        """All that is held, with the model in its first event exchanged; `start`: where in it that event begins."""
        held = self._released()
        found = held.find(event, start)
        try:
            renamed = _exchanged(event, "message", self._renamed) if found >= 0 else event
        except BAD_JSON:
            return held
        return _spliced(held, [(found, found + len(event), renamed)]) if found >= 0 else held

    def _renamed(self, message: bytes) -> bytes:
        answer = parse_answer(message)
        served = text(value(answer.model)) if answer else None
        if served is None:
            return message
        self.served_model = served
        return rename_model(message, self._model)
