"""Signing in and out, and oneself: `/api/login`, `/api/welcome` (a one-time link), `/api/logout`, `/api/me`."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel, Field

from claude_relay.core.times import iso
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented
from claude_relay.panel.security import passwords
from claude_relay.panel.security.delays import Delays
from claude_relay.panel.security.visitors import OF_ROLE, Reader, Visitor, cookie_name, csrf_of, is_secure, place_of
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admin, Role
from claude_relay.store.panel.sessions import LONGEST

router = area("sign-in")


class Login(Strict):
    """`code`: of the second factor, where there is one: six digits of the app, or a recovery code."""

    username: str = Field(min_length=1, max_length=64)
    password: str = Field(max_length=2000)
    code: str | None = Field(None, max_length=64)


class Welcome(Strict):
    """`link`: the secret of the one-time link."""

    link: str = Field(max_length=200)
    password: str = Field(max_length=2000)


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


@router.post("/login", responses=documented(429))
def login(said: Login, request: Request, response: Response, parts: Own) -> Me:
    """Begin a session: the answer sets its cookie."""
    return entered(signed_in(said, request, parts), request, response, parts)


@router.post("/welcome", responses=documented(404, 409))
def welcome(said: Welcome, request: Request, response: Response, parts: Own) -> Me:
    """Choose a password by a one-time link, and begin a session."""
    name = parts.admins.linked(said.link, parts.clock())
    if name is None:
        raise Problem(404, "link", "This link was used already, or is over. A new one: panel reset-password.")
    passwords.check(said.password, name)
    actor = Actor(name, "panel", place_of(request, parts))
    admin = parts.admins.redeem(actor, said.link, passwords.hashed(said.password), parts.clock())
    return entered(admin, request, response, parts)


@router.post("/logout", status_code=204, responses=documented())
def logout(visitor: Reader, request: Request, parts: Own) -> Response:
    """End the session."""
    if visitor.session is not None:
        parts.sessions.end(visitor.session)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True, samesite="strict")
    return response


@router.get("/me", responses=documented())
def me(visitor: Reader) -> Me:
    """Who you are."""
    return of(visitor)


@router.post("/me/confirm", status_code=204, responses=documented(429))
def confirm(said: Confirmation, visitor: Reader, parts: Own) -> Response:
    """Give the password once more, before what needs it."""
    _prove(visitor, said.password, parts, "password")
    if visitor.session is not None:
        parts.sessions.confirm(visitor.session, parts.clock())
    return Response(status_code=204)


@router.post("/me/password", status_code=204, responses=documented(409, 429))
def change_password(said: NewPassword, visitor: Reader, parts: Own) -> Response:
    """Another password; all other sessions end."""
    _prove(visitor, said.current, parts, "current")
    passwords.check(said.password, visitor.admin.name)
    but = visitor.session.digest if visitor.session is not None else b""
    parts.admins.set_password(visitor.actor, visitor.admin.name, passwords.hashed(said.password), but=but)
    return Response(status_code=204)


def signed_in(said: Login, request: Request, parts: Parts) -> Admin:
    """Whose name, password and code these are. Raises Problem, one for all that is wrong but a missing code."""
    now, place = parts.clock(), place_of(request, parts)
    delays = Delays(parts.admins)
    delays.before(said.username, place, now)
    admin = parts.admins.find(said.username)
    if not passwords.verify(admin.password if admin else None, said.password) or admin is None:
        delays.failed(said.username, place, now)
        raise Problem(401, "credentials", "Name or password is wrong.")
    delays.passed(said.username, place)
    parts.admins.logged_in(Actor(admin.name, "panel", place), admin.name, iso(now))
    return admin


def entered(admin: Admin, request: Request, response: Response, parts: Parts) -> Me:
    """A session for them, in a cookie."""
    place = place_of(request, parts)
    secret = parts.sessions.begin(admin.id, parts.clock(), place, request.headers.get("user-agent", ""))
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=round(LONGEST),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    session = parts.sessions.find(secret, parts.clock())
    assert session is not None
    return of(Visitor(admin, OF_ROLE[admin.role], place, session, csrf=csrf_of(secret)))


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


def _prove(visitor: Visitor, password: str, parts: Parts, field: str) -> None:
    delays, now = Delays(parts.admins), parts.clock()
    delays.before(visitor.admin.name, visitor.place, now)
    if not passwords.verify(visitor.admin.password, password):
        delays.failed(visitor.admin.name, visitor.place, now)
        text = "The password is wrong."
        raise Problem(403, "password", text, errors=[FieldError(field=field, detail=text)])
    delays.passed(visitor.admin.name, visitor.place)
