"""Files of a person's own credentials: Claude Code's, and a plain form.

    {"claudeAiOauth": {"accessToken": "…", "refreshToken": "…", "expiresAt": 1795341600000}}
    {"access_token": "…", "refresh_token": "…", "expires_at": "2026-11-27T20:00:00Z", "account": "me@example.com"}

The plain form may also be a list. Raises ValueError with a sentence that repeats nothing of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.times import seconds_of

from .grants import Tokens, bearer, life, named, scopes_in, token

FORMS = (
    'a file of credentials is JSON: Claude Code\'s {"claudeAiOauth": {"accessToken": …}}, or {"access_token": …, '
    '"refresh_token": …, "expires_at": …, "account": …}, or a list of these'
)
MILLISECONDS = 1e11
"""What is more counts milliseconds since the epoch, not seconds: in seconds it would be the year 5138."""


def read_credentials(data: bytes, now: float) -> tuple[Tokens, ...]:
    """All that are in a file. `now`: seconds since the epoch."""
    try:
        document: Any = msgspec.json.decode(data)
    except BAD_JSON:
        raise ValueError(FORMS) from None
    match document:
        case {"claudeAiOauth": dict(own)}:
            return (_tokens(own, now, ("accessToken", "refreshToken", "expiresAt", "scopes")),)
        case dict():
            return (_plain(document, now),)
        case list() if document and all(isinstance(one, dict) for one in document):
            return tuple(_plain(one, now) for one in document)
    raise ValueError(FORMS)


def _plain(entry: Mapping[str, Any], now: float) -> Tokens:
    return _tokens(entry, now, ("access_token", "refresh_token", "expires_at", "scope"))


def _tokens(entry: Mapping[str, Any], now: float, names: tuple[str, str, str, str]) -> Tokens:
    access, refresh, end, scope = (entry.get(name) for name in names)
    if (found := bearer(access)) is None:
        raise ValueError(FORMS)
    if refresh is not None and token(refresh) is None:
        raise ValueError("a refresh token in it is none; copy the file again")
    left = _left(end, now) if end is not None else life(entry.get("expires_in"))
    who = named(entry.get("account")) or named(entry.get("email"))
    return Tokens(found, token(refresh), left, scopes_in(scope) or scopes_in(entry.get("scopes")), who)


def _left(end: object, now: float) -> float | None:
    """Seconds until then; a moment for what is over already, so that it is renewed first."""
    at = seconds_of(end) if isinstance(end, str) else end
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    return life(max(1.0, (at / 1000 if at > MILLISECONDS else at) - now))
