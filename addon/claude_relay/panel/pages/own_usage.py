"""What the holder of a client key sees without a sign-in: /me, what is used of its limits; /device, who signs in with Claude Code.

A key comes by POST, is looked up, and forgotten with the answer: it is in no address, no cookie, no page and no log. Wrong keys and codes
are counted for each address and in all, as relays count them at their own page.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any, Final

from fastapi import Request
from starlette.responses import Response

from claude_relay.core.clients.credentials import Kind, is_own
from claude_relay.core.clients.directory import Client
from claude_relay.core.clients.sign_in import LONGEST_CODE, read_user_code
from claude_relay.panel.api.client_models import LimitState, limits_of
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem
from claude_relay.panel.common.said import shown
from claude_relay.panel.security.visitors import Visitor, place_of, visitor_of
from claude_relay.store.audit import Actor
from claude_relay.store.clients.approvals import approve, deny
from claude_relay.store.clients.book import ClientError
from claude_relay.store.clients.rows import PANEL
from claude_relay.store.clients.spent import spent_by

from .shell import N_, pages, render, words_of
from .sign_in import Form

router = pages()

NO_KEY: Final = N_("This is no client key of this relay.")
NO_CODE: Final = N_(
    "Nobody waits under this code. Compare it with the one that Claude Code shows; after ten minutes there is a new one."
)
TOO_MANY: Final = N_("Too many wrong codes or keys. Wait a moment, then try again.")
LONGEST: Final = 200
_guard = threading.Lock()


class Refused(Exception):
    """Why somebody gets nothing. `wait`: seconds until the next try."""

    def __init__(self, text: str, status: int = 403, wait: float = 0.0) -> None:
        super().__init__(text)
        self.status, self.wait = status, wait


@router.get("/me")
def me_page(request: Request, parts: Own) -> Response:
    """A form for the key."""
    return _me(request)


@router.post("/me")
def me(request: Request, parts: Own, form: Form) -> Response:
    """What is used."""
    try:
        client = holder(request, parts, form.get("key", ""))
    except Refused as refused:
        return _me(request, refused)
    spent = spent_by(parts.database, client.name, parts.clock())
    contact = parts.in_force().clients.contact
    return _me(request, client=client, limits=_limits(parts, client), spent=spent, contact=contact)


def _me(request: Request, refused: Refused | None = None, **values: Any) -> Response:
    problem = shown(str(refused), words_of(request)) if refused else ""
    context = {"problem": problem, "client": None, "limits": [], "spent": None, "contact": ""} | values
    answer = render(
        request, None, "me.html", title=N_("Your use"), status=refused.status if refused else 200, **context
    )
    return _waiting(answer, refused)


@router.get("/device")
def device_page(request: Request, parts: Own, user_code: str = "") -> Response:
    """A form with the code, which confirms nothing by itself."""
    return _device(request, parts, code=read_user_code(user_code[:LONGEST_CODE]) or "")


@router.post("/device")
def device(request: Request, parts: Own, form: Form) -> Response:
    """Say yes or no to somebody who waits with Claude Code. (Admins who are signed in do it by /api/sign-ins.)"""
    typed = form.get("user_code", "")[: LONGEST_CODE + 1]
    code, denied, place = read_user_code(typed), form.get("action") == "deny", place_of(request, parts)
    try:
        client = holder(request, parts, form.get("key", ""), counted=code is None)
        if code is None:
            raise Refused(NO_CODE)
        actor = Actor(client.name, "sign-in", place)
        try:
            if denied:
                deny(parts.database, actor, code)
            else:
                approve(parts.database, actor, code, client.name)
        except ClientError:
            _count(parts, place)
            raise Refused(NO_CODE) from None
    except Refused as refused:
        return _device(request, parts, refused, code=code or typed[:LONGEST_CODE])
    return _device(request, parts, done="denied" if denied else "approved", name=client.name)


def _device(request: Request, parts: Parts, refused: Refused | None = None, **values: Any) -> Response:
    visitor = _admin(request, parts)
    clients = []
    if visitor is not None:
        clients = [one.name for one in parts.clients.clients() if one.enabled and one.removed_at is None]
    problem = shown(str(refused), words_of(request)) if refused else ""
    context = {"problem": problem, "code": "", "done": "", "name": "", "clients": clients, "admin": visitor} | values
    status = refused.status if refused else 200
    return _waiting(
        render(request, visitor, "device.html", title=N_("Sign in to this relay"), status=status, **context), refused
    )


def holder(request: Request, parts: Parts, key: str, *, counted: bool = False) -> Client:
    """Whose key it is. `counted`: the try was a wrong one whatever the key is. Raises Refused."""
    place = place_of(request, parts)
    with _guard:
        if (wait := parts.guesses.wait(place, time.monotonic())) > 0:
            raise Refused(TOO_MANY, 429, wait)
        if counted:
            parts.guesses.count(place, time.monotonic())
    key = key.strip()[:LONGEST]
    directory = parts.clients.directory() if is_own(key) else None
    grant = directory.find(key) if directory is not None else None
    if directory is None or grant is None or grant.kind is not Kind.KEY or grant.client.id == PANEL:
        if not counted:
            _count(parts, place)
        raise Refused(NO_KEY)
    if (why := grant.refusal(parts.clock())) is not None:
        raise Refused(f"{why[0].upper()}{why[1:]}.")
    return grant.client


def _count(parts: Parts, place: str) -> None:
    with _guard:
        parts.guesses.count(place, time.monotonic())


def _limits(parts: Parts, client: Client) -> list[LimitState]:
    owners: list[Any] = [("client", client.name, client.policy)]
    owners += [("group", client.group.name, client.group.policy)] if client.group is not None else []
    return [state for every in limits_of(parts, owners, parts.clock()).values() for state in every]


def _admin(request: Request, parts: Parts) -> Visitor | None:
    try:
        visitor = visitor_of(request, parts)
    except Problem:
        return None
    return visitor if visitor is not None and visitor.is_admin else None


def _waiting(answer: Response, refused: Refused | None) -> Response:
    if refused is not None and refused.wait:
        answer.headers["Retry-After"] = str(math.ceil(refused.wait))
    return answer
