r"""The blocks of a prompt in the order in which providers cache them, each as a number that tells nothing of what it says.

    prompt = read_prompt(body)              -> Prompt(hashes=array('q', […]), tools=18, system=2, …)
    continued(prompt, body)                 the same of a later turn that is known to begin so: reads only what is new
    prompt.first_change(later, upto=21)     -> 'tools[3]'
    prompt.first_change(later, upto=21)     -> None: a later prompt begins as this one does

Providers cache the tools, then the system prompt, then the messages; what changes takes what follows it along:
https://docs.claude.com/en/docs/build-with-claude/prompt-caching. Equal blocks have equal numbers, whether they are marked with
`cache_control` or not, and whether a text stands alone or in a block. The numbers are those of `hash`: SipHash with a key of 128 bits that
is this process's own (https://peps.python.org/pep-0456), several times as fast as any of hashlib; they are of use to nobody else.

It must not know tokens, prices or what was asked before.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import msgspec
from msgspec import Raw

from claude_relay.core import spans
from claude_relay.core.exchange import NOTHING

from .facts import split_markers, without_billing
from .legible import read_leniently
from .lenient import BAD_JSON

MOST_BLOCKS: Final = 20_000
"""Of one prompt; what comes after them is not looked at."""
SETTINGS: Final = ("speed", "mcp_servers", "output_format", "output_config", "tool_choice", "thinking")
"""Parameters beside the blocks that a cached prefix hangs on.
https://docs.claude.com/en/docs/agents-and-tools/tool-use/tool-use-with-prompt-caching, …/build-with-claude/structured-outputs"""
LIFETIMES: Final = ("5m", "1h")
"""That a mark can ask for; the first is the usual one."""

NEW_MESSAGES, NEW_BYTES = 12, 64 * 1024
"""Of a turn, at its end, among which the end of the turn before is looked for."""

_ABSENT = Raw(b"null")
_MESSAGE = b'{"role"'
_TTL = re.compile(rb'"ttl"[ \t\r\n]*:[ \t\r\n]*"(5m|1h)"')
_TEXT_BLOCK = re.compile(
    rb'\{[ \t\r\n]*"type"[ \t\r\n]*:[ \t\r\n]*"text"[ \t\r\n]*,[ \t\r\n]*"text"[ \t\r\n]*:[ \t\r\n]*'
)
_END = b" \t\r\n}"


class _Message(msgspec.Struct):
    role: Raw = _ABSENT
    content: Raw = _ABSENT


class _Top(msgspec.Struct):
    tools: Raw = _ABSENT
    system: Raw = _ABSENT
    cache_control: Raw = _ABSENT
    speed: Raw = _ABSENT
    mcp_servers: Raw = _ABSENT
    output_format: Raw = _ABSENT
    output_config: Raw = _ABSENT
    tool_choice: Raw = _ABSENT
    thinking: Raw = _ABSENT


class _Body(_Top):
    messages: list[_Message] = []


class _End(msgspec.Struct):
    cache_control: Raw = _ABSENT
    messages: Raw = _ABSENT


_decode_end = msgspec.json.Decoder(_End).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is remembered of a prompt.

    hashes         of its blocks: tools, system prompt, contents of messages
    tools, system  how many of them are those
    starts         which of them begins each message
    marks          which of them are marked with `cache_control`
    lifetimes      those that the marks ask for, of LIFETIMES
    settings       hashes of SETTINGS
    """

    hashes: array[int]
    tools: int
    system: int
    starts: array[int]
    marks: tuple[int, ...]
    lifetimes: tuple[str, ...]
    settings: tuple[int, ...]

    @property
    def cacheable(self) -> int:
        """How many blocks a provider was told to cache; all, where nothing is marked, for those that cache by themselves."""
        return self.marks[-1] + 1 if self.marks else len(self.hashes)

    @property
    def head(self) -> array[int]:
        """The tools and the system prompt."""
        return self.hashes[: self.tools + self.system]

    @property
    def contents(self) -> array[int]:
        """What stands in messages."""
        return self.hashes[self.tools + self.system :]

    def without_marks(self) -> Prompt:
        """As a provider takes it that knows no marks."""
        return replace(self, marks=(), lifetimes=())

    def begins(self, later: Prompt) -> bool:
        """Whether what of it is cacheable is how another prompt begins."""
        return self.first_change(later, self.cacheable) is None

    def first_change(self, later: Prompt, upto: int) -> str | None:
        """The first of so many blocks, or of the settings before the messages, that is another one in a later prompt. None: none is."""
        at, there = 0, 0
        for name, count, others in (("tools", self.tools, later.tools), ("system", self.system, later.system)):
            mine, theirs = self.hashes[at : min(at + count, upto)], later.hashes[there : there + others]
            ends = upto > at + count  # what follows it is cacheable too
            changed = _differs(mine, theirs, whole=ends)
            if changed is not None:
                return f"{name}[{changed}]"
            if not ends:
                return None
            at, there = at + count, there + others
        for name, one, other in zip(SETTINGS, self.settings, later.settings, strict=True):
            if one != other:
                return name
        changed = _differs(self.hashes[at:upto], later.hashes[there:], whole=False)
        if changed is None:
            return None
        places = [prompt.place(changed) for prompt in (self, later) if changed < len(prompt.contents)]
        return "messages[{}].content[{}]".format(*min(places))

    def place(self, content: int) -> tuple[int, int]:
        """Message of one of the `contents`, and which block in it that is."""
        block = self.tools + self.system + content
        message = bisect_right(self.starts, block) - 1
        return message, block - self.starts[message]


def _differs(one: array[int], other: array[int], *, whole: bool) -> int | None:
    """Where the second is not as the first; `whole`: it must end there, too."""
    if one == other[: len(one)]:
        return len(one) if whole and len(other) > len(one) else None
    return next((n for n, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs), len(other))


def read_prompt(body: bytes) -> Prompt | None:
    """What the body of a Messages request, in UTF-8, asks to be cached. None: it cannot be read. Never raises.

    Costs 1 to 3 ms a megabyte: large bodies are to be read elsewhere.
    """
    try:
        return _Reader().prompt(*_read(body))
    except BAD_JSON:
        return None


def continued(before: Prompt, body: bytes, messages: memoryview = NOTHING) -> Prompt | None:
    """What the body of a later turn asks to be cached, when its provider has found in its cache all that is cacheable of an earlier one.

    Costs a fifth of reading it whole, and next to nothing with `messages`: their list, of somebody who has found it in the body. None: it
    has to be read whole. Never raises.
    """
    if not before.marks or before.cacheable <= before.tools + before.system or len(body) > spans.HUGE:
        return None
    try:
        found = _new_messages(before, bytes(messages or _decode_end(body).messages))
        return None if found is None else _Reader().later(before, body, *found)
    except BAD_JSON:
        return None


def _new_messages(before: Prompt, text: bytes) -> tuple[Sequence[_Message], int] | None:
    """The last messages of a list, from that in which the last cacheable block of an earlier turn stands; and which of its it is."""
    last = before.cacheable - 1
    message, block = before.place(last - before.tools - before.system)
    at = len(text)
    for _ in range(NEW_MESSAGES):
        at = text.rfind(_MESSAGE, max(len(text) - NEW_BYTES, 0), at)
        if at < 0:
            return None
        try:
            messages = _decode_messages(b"[" + text[at:])
        except BAD_JSON:  # it stands within a message
            continue
        reader = _Reader()
        reader.take(_blocks(messages[0].content), bytes(messages[0].role))
        if len(reader.hashes) > block and reader.hashes[block] == before.hashes[last]:
            return messages, message
    return None


class _Reader:
    """Goes through one prompt, or what is new in it."""

    def __init__(self) -> None:
        self.hashes = array("q")
        self.marks: list[int] = []
        self.lifetimes: set[str] = set()

    def prompt(self, top: _Top, messages: Sequence[_Message]) -> Prompt:
        self.take(_blocks(top.tools))
        tools = len(self.hashes)
        for n, block in enumerate(_blocks(top.system)):
            self.take([block if n else without_billing(block)])
        system = len(self.hashes) - tools
        starts = array("L")
        for message in messages:
            starts.append(len(self.hashes))
            self.take(_blocks(message.content), bytes(message.role))
        self.mark_end(top.cache_control)
        return Prompt(
            hashes=self.hashes,
            tools=tools,
            system=system,
            starts=starts,
            marks=tuple(self.marks),
            lifetimes=self.wanted(),
            settings=tuple(hash(bytes(getattr(top, name))) for name in SETTINGS),
        )

    def later(self, before: Prompt, body: bytes, messages: Sequence[_Message], first: int) -> Prompt | None:
        """What begins as the one before and goes on with these messages; `first`: the number of the first of them."""
        starts = before.starts[: first + 1]
        self.hashes = before.hashes[: starts[first]]
        for n, message in enumerate(messages):
            if n:
                starts.append(len(self.hashes))
            self.take(_blocks(message.content), bytes(message.role))
        if self.marks[-1:] != [len(self.hashes) - 1]:
            self.mark_end(_decode_end(body).cache_control)
        if not self.marks or self.marks[-1] + 1 < before.cacheable:
            return None
        self.lifetimes.update(before.lifetimes)
        return replace(before, hashes=self.hashes, starts=starts, marks=tuple(self.marks), lifetimes=self.wanted())

    def wanted(self) -> tuple[str, ...]:
        return tuple(name for name in LIFETIMES if name in self.lifetimes)

    def take(self, blocks: Iterable[bytes], role: bytes = b"") -> None:
        for block in islice(blocks, MOST_BLOCKS - len(self.hashes)):
            plain, markers = split_markers(block)
            if markers:
                self.mark(len(self.hashes), markers)
            self.hashes.append(hash((role, _as_text(plain))))

    def mark_end(self, control: Raw) -> None:
        """`cache_control` of the request marks its last block, whichever that is."""
        if control is not _ABSENT and self.hashes:
            self.mark(len(self.hashes) - 1, [bytes(control)])

    def mark(self, block: int, markers: Iterable[bytes]) -> None:
        if block not in self.marks[-1:]:
            self.marks.append(block)
        wanted = map(_TTL.search, markers)
        self.lifetimes.update(ttl[1].decode() if ttl else LIFETIMES[0] for ttl in wanted)


def _as_text(block: bytes) -> bytes:
    """The text of a block that is nothing else, as it stands alone in place of a list."""
    begin = _TEXT_BLOCK.match(block)
    return block[begin.end() :].rstrip(_END) if begin else block


def _blocks(value: Raw | bytes) -> Iterator[bytes]:
    """The elements of a list, or the one value that stands in its place."""
    text = memoryview(value)
    if bytes(text[:1]) != b"[":
        yield from () if bytes(text[:5]) == b"null" else (bytes(value),)
    elif len(text) <= spans.HUGE:
        yield from map(bytes, _decode_list(value))
    else:
        yield from _elements(bytes(value), 0)


def _elements(body: bytes, start: int) -> Iterator[bytes]:
    """Those of a list in a huge body."""
    return (b"".join(spans.slices(body, *place)) for place in spans.elements(body, start))


def _read(body: bytes) -> tuple[_Top, Sequence[_Message]]:
    if len(body) <= spans.HUGE:
        found = read_leniently(_decode_body, body)[1]
        return found, found.messages
    top, messages = _Top(), []
    for name, start, end in spans.members(body):
        if name == "messages":
            messages = [_message(text) for text in _elements(body, start)]
        elif name in _Top.__struct_fields__:
            # As it is: a Raw would be copied once more, in one go, by whoever wants its bytes.
            setattr(top, name, b"".join(spans.slices(body, start, end)))
    return top, messages


def _message(text: bytes) -> _Message:
    if len(text) <= spans.HUGE:
        return _decode_message(text)
    found = _Message()
    for name, start, end in spans.members(text):
        if name in _Message.__struct_fields__:
            setattr(found, name, b"".join(spans.slices(text, start, end)))
    return found
