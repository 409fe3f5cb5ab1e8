"""What a key has made upstream (files, batches, containers, …), so that the same key is asked for it again.

Ids are read where requests name them, in the path or in a body, and where answers bring them. Until when they are worth
remembering is how long the provider keeps them. It must not know pools or where ids are stored.

    named("/v1/files/file_011CNha8iCJcU1wXNR6q4V8w/content", b"")    -> ("file_011CNha8iCJcU1wXNR6q4V8w",)
    made("POST", Endpoint.RESOURCE, b'{"id": "msgbatch_01…", …}')    -> ("msgbatch_01…",)
    lasts("msgbatch_01…")                                            -> 2505600.0 seconds
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from .exchange import Endpoint
from .lenient import BAD_JSON

DAY = 86400.0
LASTS = {"msgbatch": 29 * DAY, "container": 30 * DAY, "file": 365 * DAY}
"""Results of batches and containers have an end of their own; files stay until they are deleted.
https://docs.claude.com/en/docs/build-with-claude/batch-processing, …/files, …/agents-and-tools/tool-use/code-execution-tool"""
USUALLY = 90 * DAY
LONGEST_ANSWER = 1 << 20
MOST_NAMED = 16

_ID = re.compile(r"[a-z]{2,20}_(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{6,120}")
# As JSON writes members; inside a text of the conversation the quotes would be escaped.
_IN_BODY = re.compile(
    rb'"(?:file_id|container|container_id)"\s*:\s*(?:\{[^{}]*?"id"\s*:\s*)?"((?:file|container)_[A-Za-z0-9_-]{6,120})"'
)
_HINTS = (b'"file_', b'"container_')


class Owner(NamedTuple):
    """The key that made something."""

    provider: str
    key_id: str


class _Container(msgspec.Struct):
    id: str = ""


class _Message(msgspec.Struct):
    container: _Container | None = None


class _Answer(msgspec.Struct):
    id: str = ""
    container: _Container | None = None
    message: _Message | None = None
    delta: _Message | None = None

    def containers(self) -> tuple[str, ...]:
        return tuple(part.container.id for part in (self, self.message, self.delta) if part and part.container)


_decode = msgspec.json.Decoder(_Answer).decode


def named(path: str, body: bytes) -> tuple[str, ...]:
    """The ids that a request is about: those in its path, else the files and the container that its body refers to. Never raises."""
    in_path = tuple(part for part in path.partition("?")[0].split("/") if _ID.fullmatch(part))
    if in_path or not any(hint in body for hint in _HINTS):
        return in_path
    found = dict.fromkeys(match[1].decode() for match in _IN_BODY.finditer(body))
    return tuple(found)[:MOST_NAMED]


def made(method: str, endpoint: Endpoint, answer: bytes) -> tuple[str, ...]:
    """The ids that a good answer brings: what a POST has made, or the container that a message ran in. Never raises.

    `answer`: the JSON, decoded; of a stream the JSON of its `message_start` or `message_delta`.
    """
    if method != "POST" or len(answer) > LONGEST_ANSWER:
        return ()
    try:
        decoded = _decode(answer)
    except BAD_JSON:
        return ()
    own = (decoded.id,) if endpoint is Endpoint.RESOURCE else ()
    return tuple(name for name in (*own, *decoded.containers()) if _ID.fullmatch(name))


def lasts(name: str) -> float:
    """Seconds after which nobody will ask for it any more."""
    return LASTS.get(name.partition("_")[0], USUALLY)
