"""Whoever comes with a name, a password and perhaps a code: is it them, and what they get for it.

    admin = signed_in(name, password, code, request, parts)       raises Problem, one for all that is wrong but the code
    prove(visitor, password, parts, "password")                   somebody who is signed in already, once more
    visitor = entered(admin, request, response, parts)            a session, in a cookie

It must not know routes.
"""

from __future__ import annotations

import logging
from typing import Final

from fastapi import Request, Response

from claude_relay.core.installation import command
from claude_relay.core.times import iso
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import FieldError, Problem
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admin
from claude_relay.store.panel.sessions import LONGEST
from claude_relay.store.vault.vault import VaultError

from . import passwords, second_factor
from .delays import Delays
from .visitors import (
    OF_ROLE,
    Visitor,
    cookie_name,
    csrf_of,
    device,
    device_cookie,
    device_of,
    is_secure,
    place_of,
)

logger = logging.getLogger("claude_relay.panel")
KNOWN_FOR: Final = 180 * 24 * 3600
"""Seconds for which a browser in which somebody has signed in is known."""


def signed_in(name: str, password: str, code: str | None, request: Request, parts: Parts) -> Admin:
    """Whose these are. Raises Problem; one with the code `code` when only that is missing or wrong."""
    now, place = parts.clock(), place_of(request, parts)
    delays, admin = Delays(parts.failures), parts.admins.find(name)
    own = device_of(request, admin)
    attempt = delays.begin(name, place, own, now)
    if not passwords.verify(admin.password if admin else None, password, known=bool(own)) or admin is None:
        raise Problem(401, "credentials", "Name or password is wrong.")
    delays.passed(attempt)
    actor = Actor(admin.name, "panel", place)
    check_code(admin, code, actor, parts)
    parts.admins.logged_in(actor, admin.name, iso(now))
    return admin


def check_code(admin: Admin, code: str | None, actor: Actor, parts: Parts) -> None:
    """Of the second factor, if there is one; it is used up. Raises Problem."""
    if admin.totp is None:
        return
    if not code:
        raise Problem(401, "code", "Give the code of your app, too, or a recovery code.")
    if not second_factor.is_of_app(code):
        if not parts.second_factors.use_recovery(actor, admin.name, code):
            raise Problem(401, "code", "This recovery code is wrong, or was used already.")
        return
    now, delays = parts.clock(), Delays(parts.failures)
    attempt = delays.begin_code(admin.name, now)
    try:
        secret = parts.second_factors.secret(admin)
    except VaultError as error:
        logger.warning("the second factor of %s cannot be checked: %s", admin.name, error)
        reset = f"{command('panel')} reset-password {admin.name} --without-second-factor"
        text = f"Codes cannot be checked, for the vault's secret is missing. Take a recovery code, or run: {reset}"
        raise Problem(503, "code", text) from None
    step = second_factor.step_of(secret, code, now)
    if step is None or not parts.second_factors.use_step(admin.name, step):
        raise Problem(401, "code", "This code is wrong, or was used already; wait for the next one.")
    delays.passed(attempt)


def prove(visitor: Visitor, password: str, parts: Parts, field: str) -> None:
    """Whoever sits there knows the password. Raises Problem."""
    delays, session = Delays(parts.failures), visitor.session
    own = session.digest.hex()[:32] if session is not None else ""
    attempt = delays.begin(visitor.admin.name, visitor.place, own, parts.clock())
    if not passwords.verify(visitor.admin.password, password, known=bool(own)):
        text = "The password is wrong."
        raise Problem(403, "password", text, errors=[FieldError(field=field, detail=text)])
    delays.passed(attempt)


def entered(admin: Admin, request: Request, response: Response, parts: Parts) -> Visitor:
    """A new session for them, whatever the browser brought; one of before ends."""
    place, now = place_of(request, parts), parts.clock()
    before = request.cookies.get(cookie_name(request), "")
    if before and (session := parts.sessions.find(before, now)) is not None:
        parts.sessions.end(session)
    secret = parts.sessions.begin(admin.id, now, place, request.headers.get("user-agent", ""))
    found = parts.sessions.find(secret, now)
    assert found is not None
    remember(response, request, found.admin)
    set_cookie(response, request, cookie_name(request), secret, round(LONGEST))
    return Visitor(found.admin, OF_ROLE[found.admin.role], place, found, csrf=csrf_of(secret))


def remember(response: Response, request: Request, admin: Admin) -> None:
    """This browser is one of theirs from now on, until their password is another one."""
    set_cookie(response, request, device_cookie(request), device(admin), KNOWN_FOR)


def set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    """One that scripts cannot read, and that comes with no request that another site begins. An empty value ends it."""
    secure, seconds = is_secure(request), seconds if value else 0
    response.set_cookie(name, value, max_age=seconds, path="/", secure=secure, httponly=True, samesite="strict")
