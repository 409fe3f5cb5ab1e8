"""Groups of clients: `/api/groups`. Their permissions hold for each of their clients, their limits for all of them together, too."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel

from claude_relay.core.clients.limits import loosened
from claude_relay.core.times import iso
from claude_relay.panel.common.paging import Page, Paging
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import documented
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Operator, Reader, confirm
from claude_relay.store.clients import consumption, descriptions
from claude_relay.store.clients.rows import StoredClient, StoredGroup

from .areas import area
from .client_models import Group, GroupFields, GroupLine, LimitState, Name, NewGroup, Use, limits_of
from .clients import LONGEST_STOP, Stop, Stopped, aware, everybody, span_of

router = area("groups")


class GroupStats(BaseModel):
    """What the clients of a group used together. `month_usd`: by whoever was in it then; `clients`: each by itself, today."""

    today: Use
    month_usd: float
    span: Use | None
    limits: list[LimitState]
    clients: dict[str, Use]


@router.get("/groups", responses=documented())
def groups(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    removed: Annotated[bool, Query(description="Removed ones, too.")] = False,
) -> Page[GroupLine]:
    """Groups by name, with what their clients used today."""
    return listed(parts, paging, removed=removed)


@router.post("/groups", status_code=201, responses=documented(409))
def add(said: NewGroup, visitor: Administrator, response: Response, parts: Own) -> Group:
    """Add a group."""
    made = parts.clients.add_group(visitor.actor, said.name, said.values(parts))
    response.headers["Location"] = f"/api/groups/{said.name}"
    response.headers["ETag"] = etag(fields_of(made))
    return described(parts, made)


@router.get("/groups/{name}", responses=documented(404))
def group(name: Name, visitor: Reader, response: Response, parts: Own) -> Group:
    """One group."""
    found = parts.clients.group(name)
    response.headers["ETag"] = etag(fields_of(found))
    return described(parts, found)


@router.put("/groups/{name}", responses=documented(404, 409, 412, 428))
def edit(
    name: Name, said: GroupFields, visitor: Administrator, response: Response, parts: Own, seen: IfMatch = None
) -> Group:
    """Change a group: what is left out is as in a new one."""
    before = parts.clients.group(name)
    matched(seen, etag(fields_of(before)))
    values = said.values(parts, before.settings)
    if loosened(before.policy.limits, values["policy"].limits):
        confirm(visitor, parts)
    after = parts.clients.edit_group(visitor.actor, name, values, seen=before)
    response.headers["ETag"] = etag(fields_of(after))
    return described(parts, after)


@router.delete("/groups/{name}", status_code=204, responses=documented(404, 409))
def remove(name: Name, visitor: Administrator, parts: Own) -> Response:
    """Remove a group that has no clients any more. `restore` brings it back."""
    parts.clients.remove_group(visitor.actor, name)
    return Response(status_code=204)


@router.post("/groups/{name}/restore", responses=documented(404, 409))
def restore(name: Name, visitor: Administrator, parts: Own) -> Group:
    """Bring a removed group back."""
    return described(parts, parts.clients.restore_group(visitor.actor, name))


@router.post("/groups/{name}/enable", responses=documented(404, 409))
def enable(name: Name, visitor: Administrator, parts: Own) -> Group:
    """Serve its clients again."""
    return described(parts, parts.clients.edit_group(visitor.actor, name, {"enabled": True}, "enable"))


@router.post("/groups/{name}/disable", responses=documented(404, 409))
def disable(name: Name, visitor: Operator, parts: Own) -> Group:
    """Refuse its clients from now on; what runs goes on, unless it is stopped, too."""
    return described(parts, parts.clients.edit_group(visitor.actor, name, {"enabled": False}, "disable"))


@router.post("/groups/{name}/stop", responses=documented(404, 409))
def stop(name: Name, said: Stop, visitor: Operator, parts: Own) -> Stopped:
    """End what runs for each of its clients within a second. For a while nothing new begins."""
    parts.clients.group(name)
    lasts = min(span_of("for", said.lasts), LONGEST_STOP)
    for member in members(parts, name):
        parts.clients.stop(visitor.actor, member.name, said.session, lasts)
    return Stopped(until=iso(parts.clock() + lasts))


@router.get("/groups/{name}/stats", responses=documented(404))
def stats(name: Name, visitor: Reader, parts: Own, since: datetime | None = None) -> GroupStats:
    """What its clients used together, and how far its limits are used."""
    return stats_of(parts, parts.clients.group(name), since)


# -- what pages show, too


def listed(parts: Parts, paging: Any, *, removed: bool = False) -> Page[GroupLine]:
    """A part of the groups by name."""
    now, clients = parts.clock(), everybody(parts)
    fitting = [
        one
        for one in parts.clients.groups()
        if (removed or one.removed_at is None) and (paging.after is None or one.name > str(paging.after))
    ]
    uses = consumption.sums(parts.database, consumption.today())
    limits = limits_of(parts, [("group", one.name, one.policy) for one in fitting[: paging.limit]], now)

    def line(one: StoredGroup) -> GroupLine:
        within = [client for client in clients if client.group == one.name]
        used = [uses[client.name] for client in within if client.name in uses]
        return GroupLine(
            **_plain(one, within),
            today=Use.of(consumption.total(used) if used else None),
            limit_states=limits[("group", one.name)],
        )

    found: Page[GroupLine] = paging.page(fitting[: paging.limit + 1], lambda one: one.name, line)
    return found


def members(parts: Parts, name: str) -> list[StoredClient]:
    """The clients in it that are not removed, by name."""
    return [one for one in everybody(parts) if one.group == name and one.removed_at is None]


def described(parts: Parts, one: StoredGroup) -> Group:
    """As it may be told."""
    return Group(**_plain(one, members(parts, one.name)))


def fields_of(one: StoredGroup) -> dict[str, Any]:
    """What can be changed of it."""
    plain = descriptions.plain_group(one, ())
    return {name: plain[name] for name in GroupFields.model_fields} | {"removed_at": one.removed_at}


def stats_of(parts: Parts, one: StoredGroup, since: datetime | None = None) -> GroupStats:
    """What a group used."""
    names = [member.name for member in everybody(parts) if member.group == one.name]
    today = consumption.sums(parts.database, consumption.today())

    def together(at: datetime) -> Use:
        return Use.of(consumption.of_group(parts.database, at, names))

    at = aware(since)
    return GroupStats(
        today=Use.of(consumption.total([today[name] for name in names if name in today])),
        month_usd=consumption.of_group_in_all(parts.database, one.name, consumption.month()),
        span=None if at is None else together(at),
        limits=limits_of(parts, [("group", one.name, one.policy)], parts.clock())[("group", one.name)],
        clients={name: Use.of(today[name]) for name in names if name in today},
    )


def _plain(one: StoredGroup, within: list[StoredClient]) -> dict[str, Any]:
    return {"state": descriptions.group_state(one), **descriptions.plain_group(one, within)}
