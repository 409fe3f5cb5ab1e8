"""Signing in and out, and oneself: `/api/login`, `/api/welcome` (a one-time link), `/api/logout`, `/api/me`."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel, Field

from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.security import passwords
from claude_relay.panel.security.entering import check_code, entered, prove, remember, set_cookie, signed_in
from claude_relay.panel.security.visitors import Owner, Reader, Visitor, cookie_name, place_of
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Role

router = area("sign-in")


class Login(Strict):
    """`code`: of the second factor, where there is one: six digits of the app, or a recovery code."""

    username: str = Field(min_length=1, max_length=64)
    password: str = Field(max_length=2000)
    code: str | None = Field(None, max_length=64)


class Welcome(Strict):
    """`link`: the secret of the one-time link; `code`: of the second factor, where there is one."""

    link: str = Field(max_length=200)
    password: str = Field(max_length=2000)
    code: str | None = Field(None, max_length=64)


class Confirmation(Strict):
    """The password, once more."""

    password: str = Field(max_length=2000)


class NewPassword(Strict):
    """Another one."""

    current: str = Field(max_length=2000)
    password: str = Field(max_length=2000)


class Me(BaseModel):
    """Who asks. `csrf`: what a browser sends as X-CSRF-Token; empty for a token."""

    name: str
    role: Role
    level: str
    second_factor: bool
    recovery_codes_left: int
    csrf: str


@router.post("/login", responses=documented(409, 429))
def login(said: Login, request: Request, response: Response, parts: Own) -> Me:
    """Begin a session: the answer sets its cookie."""
    admin = signed_in(said.username, said.password, said.code, request, parts)
    return of(entered(admin, request, response, parts))


@router.post("/welcome", responses=documented(404, 409, 429))
def welcome(said: Welcome, request: Request, response: Response, parts: Own) -> Me:
    """Choose a password by a one-time link, and begin a session."""
    name = parts.admins.linked(said.link, parts.clock())
    if name is None:
        raise Problem(404, "link", "This link was used already, or is over. A new one: panel reset-password.")
    passwords.check(said.password, name)
    actor = Actor(name, "panel", place_of(request, parts))
    known = parts.admins.find(name)
    if known is not None:  # a link that somebody found is not enough where an app is asked for, too
        check_code(known, said.code, actor, parts)
    admin = parts.admins.redeem(actor, said.link, passwords.hashed(said.password), parts.clock())
    return of(entered(admin, request, response, parts))


@router.post("/logout", status_code=204, responses=documented())
def logout(visitor: Reader, request: Request, parts: Own) -> Response:
    """End the session."""
    if visitor.session is not None:
        parts.sessions.end(visitor.session)
    response = Response(status_code=204)
    set_cookie(response, request, cookie_name(request), "", 0)
    return response


@router.get("/me", responses=documented())
def me(visitor: Reader) -> Me:
    """Who you are."""
    return of(visitor)


@router.post("/me/confirm", status_code=204, responses=documented(429))
def confirm(said: Confirmation, visitor: Reader, parts: Own) -> Response:
    """Give the password once more, before what needs it."""
    prove(visitor, said.password, parts, "password")
    if visitor.session is not None:
        parts.sessions.confirm(visitor.session, parts.clock())
    return Response(status_code=204)


@router.post("/me/password", status_code=204, responses=documented(409, 429))
def change_password(said: NewPassword, visitor: Owner, request: Request, parts: Own) -> Response:
    """Another password; all other sessions end."""
    prove(visitor, said.current, parts, "current")
    passwords.check(said.password, visitor.admin.name)
    but = visitor.session.digest if visitor.session is not None else b""
    admin = parts.admins.set_password(visitor.actor, visitor.admin.name, passwords.hashed(said.password), but=but)
    response = Response(status_code=204)
    if visitor.session is not None:  # the browser stays known
        remember(response, request, admin)
    return response


def of(visitor: Visitor) -> Me:
    """As the API says it."""
    admin = visitor.admin
    return Me(
        name=admin.name,
        role=admin.role,
        level=visitor.level.name.lower(),
        second_factor=admin.totp is not None,
        recovery_codes_left=len(admin.recovery),
        csrf=visitor.csrf,
    )
