"""Who may use the panel."""

from __future__ import annotations

from fastapi import Request, Response
from pydantic import BaseModel, Field

from claude_relay.core.times import iso
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Confirmed, Visitor, is_secure
from claude_relay.store.panel.admins import NAME, VALID, Admin, Role, new_link

router = area("admins")


class NewAdmin(Strict):
    """Somebody who then chooses a password by a one-time link."""

    name: str = Field(min_length=1, max_length=64, pattern=f"^{NAME.pattern}$")
    role: Role = Role.VIEWER


class AdminChange(Strict):
    """`second_factor`: false takes it away, for somebody who has lost app and codes."""

    role: Role | None = None
    second_factor: bool | None = None


class OneAdmin(BaseModel):
    """`invited`: there is a one-time link that works."""

    name: str
    role: Role
    has_password: bool
    second_factor: bool
    invited: bool
    created_at: str
    last_login_at: str | None


class Link(BaseModel):
    """Whoever opens it chooses the password, once. Told now only."""

    name: str
    link: str
    valid_until: str


class Admins(BaseModel):
    """By name."""

    data: list[OneAdmin]


@router.get("/admins", responses=documented())
def admins(visitor: Administrator, parts: Own) -> Admins:
    """All of them."""
    invited = parts.admins.invited(parts.clock())
    return Admins(data=[_shown(admin, invited) for admin in parts.admins.all()])


@router.post("/admins", status_code=201, responses=documented(409))
def add_admin(said: NewAdmin, visitor: Confirmed, request: Request, parts: Own) -> Link:
    """Let somebody in: give them the link."""
    parts.admins.add(visitor.actor, said.name, said.role)
    return _link(said.name, request, parts, visitor)


@router.get("/admins/{name}", responses=documented(404))
def admin(name: str, visitor: Administrator, response: Response, parts: Own) -> OneAdmin:
    """One of them."""
    shown = _one(name, parts)
    response.headers["etag"] = version_of(shown)
    return shown


@router.patch("/admins/{name}", responses=documented(404, 409, 412, 428))
def change_admin(
    name: str, said: AdminChange, visitor: Confirmed, response: Response, parts: Own, if_match: IfMatch = None
) -> OneAdmin:
    """Another role; or no second factor any more."""
    before = _one(name, parts)
    matched(if_match, version_of(before))
    if said.second_factor:
        raise Problem(422, "second_factor", "A second factor can be taken from others; only they can add one.")
    if said.role is not None:
        parts.admins.set_role(visitor.actor, before.name, said.role, seen=before.role)
    if said.second_factor is False and before.second_factor:
        parts.second_factors.disable(visitor.actor, before.name)
    after = _one(name, parts)
    response.headers["etag"] = version_of(after)
    return after


@router.delete("/admins/{name}", status_code=204, responses=documented(404, 409))
def remove_admin(name: str, visitor: Confirmed, parts: Own) -> Response:
    """With sessions, tokens and links."""
    parts.admins.remove(visitor.actor, name)
    return Response(status_code=204)


@router.post("/admins/{name}/link", responses=documented(404))
def link(name: str, visitor: Confirmed, request: Request, parts: Own) -> Link:
    """A new one-time link, for somebody who has no password, or has forgotten it."""
    return _link(_one(name, parts).name, request, parts, visitor)


def version_of(one: OneAdmin) -> str:
    """Of what can be changed: that they have signed in meanwhile changes nothing."""
    return etag([one.name, one.role, one.second_factor])


def _one(name: str, parts: Parts) -> OneAdmin:
    found = parts.admins.find(name)
    if found is None:
        raise Problem(404, "not_found", f"There is no admin '{name}'.")
    return _shown(found, parts.admins.invited(parts.clock()))


def _link(name: str, request: Request, parts: Parts, visitor: Visitor) -> Link:
    url, now = f"{'https' if is_secure(request) else 'http'}://{request.headers['host']}", parts.clock()
    return Link(name=name, link=new_link(parts.admins, url, name, now, visitor.actor), valid_until=iso(now + VALID))


def _shown(admin: Admin, invited: frozenset[str]) -> OneAdmin:
    return OneAdmin(
        name=admin.name,
        role=admin.role,
        has_password=admin.password is not None,
        second_factor=admin.totp is not None,
        invited=admin.name in invited,
        created_at=admin.created_at,
        last_login_at=admin.last_login_at,
    )
