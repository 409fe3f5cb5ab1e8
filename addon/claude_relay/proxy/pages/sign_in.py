"""Where people sign in with `/login` of Claude Code: RFC 8414 (metadata), 8628 (device codes), 6749 (tokens), 7009 (revocation).

    POST /oauth/device_authorization     a code for the program, one for the person
    POST /oauth/token                    the program asks every 5 s whether the person has confirmed it; later it renews its token
    POST /oauth/revoke                   signed out

Answers have OAuth's shape, errors too. No client_id is wanted, and what else is sent is no reason to refuse. The codes and tokens are
store/clients/sign_ins's. It must not know how a code is confirmed.
"""

from __future__ import annotations

import time
from typing import Any, Final

from mitmproxy import http

from claude_relay.core.clients.sign_in import email_of
from claude_relay.core.config import Config
from claude_relay.proxy.access.origin import origin_of
from claude_relay.proxy.request.relayed import Relayed
from claude_relay.store.clients.sign_ins import Begun, Refused, SignIns, Tokens

from .callers import peer_of
from .page_parts import BadForm, PageParts, form_of, json_answer

DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH: Final = "refresh_token"
PAGE: Final = "/device"
LONGEST_NOTICE: Final = 500
"""Characters that Claude Code shows."""
WORDS: Final[dict[str, str]] = {
    Refused.PENDING: "nobody has confirmed the code yet",
    Refused.SLOW_DOWN: "asked too soon: wait five seconds longer each time",
    Refused.DENIED: "the sign-in was denied",
    Refused.EXPIRED: "the code has expired: begin again",
    Refused.INVALID: "this is no code or token that is valid: sign in again",
    Refused.BUSY: "too many sign-ins wait: try again in a minute",
}


async def metadata(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """What there is, on the origin that the client has used."""
    origin = origin_of(flow, relayed.runtime.config)
    document = {
        "issuer": origin,
        "device_authorization_endpoint": f"{origin}/oauth/device_authorization",
        "token_endpoint": f"{origin}/oauth/token",
        "revocation_endpoint": f"{origin}/oauth/revoke",
        "grant_types_supported": [DEVICE, REFRESH],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
    }
    return json_answer(document, relayed)


async def device_authorization(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """A sign-in begins."""
    peer, config, pages = peer_of(flow, relayed.runtime.config), relayed.runtime.config, parts.pages
    try:
        form_of(relayed)
    except BadForm as bad:
        return refused("invalid_request", str(bad), relayed)
    if (seconds := pages.begun.wait(peer, now := time.monotonic())) > 0:
        return refused(Refused.SLOW_DOWN, "too many sign-ins were begun", relayed, 429, seconds)
    pages.begun.count(peer, now)
    begun = await pages.in_thread(SignIns(config.database).begin, peer)
    if not isinstance(begun, Begun):
        return refused(begun, WORDS[begun], relayed, 503, 60.0)
    page = origin_of(flow, config) + PAGE
    return json_answer(
        {
            "device_code": begun.device_code,
            "user_code": begun.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={begun.user_code}",
            "expires_in": int(begun.expires_in),
            "interval": int(begun.interval),
            "login_notice": notice(config),
        },
        relayed,
    )


async def token(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """Tokens for a code that was confirmed, or for a refresh token."""
    try:
        form = form_of(relayed)
    except BadForm as bad:
        return refused("invalid_request", str(bad), relayed)
    sign_ins, grant = SignIns(relayed.runtime.config.database), form.get("grant_type")
    work, field, status = {
        DEVICE: (sign_ins.poll, "device_code", 400),
        REFRESH: (sign_ins.refresh, "refresh_token", 401),
    }.get(grant or "", (None, "", 400))
    if work is None:
        return refused("unsupported_grant_type", f"grant_type is {DEVICE} or {REFRESH}", relayed)
    if not (secret := form.get(field)):
        return refused("invalid_request", f"{field} is missing", relayed)
    found = await parts.pages.in_thread(work, secret)
    if not isinstance(found, Tokens):
        return refused(found, WORDS[found], relayed, status)
    if parts.clients is not None:
        await parts.clients.look()  # the first request with the token may come before the next look
    document: dict[str, Any] = {
        "access_token": found.access,
        "token_type": "Bearer",
        "expires_in": int(found.expires_in),
        "refresh_token": found.refresh,
    }
    if (email := email_of(found.client.owner)) is not None:
        document["email"] = email
    return json_answer(document, relayed)


async def revoke(relayed: Relayed, flow: http.HTTPFlow, parts: PageParts) -> http.Response:
    """Signed out. What is no token, or not any more, gets the same answer."""
    try:
        secret = form_of(relayed).get("token")
    except BadForm as bad:
        return refused("invalid_request", str(bad), relayed)
    if not secret:
        return refused("invalid_request", "token is missing", relayed)
    ended = await parts.pages.in_thread(SignIns(relayed.runtime.config.database).revoke, secret)
    if ended and parts.clients is not None:
        await parts.clients.look()
    return json_answer({}, relayed)


def refused(
    error: str, why: str, relayed: Relayed, status: int = 400, retry_after: float | None = None
) -> http.Response:
    """An error in OAuth's shape: https://www.rfc-editor.org/rfc/rfc6749#section-5.2."""
    headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after)))}
    return json_answer({"error": str(error), "error_description": why}, relayed, status, headers)


def notice(config: Config) -> str:
    """What Claude Code shows beside the code."""
    whom = config.clients.contact
    text = "Compare the code, then enter your client key of this relay (rk-…) in the browser."
    return (f"{text} No key yet? Ask {whom}." if whom else text)[:LONGEST_NOTICE]
