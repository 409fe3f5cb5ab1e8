"""One recorded request to a model, without whatever it was allowed by.

    recorded = Recorded.of("agent.flow 3", "POST", "/v1/messages?beta=true", [(b"x-api-key", b"sk-ant-…"), …], body)
    recorded.fields             (("anthropic-version", "2023-06-01"), …), none of which can hold a credential
    recorded.model              "claude-sonnet-5"

Of its head only fields are kept that are known to say something of the request (SENT); whatever else there was is not even read, so no
credential of any name gets out. It must not know what a recording looks like.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from claude_relay.core.bodies.lenient import parse_object
from claude_relay.core.bodies.unpack import is_packed, unpack
from claude_relay.core.endpoints import classify, normalise_path
from claude_relay.core.errors import RelayError
from claude_relay.core.exchange import Endpoint

KINDS: Final = (Endpoint.MESSAGES, Endpoint.COUNT_TOKENS, Endpoint.COMPLETE)
"""What asks a model: these can be sent again and change nothing but the bill."""
SENT: Final = re.compile(
    r"anthropic-(?:version|beta)|accept|content-type|user-agent|x-app|x-stainless-[a-z-]+|x-claude-code-[a-z-]+|"
    r"x-relay-(?:session|project|subagent)"
)
"""Header fields that are sent again, in lower case."""
VERSION: Final = ("anthropic-version", "2023-06-01")
JSON: Final = ("content-type", "application/json")
TARGET: Final = "x-relay-target"
"""The field by which a request says where it goes: PROVIDER, PROVIDER/MODEL or PROVIDER/KEY."""
ORIGIN: Final = "x-relay-origin"
"""The field by which it says that it is a recorded one: `replay` or `duel`."""
BETA: Final = "beta=true"
_API: Final = re.compile(r"/v1/(?:messages|complete)(?=[/?]|$)")

type Fields = tuple[tuple[str, str], ...]


class Unusable(ValueError):
    """A recording, or a request in it, cannot be sent again; the text says why, and what could be."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """`name`: where it comes from, for people; `body`: uncompressed."""

    name: str
    path: str
    fields: Fields
    body: bytes

    @classmethod
    def of(
        cls, name: str, method: str, url: str, fields: Iterable[tuple[bytes, bytes]], body: bytes | None
    ) -> Recorded:
        """Raises Unusable. `url`: or only its path; what a provider has in front of the API's own path is left out."""
        parts = urlsplit(url)
        found = _API.search(parts.path)
        path = normalise_path(parts.path[found.start() :] if found else parts.path)
        if method != "POST" or classify(path) not in KINDS:
            raise Unusable(f"{name}: {method} {parts.path[:80]} asks no model as the Claude API has it")
        head = {n.decode("latin-1").lower(): v.decode("utf-8", "replace") for n, v in fields}
        if not body:
            raise Unusable(f"{name}: its body was not kept")
        plain = _plain(name, body, head.get("content-encoding", ""))
        kept = {n: v for n, v in head.items() if SENT.fullmatch(n) and "relay:" not in v}
        query = f"?{BETA}" if BETA in parts.query.split("&") else ""
        return cls(name, path + query, tuple({**dict((VERSION, JSON)), **kept}.items()), plain)

    @property
    def document(self) -> Mapping[str, Any]:
        """The body as JSON; empty when it is none."""
        return parse_object(self.body)

    @property
    def model(self) -> str:
        """The model that is asked; empty when none is named."""
        return str(self.document.get("model") or "")

    @property
    def streamed(self) -> bool:
        """Whether the answer is to be a stream."""
        return self.document.get("stream") is True


def _plain(name: str, body: bytes, coding: str) -> bytes:
    if not is_packed(coding):
        return body
    try:
        plain = unpack(body, coding)
    except RelayError as error:
        raise Unusable(f"{name}: {error}") from None
    if plain is None:
        raise Unusable(f"{name}: its body cannot be uncompressed")
    return plain
