"""The admin behind a request, and what a route needs of them.

    @router.get("/keys")
    def keys(visitor: Reader, parts: Own) -> …                  anybody who is signed in
    @router.post("/keys/{id}/disable")
    def disable(id: str, visitor: Operator, parts: Own) -> …
    @router.post("/providers/{name}/keys")
    def add(visitor: Confirmed, …)                              an admin who gave the password a moment ago (a token needs none)
    @router.post("/me/totp")
    def begin(visitor: Oneself, …)                              anybody, in the same way; no token but one that may do everything

A browser brings a cookie, and with every change `X-CSRF-Token`; a program brings `Authorization: Bearer rk-api-…`. A test walks all routes:
each takes one of these, or stands in OPEN.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from claude_relay.core.visitors import FORWARDING, client_address, networks
from claude_relay.panel.common.parts import Parts, parts_of
from claude_relay.panel.common.problems import Problem
from claude_relay.store.audit import Actor
from claude_relay.store.panel.admins import Admin, Role
from claude_relay.store.panel.api_tokens import Scope, Token
from claude_relay.store.panel.sessions import Session

COOKIE, SECURE_COOKIE = "relay-panel", "__Host-relay-panel"
DEVICE, SECURE_DEVICE = "relay-device", "__Host-relay-device"
CSRF: Final = "x-csrf-token"
READING: Final = ("GET", "HEAD", "OPTIONS")
FRESH: Final = 600.0
"""Seconds for which a password that was given counts as given a moment ago."""
OPEN: Final = frozenset(
    {"/healthz", "/login", "/welcome", "/me", "/device", "/preferences", "/api/login", "/api/welcome", "/static"}
)
"""Paths without a sign-in: that the panel lives, signing in, what holders of a client key see, files that pages load."""


class Level(IntEnum):
    """How much somebody may do."""

    READ = 1
    OPERATE = 2
    ADMIN = 3


OF_ROLE: Final = {Role.VIEWER: Level.READ, Role.OPERATOR: Level.OPERATE, Role.ADMIN: Level.ADMIN}
OF_SCOPE: Final = {Scope.READ: Level.READ, Scope.OPERATE: Level.OPERATE, Scope.ADMIN: Level.ADMIN}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. `place`: the address; `csrf`: what changes must bring; empty for a token."""

    admin: Admin
    level: Level
    place: str
    session: Session | None = None
    token: Token | None = None
    csrf: str = ""

    @property
    def actor(self) -> Actor:
        """For the audit log."""
        if self.token is not None:
            return Actor(self.admin.name, "api", f"{self.place} by the token {self.token.name}")
        return Actor(self.admin.name, "panel", self.place)

    @property
    def identity(self) -> str:
        """Of what they came with: what one of an admin's tokens was told, another one is not."""
        if self.token is not None:
            return f"{self.admin.id} token {self.token.id}"
        return f"{self.admin.id} {self.session.digest.hex() if self.session is not None else ''}"

    def may(self, level: Level) -> bool:
        """Whether so much is allowed."""
        return self.level >= level

    @property
    def is_operator(self) -> bool:
        """For templates."""
        return self.may(Level.OPERATE)

    @property
    def is_admin(self) -> bool:
        """For templates."""
        return self.may(Level.ADMIN)


def visitor_of(request: HTTPConnection, parts: Parts) -> Visitor | None:
    """Who asks; None: nobody who is signed in. Reads the database."""
    place, now = place_of(request, parts), parts.clock()
    said = request.headers.get("authorization", "")
    if said:
        kind, _, secret = said.partition(" ")
        token = parts.tokens.find(secret.strip(), now) if kind.lower() == "bearer" else None
        if token is None:
            return None
        return Visitor(token.admin, min(OF_ROLE[token.admin.role], OF_SCOPE[token.scope]), place, token=token)
    secret = request.cookies.get(cookie_name(request), "")
    session = parts.sessions.find(secret, now) if secret else None
    if session is None:
        return None
    return Visitor(session.admin, OF_ROLE[session.admin.role], place, session, csrf=csrf_of(secret))


def needs(level: Level, *, confirmed: bool = False, oneself: bool = False) -> Callable[..., Visitor]:
    """A dependency: somebody who may do so much.

    confirmed  with the password given a moment ago
    oneself    a token needs the scope `admin`: one that may only read must not make another one that may do more
    """

    def visiting(request: Request, parts: Annotated[Parts, Depends(parts_of)]) -> Visitor:
        visitor = visitor_of(request, parts)
        if visitor is None:
            wrong = "authorization" in request.headers
            text = (
                "This token is unknown or over; make another one in the panel."
                if wrong
                else "Sign in, or send a token."
            )
            raise Problem(401, "sign_in", text, headers={"WWW-Authenticate": 'Bearer realm="claude-relay"'})
        changes = request.method not in READING and visitor.session is not None
        if changes and not hmac.compare_digest(request.headers.get(CSRF, "").encode(), visitor.csrf.encode()):
            raise Problem(403, "csrf", "This change did not come from a page of the panel. Load the page again.")
        if not visitor.may(level):
            names = {Level.OPERATE: "operator", Level.ADMIN: "admin"}
            raise Problem(403, "role", f"This needs the role {names[level]}, or a token with that scope.")
        if oneself and visitor.token is not None and visitor.token.scope is not Scope.ADMIN:
            raise Problem(403, "role", "This needs a token with the scope admin, or a sign-in with a password.")
        if confirmed:
            confirm(visitor, parts)
        request.state.visitor = visitor
        return visitor

    visiting.__dict__ |= {
        "level": level,
        "confirmed": confirmed,
        "oneself": oneself,
    }  # for the test that walks all routes
    return visiting


def confirm(visitor: Visitor, parts: Parts) -> None:
    """For what turns out to need it only then. Raises Problem unless the password was given a moment ago (a token needs none).

    It is given by `POST /api/me/confirm`.
    """
    if visitor.session is not None and visitor.session.confirmed_at < parts.clock() - FRESH:
        raise Problem(403, "confirm_password", "Give your password once more.")


Reader = Annotated[Visitor, Depends(needs(Level.READ))]
Operator = Annotated[Visitor, Depends(needs(Level.OPERATE))]
Administrator = Annotated[Visitor, Depends(needs(Level.ADMIN))]
Confirmed = Annotated[Visitor, Depends(needs(Level.ADMIN, confirmed=True))]
Oneself = Annotated[Visitor, Depends(needs(Level.READ, confirmed=True, oneself=True))]
Owner = Annotated[Visitor, Depends(needs(Level.READ, oneself=True))]
"""Where the password comes with the request itself."""


def csrf_of(secret: str) -> str:
    """What changes must bring beside a cookie: worked out from it, so that there is nothing to keep."""
    return hashlib.sha256(b"csrf " + secret.encode("utf-8", "surrogateescape")).hexdigest()


def device_of(request: HTTPConnection, admin: Admin | None) -> str:
    """Which browser this is, of those in which that admin has signed in with the password that counts now; empty: none of them."""
    number, _, proof = request.cookies.get(device_cookie(request), "").partition(".")
    known = admin is not None and hmac.compare_digest(proof.encode("utf-8", "replace"), _proof(admin, number).encode())
    return number if known else ""


def device(admin: Admin) -> str:
    """The cookie of a browser in which somebody has signed in: it lets nobody in, but keeps others' failures away (`delays`)."""
    number = secrets.token_hex(8)
    return f"{number}.{_proof(admin, number)}"


def _proof(admin: Admin, number: str) -> str:
    key = (admin.password or secrets.token_hex(16)).encode()
    return hmac.new(key, f"device {admin.id} {number}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def device_cookie(request: HTTPConnection) -> str:
    """Its name."""
    return SECURE_DEVICE if is_secure(request) else DEVICE


def is_secure(request: HTTPConnection) -> bool:
    """Whether the browser speaks TLS: with the panel, or with a reverse proxy that is trusted to say so."""
    return bool(request.scope.get("relay.secure"))


def cookie_name(request: HTTPConnection) -> str:
    """With TLS one that no other host or path can set."""
    return SECURE_COOKIE if is_secure(request) else COOKIE


def place_of(request: HTTPConnection, parts: Parts) -> str:
    """The address that a request comes from, as far as those say it whose word counts."""
    peer = request.client.host if request.client else ""
    forwarded = [(name, value) for name, value in request.headers.items() if name in FORWARDING]
    found = client_address(peer, forwarded, networks(parts.in_force().listen.trusted_proxies))
    return str(found) if found is not None else peer
