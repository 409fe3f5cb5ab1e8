"""The list of models of one provider of Claude's format, got page by page.

    listing(provider, keys, timeout=3.0)      -> {"claude-opus-5-5": {"type": "model", "id": "claude-opus-5-5", …}, …}

Blocks: it is for a thread. https://docs.claude.com/en/api/models-list
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final
from urllib.parse import quote

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.config import Provider
from claude_relay.core.exchange import Key
from claude_relay.core.routing.catalogue import Models
from claude_relay.core.secrets import Matcher
from claude_relay.proxy.messages.wire import CREDENTIALS
from claude_relay.upstream.queries import fetched

PAGE: Final = 1000
"""Models on a page, the most that the API gives."""
PAGES: Final = 10


class _Page(msgspec.Struct):
    """With as little as possible taken for granted."""

    data: list[Any]
    has_more: Any = False


def listing(
    provider: Provider, keys: Sequence[Key], *, timeout: float, own: Mapping[str, str] | None = None
) -> Models | None:
    """The models by id, in the provider's order; None when it tells nobody. The first key that gets a list is enough.

    own      a client's header fields with its own credential, in the place of the keys'
    timeout  seconds for all of it
    """
    until, secrets = monotonic() + timeout, _secrets(keys, own or {})
    for key in keys:
        if monotonic() >= until:
            return None
        if found := _pages(provider, key, secrets, own, until):
            return found
    return None


def _pages(
    provider: Provider, key: Key, secrets: Matcher, own: Mapping[str, str] | None, until: float
) -> Models | None:
    """None when one of the pages is missing: half a list would hide models."""
    found: dict[str, Mapping[str, Any]] = {}
    after = ""
    for _ in range(PAGES):
        if (left := until - monotonic()) <= 0:
            return None
        body = fetched(provider, key, f"/v1/models?limit={PAGE}{after}", timeout=left, own=own)
        if secrets.clean(body) is not body:
            return None  # a name that had a key in it is none
        try:
            page = msgspec.json.decode(body, type=_Page)
        except BAD_JSON:
            return None
        new = {name: model for model in page.data if (name := _id(model)) and name not in found}
        found |= new
        if page.has_more is not True or not new:
            break
        after = f"&after_id={quote(next(reversed(new)), safe='')}"
    return found


def _secrets(keys: Sequence[Key], own: Mapping[str, str]) -> Matcher:
    """Knows what any of the requests carries: a provider may repeat one in its answer to another."""
    credentials = [value.rpartition(" ")[2] for name, value in own.items() if name.encode() in CREDENTIALS]
    return Matcher(
        [(secret.encode("utf-8", "replace"), b"") for secret in (*(key.secret for key in keys), *credentials)]
    )


def _id(model: object) -> str:
    name = model.get("id") if isinstance(model, dict) else None
    return name if isinstance(name, str) else ""
