"""What a key has made upstream (files, batches, containers, …), so that the same key is asked for it again.

Ids are read where requests name them, in the path or in a body, and where answers bring them. Until when they are worth
remembering is how long the provider keeps them. It must not know pools or where ids are stored.

    named("/v1/files/file_011CNha8iCJcU1wXNR6q4V8w/content")         -> ("file_011CNha8iCJcU1wXNR6q4V8w",)
    made(b'{"id": "msgbatch_01…", …}')                               -> ("msgbatch_01…",)
    containers(b'{"delta": {"container": {"id": "container_01…"}}}') -> ("container_01…",)
    lasts("msgbatch_01…")                                            -> 2505600.0 seconds
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from claude_relay.core.spans import holds
from claude_relay.core.times import DAY

from .legible import utf8
from .lenient import BAD_JSON

LASTS = {"msgbatch": 29 * DAY, "container": 30 * DAY, "file": 365 * DAY}
"""Results of batches and containers have an end of their own; files stay until they are deleted.
https://docs.claude.com/en/docs/build-with-claude/batch-processing, …/files, …/agents-and-tools/tool-use/code-execution-tool"""
USUALLY = 90 * DAY
LONGEST_ANSWER = 1 << 20
MOST_NAMED = 16

_ID = re.compile(r"[a-z]{2,20}_(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{6,120}")
# As JSON writes members; inside a text of the conversation the quotes would be escaped.
_FILE_ID = b'"file_id"'
_FILE = re.compile(_FILE_ID + rb'\s*:\s*"(file_[A-Za-z0-9_-]{6,120})"')
_CONTAINER = b'"container"'


class Owner(NamedTuple):
    """The key that made something."""

    provider: str
    key_id: str


class _Container(msgspec.Struct):
    id: str = ""


class _Message(msgspec.Struct):
    container: _Container | None = None


class _Answer(_Message):
    message: _Message | None = None
    delta: _Message | None = None


class _Resource(msgspec.Struct):
    id: str = ""


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_resource = msgspec.json.Decoder(_Resource).decode


def named(path: str, body: bytes = b"", container: str = "") -> tuple[str, ...]:
    """The ids that a request is about: those in its path, else its container and the files that its body refers to. Never raises."""
    if in_path := tuple(part for part in path.partition("?")[0].split("/") if _ID.fullmatch(part)):
        return in_path
    body = utf8(body)
    files = (match[1].decode() for match in _FILE.finditer(body)) if holds(body, _FILE_ID) else ()
    return tuple(dict.fromkeys([*_valid(container), *files]))[:MOST_NAMED]


def made(answer: bytes) -> tuple[str, ...]:
    """The id of what a POST has made, from the JSON of its good answer, decompressed. Never raises."""
    try:
        return _valid(_decode_resource(answer).id) if len(answer) <= LONGEST_ANSWER else ()
    except BAD_JSON:
        return ()


def containers(answer: bytes) -> tuple[str, ...]:
    """The container that a message ran in. Never raises.

    `answer`: the JSON of a message, decompressed; of a stream that of its `message_start` or `message_delta`.
    """
    if _CONTAINER not in answer or len(answer) > LONGEST_ANSWER:
        return ()
    try:
        decoded = _decode_answer(answer)
    except BAD_JSON:
        return ()
    parts = (decoded, decoded.message, decoded.delta)
    return _valid(*(part.container.id for part in parts if part and part.container))


def _valid(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if _ID.fullmatch(name))


def lasts(name: str) -> float:
    """Seconds after which nobody will ask for it any more."""
    return LASTS.get(name.partition("_")[0], USUALLY)
