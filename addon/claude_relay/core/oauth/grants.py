"""Tokens, and what the answer of a token endpoint means.

    answer_of(200, {}, b'{"access_token": "…", "refresh_token": "…", "expires_in": 28800}')    -> Granted(Tokens(…))
    answer_of(400, {}, b'{"error": "invalid_grant"}')                                       -> Refused("invalid_grant")
    answer_of(503, {}, b"…")                                                                -> Failed("503", …)

https://www.rfc-editor.org/rfc/rfc6749#section-5 and https://www.rfc-editor.org/rfc/rfc8628#section-3.5 say what stands in them. Some
servers write a form, or say an error with status 200. Nothing here raises, whatever a server sends, and no reason repeats a token. It
must not know who asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl

import msgspec

from claude_relay.core.bodies.lenient import BAD_JSON
from claude_relay.core.bodies.ratelimits import retry_at
from claude_relay.core.errors import clean
from claude_relay.core.times import DAY

LONGEST_TOKEN = 4096
"""Characters of a token; as of a key."""
LONGEST_LIFE = 3650 * DAY
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 100
_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)
_BEARER = re.compile(r"[A-Za-z0-9._~+/-]{8,}=*", re.ASCII)
"""https://www.rfc-editor.org/rfc/rfc6750#section-2.1"""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an account is used with.

    refresh     gets the next ones; None: these are all there will be
    expires_in  seconds from when they were issued; None: the server has not said
    account     name or e-mail of whose they are, where the server says it
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_in: float | None = None
    scopes: tuple[str, ...] = ()
    account: str = ""

    def after(self, refresh: str) -> Tokens:
        """The same, for who was asked with a token that stays good unless there is another: RFC 6749, section 6."""
        return self if self.refresh else replace(self, refresh=refresh)


@dataclass(frozen=True, slots=True)
class Granted:
    """There are tokens."""

    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Refused:
    """What was sent is no good, and never will be again: `invalid_grant`, or a person said no."""

    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing is known of what was sent: it may be tried again.

    undone  the server said that it did nothing; else it may have, for all that is known
    """

    reason: str
    retry_after: float | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A person has not answered yet. `slower`: ask less often."""

    slower: bool = False


type Answer = Granted | Refused | Failed
"""Of a token endpoint."""

NO_GOOD = {
    "invalid_grant": "the provider no longer takes what was sent",
    "access_denied": "the person who was asked has refused",
    "expired_token": "nobody has confirmed it in time",
}
"""Error codes after which asking again makes no sense."""
OF_THE_CLIENT = {
    "invalid_client": "the provider does not know this client: see oauth.client_id and oauth.client_secret in relay.yaml",
    "unauthorized_client": "this client may not do that: see oauth.client_id in relay.yaml",
    "unsupported_grant_type": "the provider has no such way: see oauth.token_url in relay.yaml",
    "invalid_scope": "the provider does not give these scopes: see oauth.scopes in relay.yaml",
}
"""Error codes that a change of relay.yaml mends."""
WAITING = {"authorization_pending": Pending(), "slow_down": Pending(slower=True)}


class _Account(msgspec.Struct):
    email_address: str | None = None
    email: str | None = None
    name: str | None = None


class _Grant(msgspec.Struct):
    access_token: object = None
    refresh_token: object = None
    expires_in: object = None
    scope: object = None
    account: object = None
    email: object = None


class _Error(msgspec.Struct):
    error: object = None
    error_description: object = None


def answer_of(
    status: int, headers: Mapping[str, str], body: bytes, requested: tuple[str, ...] = ()
) -> Answer | Pending:
    """What an answer means. `headers`: lower-case names; `requested`: the scopes, which the server need not repeat."""
    body = _as_json(body) if headers.get("content-type", "").strip().lower().startswith(FORM) else body
    well = 200 <= status < 300
    if well and (tokens := _tokens(body, requested)):
        return Granted(tokens)
    code, described = error_in(body)
    if well and not code:
        return Failed("the token endpoint's answer holds no token")
    said = clean(f"{code}: {described}" if described and described != code else code or described)
    if status < 500 and code in WAITING:
        return WAITING[code]
    if status < 500 and code in NO_GOOD:
        return Refused(f"{said} – {NO_GOOD[code]}")
    wait = retry_at(headers, 0.0)
    reason = f"the token endpoint answered {status}" + (f" ({said})" if said else "")
    if status < 500 and code in OF_THE_CLIENT:
        reason = f"{reason}: {OF_THE_CLIENT[code]}"
    return Failed(reason, wait, undone=400 <= status < 500 and status not in (408, 499))


def error_in(body: bytes) -> tuple[str, str]:
    """Code and description of an error: `{"error": "…"}` as the standard has it, or an object with a type."""
    try:
        found = msgspec.json.decode(body, type=_Error)
    except BAD_JSON:
        return "", ""
    match found.error:
        case str(code):
            described = found.error_description
        case {"type": str(code), **more} | {"code": str(code), **more}:
            described = more.get("message")
        case _:
            return "", ""
    return code[:60], described if isinstance(described, str) else ""


def token(value: object) -> str | None:
    """A token as it can stand in a header; None for what is none."""
    return value if isinstance(value, str) and len(value) <= LONGEST_TOKEN and _TOKEN.fullmatch(value) else None


def bearer(value: object) -> str | None:
    """A token that goes into the header of requests."""
    return value if (found := token(value)) and isinstance(value, str) and _BEARER.fullmatch(found) else None


def life(value: object) -> float | None:
    """Seconds that tokens live; None where none are said."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return seconds if 0.0 < seconds <= LONGEST_LIFE else None


def scopes_in(value: object) -> tuple[str, ...]:
    """Scopes, in a text with blanks between them or a list."""
    words = value.split() if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    return tuple(word for word in words if isinstance(word, str) and word and word.isprintable())[:64]


def named(value: object) -> str:
    """What to call an account: one line."""
    return clean(value)[:200] if isinstance(value, str) else ""


def _as_json(form: bytes) -> bytes:
    """The fields of a form; nothing where it is none."""
    try:
        return msgspec.json.encode(dict(parse_qsl(form.decode(), max_num_fields=MOST_FIELDS)))
    except ValueError:
        return b""


def _tokens(body: bytes, requested: tuple[str, ...]) -> Tokens | None:
    try:
        found = msgspec.json.decode(body, type=_Grant)
    except BAD_JSON:
        return None
    access = bearer(found.access_token)
    if access is None:
        return None
    return Tokens(
        access,
        token(found.refresh_token),
        life(found.expires_in),
        scopes_in(found.scope) or requested,
        named(found.email) or _of_account(found.account),
    )


def _of_account(value: object) -> str:
    try:
        found = msgspec.convert(value, _Account)
    except msgspec.ValidationError:
        return named(value)
    return named(found.email_address or found.email or found.name)
