"""Managed settings of a client's group, for Claude Code: `GET /managed/settings`. 404 without a policy, 304 when the client has it already.

It must not know what settings mean.
"""

from __future__ import annotations

import uuid
from typing import Final

from mitmproxy import http

from claude_relay.core.errors import RelayError
from claude_relay.proxy.request.relayed import Relayed

from .callers import client_of
from .page_parts import PageParts, json_answer
from .settings_files import SettingsError

NONE: Final = "There is no policy for you here."
UNREAD: Final = "The settings of your group cannot be read now; the relay's log says why."
SPACE: Final = uuid.UUID("2f0a6a4e-6a35-4c0b-9a34-8f4f3f3f6f51")
"""Of the ids of policies."""


async def settings(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The policy of the client's group. Raises RelayError 404 where there is none, 503 for a file that cannot be read."""
    client = client_of(relayed)
    group = client.group if client is not None else None
    if group is None or not group.settings:
        raise RelayError(404, NONE, final=True)
    folder, files = relayed.runtime.config.database.parent, parts.pages.settings
    try:
        found = await parts.pages.in_thread(files.read, folder, group.settings)
    except SettingsError as error:
        files.complain(error)
        raise RelayError(503, UNREAD, final=True) from None
    tag = f'"{found.checksum}"'
    has = [one.strip().removeprefix("W/") for one in relayed.facts.headers.get("if-none-match", "").split(",")]
    if tag in has or "*" in has:
        return http.Response.make(304, b"", {"etag": tag, "cache-control": "no-cache", "request-id": relayed.id})
    document = {"uuid": str(uuid.uuid5(SPACE, group.name)), "checksum": found.checksum, "settings": found.settings}
    return json_answer(document, relayed, headers={"etag": tag, "cache-control": "no-cache"})
