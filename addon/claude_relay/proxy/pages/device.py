"""The page in which a person confirms a code: `/device`.

    GET  /device?user_code=WDJB-MJHT     a form with the code, which confirms nothing by itself
    POST /device                         code, client key, and whether it was this person
    GET  /device/style.css               what it looks like

Wrong codes and keys are counted, for each address and in all. A key is looked up before a code is, so whoever has none learns nothing of
codes. It must not know tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
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
from .device_html import STYLE, denied, form, signed_in
from .page_parts import BadForm, Clients, PageParts, form_of

SECURITY: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with no-referrer browsers send a form with `Origin: null`
    "x-frame-options": "DENY",
}
TOO_MANY: Final = "Too many wrong codes or keys. Wait {} s, then try again."
NO_KEY: Final = "This is no client key of this relay. It begins with rk-; copy it again."
NO_CODE: Final = "Nobody waits under this code. Compare it with the one that Claude Code shows; after ten minutes there is a new one."


async def device(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The form, or what comes of it."""
    contact = relayed.runtime.config.clients.contact

    def again(code: str | None, problem: str, status: int, *, wrong: str = "", **headers: str) -> http.Response:
        return shown(relayed, form(code or "", contact=contact, problem=problem, wrong=wrong), status, headers)

    if relayed.method != "POST":
        query = parse_qs(relayed.path.partition("?")[2], max_num_fields=20)
        typed = query.get("user_code", [""])[-1][:LONGEST_CODE]
        return shown(relayed, form(read_user_code(typed) or "", contact=contact))
    try:
        fields = form_of(relayed)
    except BadForm as bad:
        return again("", f"{bad}.", 400)
    typed, peer, now = fields.get("user_code", ""), peer_of(flow, relayed.runtime.config), time.monotonic()
    code, guesses = read_user_code(typed), parts.pages.guesses
    if (seconds := math.ceil(guesses.wait(peer, now))) > 0:
        return again(code, TOO_MANY.format(seconds), 429, **{"retry-after": str(seconds)})
    client = await client_behind(fields.get("key", "").strip(), parts.clients)
    if not isinstance(client, Client):
        guesses.count(peer, now)
        return again(code, client, 403, wrong="key")
    if code is None:
        guesses.count(peer, now)
        return again("", NO_CODE, 403, wrong="user_code")
    actor, database = Actor(client.name, "sign-in", peer), relayed.runtime.config.database
    is_denied = fields.get("action") == "deny"
    try:
        if is_denied:
            await parts.pages.in_thread(deny, database, actor, code)
        else:
            await parts.pages.in_thread(approve, database, actor, code, client.name)
    except ClientError:
        guesses.count(peer, now)
        return again(code, NO_CODE, 403, wrong="user_code")
    return shown(relayed, denied() if is_denied else signed_in(client.name))


async def style(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """The stylesheet."""
    headers = {**HEADERS, **SECURITY, "content-type": "text/css; charset=utf-8", "request-id": relayed.id}
    return http.Response.make(200, STYLE, headers)


async def client_behind(key: str, clients: Clients | None) -> Client | str:
    """Whose key it is, or why it is of no use."""
    grant = await clients.find(key) if clients is not None and is_own(key) else None
    if clients is None or grant is None or grant.kind is not Kind.KEY:
        return NO_KEY
    why = grant.refusal(time.time())
    return grant.client if why is None else f"{why[0].upper()}{why[1:]}."


def shown(relayed: Relayed, page: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> http.Response:
    """As a page."""
    return http.Response.make(status, page, {**HEADERS, **SECURITY, "request-id": relayed.id, **(headers or {})})
