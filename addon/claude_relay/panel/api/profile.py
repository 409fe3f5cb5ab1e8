"""One's own account: the second factor, sessions, tokens for programs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, Field

from claude_relay.core.times import iso
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security import second_factor
from claude_relay.panel.security.delays import Delays
from claude_relay.panel.security.second_factor import Begun
from claude_relay.panel.security.visitors import OF_SCOPE, Oneself, Reader, Visitor
from claude_relay.store.panel.api_tokens import Scope, Token
from claude_relay.store.panel.sessions import Session
from claude_relay.store.vault.vault import VaultError

router = area("profile")
LONGEST_DAYS = 3650


# --- the second factor ---


class Code(Strict):
    """`code`: six digits that the app shows; without it a new secret is begun."""

    code: str | None = Field(None, max_length=64)


class SecondFactor(BaseModel):
    """Begun: what an app is told, as text, URI and picture (SVG). Enabled: codes that replace the app once each, told now only."""

    enabled: bool
    secret: str | None = None
    uri: str | None = None
    qr: str | None = None
    recovery_codes: list[str] | None = None


class RecoveryCodes(BaseModel):
    """Told now only."""

    recovery_codes: list[str]


@router.post("/me/totp", responses=documented(409, 429))
def totp(visitor: Oneself, request: Request, parts: Own, said: Code | None = None) -> SecondFactor:
    """Begin with a second factor, or, with a `code` of what was begun, enable it; all other sessions end then."""
    if visitor.admin.totp is not None:
        raise Problem(409, "conflict", "There is a second factor already; remove it first.")
    begun: Begun = request.app.state.begun
    admin, now = visitor.admin, parts.clock()
    if said is None or said.code is None:
        secret = begun.begin(admin.id, now)
        uri = second_factor.uri(secret, admin.name, request.headers.get("host", ""))
        return SecondFactor(enabled=False, secret=secret, uri=uri, qr=second_factor.picture(uri))
    known = begun.of(admin.id, now)
    if known is None:
        raise Problem(409, "conflict", "That was begun too long ago. Begin again: POST without a code.")
    delays = Delays(parts.failures)
    attempt = delays.begin_code(admin.name, now)
    step = second_factor.step_of(known, said.code, now)
    if step is None:
        text = "This code is wrong. Is the clock of your phone right?"
        raise Problem(422, "code", text, errors=[FieldError(field="code", detail=text)])
    delays.passed(attempt)
    codes, own = second_factor.recovery_codes(), visitor.session.digest if visitor.session is not None else b""
    try:
        parts.second_factors.enable(visitor.actor, admin.name, known, codes, step, but=own)
    except VaultError as error:
        raise Problem(503, "vault", str(error)) from None
    begun.end(admin.id)
    return SecondFactor(enabled=True, recovery_codes=codes)


@router.delete("/me/totp", status_code=204, responses=documented(404))
def remove_totp(visitor: Oneself, parts: Own) -> Response:
    """A password is enough from now on."""
    if visitor.admin.totp is None:
        raise Problem(404, "not_found", "There is no second factor.")
    parts.second_factors.disable(visitor.actor, visitor.admin.name)
    return Response(status_code=204)


@router.post("/me/recovery-codes", responses=documented(404))
def recovery_codes(visitor: Oneself, parts: Own) -> RecoveryCodes:
    """New ones; those of before are worth nothing."""
    if visitor.admin.totp is None:
        raise Problem(404, "not_found", "There is no second factor, so there are no codes that replace it.")
    codes = second_factor.recovery_codes()
    parts.second_factors.replace_codes(visitor.actor, visitor.admin.name, codes)
    return RecoveryCodes(recovery_codes=codes)


# --- sessions ---


class OwnSession(BaseModel):
    """A browser that is signed in. `current`: the one that asks."""

    id: str
    current: bool
    created_at: str
    seen_at: str
    address: str
    user_agent: str


class Sessions(BaseModel):
    """The one used last first."""

    data: list[OwnSession]


@router.get("/me/sessions", responses=documented())
def sessions(visitor: Reader, parts: Own) -> Sessions:
    """Where you are signed in."""
    return Sessions(data=[_session(it, visitor) for it in parts.sessions.of(visitor.admin.id, parts.clock())])


@router.delete("/me/sessions", status_code=204, responses=documented())
def end_sessions(visitor: Oneself, parts: Own) -> Response:
    """Sign out everywhere else."""
    for one in parts.sessions.of(visitor.admin.id, parts.clock()):
        if visitor.session is None or one.digest != visitor.session.digest:
            parts.sessions.end(one)
    return Response(status_code=204)


@router.delete("/me/sessions/{id}", status_code=204, responses=documented(404))
def end_session(id: str, visitor: Oneself, parts: Own) -> Response:
    """Sign out one browser."""
    found = next((it for it in parts.sessions.of(visitor.admin.id, parts.clock()) if session_id(it) == id), None)
    if found is None:
        raise Problem(404, "not_found", "You have no session with this id.")
    parts.sessions.end(found)
    return Response(status_code=204)


def session_id(session: Session) -> str:
    """Enough of its digest to tell it from others; nobody comes in with it."""
    return session.digest.hex()[:16]


def _session(session: Session, visitor: Visitor) -> OwnSession:
    return OwnSession(
        id=session_id(session),
        current=visitor.session is not None and session.digest == visitor.session.digest,
        created_at=iso(session.created_at),
        seen_at=iso(session.seen_at),
        address=session.place,
        user_agent=session.program,
    )


# --- tokens ---


class NewToken(Strict):
    """`days`: for which it is good; null: until it is removed."""

    name: str = Field(min_length=1, max_length=64)
    scope: Scope
    days: int | None = Field(None, ge=1, le=LONGEST_DAYS)


class OwnToken(BaseModel):
    """`mask`: how its secret begins and ends."""

    id: str
    name: str
    scope: Scope
    mask: str
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class MadeToken(OwnToken):
    """`token`: for `Authorization: Bearer …`; told now only."""

    token: str


class OwnTokens(BaseModel):
    """The newest first."""

    data: list[OwnToken]


@router.get("/tokens", responses=documented())
def tokens(visitor: Reader, parts: Own) -> OwnTokens:
    """Your own."""
    return OwnTokens(data=[OwnToken(**_token(it)) for it in parts.tokens.of(visitor.admin)])


@router.post("/tokens", status_code=201, responses=documented(409))
def add_token(said: NewToken, visitor: Oneself, parts: Own) -> MadeToken:
    """A new one, of a scope that you have."""
    if not visitor.may(OF_SCOPE[said.scope]):
        text = f"You are {visitor.admin.role}, so a token of yours cannot have the scope {said.scope}."
        raise Problem(422, "scope", text, errors=[FieldError(field="scope", detail=text)])
    end = iso(parts.clock() + timedelta(days=said.days).total_seconds()) if said.days is not None else None
    made, secret = parts.tokens.add(visitor.actor, visitor.admin, said.name, said.scope, end)
    return MadeToken(token=secret, **_token(made))


@router.delete("/tokens/{id}", status_code=204, responses=documented(404))
def remove_token(id: str, visitor: Oneself, parts: Own) -> Response:
    """It is refused from now on."""
    if all(it.id != id for it in parts.tokens.of(visitor.admin)):
        raise Problem(404, "not_found", "You have no token with this id.")
    parts.tokens.remove(visitor.actor, visitor.admin, id)
    return Response(status_code=204)


def _token(token: Token) -> dict[str, Any]:
    names = ("id", "name", "scope", "mask", "created_at", "expires_at", "last_used_at")
    return {name: getattr(token, name) for name in names}
