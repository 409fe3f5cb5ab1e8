"""The page in which a person confirms a code: `/device`.

    GET  /device?user_code=WDJB-MJHT     a form with the code, which confirms nothing by itself
    POST /device                         code, client key, and whether it was this person

Wrong codes and keys are counted, for each address and in all. A key is looked up before a code is, so whoever has none learns nothing of
codes. It must not know tokens.
"""

from __future__ import annotations

import math
import time
from typing import Final
from urllib.parse import parse_qs

from mitmproxy import http

from claude_relay.core.clients.credentials import Kind, is_own
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.sign_in import LONGEST_CODE, read_user_code
from claude_relay.proxy.messages.welcome import HEADERS
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.store.audit import Actor
from claude_relay.store.clients.approvals import approve, deny
from claude_relay.store.clients.book import ClientError

from .callers import peer_of
from .device_html import done, form, page
from .page_parts import BadForm, Clients, PageParts, form_of

SECURITY: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with no-referrer browsers send a form with `Origin: null`
    "x-frame-options": "DENY",
}
NO_KEY: Final = "This is no client key of this relay."
NO_CODE: Final = "Nobody waits under this code. Compare it with the one that Claude Code shows; after ten minutes there is a new one."
SIGNED_IN: Final = "You are signed in as {}. Go back to Claude Code; this page can be closed."
DENIED: Final = "Whoever waits under this code gets nothing. If it was not you who began it, nothing else need be done."


async def device(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The form, or what comes of it."""
    if relayed.method != "POST":
        query = parse_qs(relayed.path.partition("?")[2], max_num_fields=20)
        typed = query.get("user_code", [""])[-1][:LONGEST_CODE]
        return shown(relayed, form(read_user_code(typed) or ""))
    try:
        fields = form_of(relayed)
    except BadForm as bad:
        return shown(relayed, form("", f"{bad}."), 400)
    typed, peer, now = fields.get("user_code", ""), peer_of(flow, relayed.runtime.config), time.monotonic()
    code, guesses = read_user_code(typed), parts.pages.guesses
    if (seconds := guesses.wait(peer, now)) > 0:
        why = f"Too many wrong codes or keys. Wait {math.ceil(seconds)} s, then try again."
        return shown(relayed, form(code or "", why), 429, {"retry-after": str(math.ceil(seconds))})
    client = await client_behind(fields.get("key", "").strip(), parts.clients)
    if not isinstance(client, Client) or code is None:
        guesses.count(peer, now)
        return shown(relayed, form(code or "", NO_CODE if isinstance(client, Client) else client), 403)
    actor, database = Actor(client.name, "sign-in", peer), relayed.runtime.config.database
    denied = fields.get("action") == "deny"
    try:
        if denied:
            await parts.pages.in_thread(deny, database, actor, code)
        else:
            await parts.pages.in_thread(approve, database, actor, code, client.name)
    except ClientError:
        guesses.count(peer, now)
        return shown(relayed, form(code, NO_CODE), 403)
    return shown(relayed, done(DENIED if denied else SIGNED_IN.format(client.name)))


async def client_behind(key: str, clients: Clients | None) -> Client | str:
    """Whose key it is, or why it is of no use."""
    grant = await clients.find(key) if clients is not None and is_own(key) else None
    if clients is None or grant is None or grant.kind is not Kind.KEY:
        return NO_KEY
    why = clients.directory.refusal(grant, time.time())
    return grant.client if why is None else f"{why[0].upper()}{why[1:]}."


def shown(relayed: Relayed, content: str, status: int = 200, headers: dict[str, str] | None = None) -> http.Response:
    """As a page."""
    return http.Response.make(status, page(content), HEADERS | SECURITY | {"request-id": relayed.id} | (headers or {}))
