"""Client keys: who has one, what they may do, how far their limits are used. `/api/clients`, and who signs in: `/api/sign-ins`.

A key is in the answer to who made it, once, and nowhere afterwards. To remove a limit, to raise one, or to give a key, takes the password
once more. `groups` has the same for groups.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, Field

from claude_relay.core.clients import setup
from claude_relay.core.clients.limits import loosened
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.shells import SHELLS
from claude_relay.core.times import DAY, iso
from claude_relay.panel.common.models import Strict
from claude_relay.panel.common.paging import Page, Paging
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import FieldError, Problem, documented, sentence
from claude_relay.panel.common.versions import IfMatch, etag, matched
from claude_relay.panel.security.visitors import Administrator, Confirmed, Operator, Reader, confirm
from claude_relay.store.clients import approvals, consumption, descriptions
from claude_relay.store.clients.book import STOPPED
from claude_relay.store.clients.rows import StoredClient, StoredGroup
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger.lookups import sessions_of_client

from .areas import area
from .client_models import Client, ClientFields, ClientLine, LimitState, Name, NewClient, Span, Use, length, limits_of

router = area("clients")
SESSIONS = 50
LONGEST_STOP = 30 * DAY

type State = Literal["enabled", "disabled", "expired", "group disabled", "removed"]


class Setup(BaseModel):
    """What a client's person needs. `lines`: for a shell, by its kind; `hints`: what keeps others from coming in."""

    base_url: str | None
    proxy: str | None
    lines: dict[str, str]
    hints: list[str]


class Made(Client):
    """A client with a new key. `key` is shown this once."""

    key: str
    setup: Setup | None


class Rotation(Strict):
    """`overlap`: so long the old key is valid still; 0: not at all, and sign-ins end."""

    overlap: Span = "24h"


class Stop(Strict):
    """`session`: only this one; `for`: so long nothing new begins."""

    session: str | None = Field(None, max_length=500)
    lasts: Span = Field(f"{STOPPED:.0f}s", alias="for")


class Stopped(BaseModel):
    """Until when nothing new begins."""

    until: str


class SessionUse(BaseModel):
    """A session of a client, with what it used within the last day. Times are UTC ISO 8601."""

    id: str
    project: str | None
    first: str
    last: str
    requests: int
    errors: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class Stats(BaseModel):
    """What a client used. `span`: since the time that was given; `limits`: its own and its group's."""

    today: Use
    month: Use
    span: Use | None
    limits: list[LimitState]
    sessions: list[SessionUse]


class Approval(Strict):
    """`code`: what the person sees in Claude Code; `client`: who it is."""

    code: str = Field(min_length=1, max_length=64)
    client: Name


class Denial(Strict):
    """`code`: what the person sees in Claude Code."""

    code: str = Field(min_length=1, max_length=64)


class Decided(BaseModel):
    """The code, as it is written."""

    code: str


@router.get("/clients", responses=documented())
def clients(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    group: Annotated[str | None, Query(max_length=64)] = None,
    tag: Annotated[str | None, Query(max_length=500)] = None,
    state: State | None = None,
    q: Annotated[str | None, Query(max_length=200, description="A part of the name, note, tag or owner.")] = None,
    removed: Annotated[bool, Query(description="Removed ones, too.")] = False,
) -> Page[ClientLine]:
    """Clients by name, with what they used today."""
    return listed(parts, paging, group=group, tag=tag, state=state, q=q, removed=removed)


@router.post("/clients", status_code=201, responses=documented(409))
def add(said: NewClient, visitor: Confirmed, response: Response, parts: Own) -> Made:
    """Add a client. The answer has its key, this once."""
    made = parts.clients.add(visitor.actor, said.name, said.values(parts))
    response.headers["Location"] = f"/api/clients/{said.name}"
    return _made(parts, made.client, made.key)


@router.get("/clients/{name}", responses=documented(404))
def client(name: Name, visitor: Reader, response: Response, parts: Own) -> Client:
    """One client."""
    found = parts.clients.client(name)
    response.headers["ETag"] = etag(fields_of(found))
    return described(parts, found)


@router.put("/clients/{name}", responses=documented(404, 409, 412, 428))
def edit(
    name: Name, said: ClientFields, visitor: Administrator, response: Response, parts: Own, seen: IfMatch = None
) -> Client:
    """Change a client: what is left out is as in a new one."""
    before = parts.clients.client(name)
    matched(seen, etag(fields_of(before)))
    values = said.values(parts, before.expires_at)
    if loosened(before.policy.limits, values["policy"].limits) or _leaves_limits(parts, before.group, values["group"]):
        confirm(visitor, parts)
    after = parts.clients.edit(visitor.actor, name, values, seen=before)
    response.headers["ETag"] = etag(fields_of(after))
    return described(parts, after)


@router.delete("/clients/{name}", status_code=204, responses=documented(404, 409))
def remove(name: Name, visitor: Administrator, parts: Own) -> Response:
    """Remove a client: its keys are refused, its name and history stay. `restore` brings it back."""
    parts.clients.remove(visitor.actor, name)
    return Response(status_code=204)


@router.post("/clients/{name}/restore", responses=documented(404, 409))
def restore(name: Name, visitor: Administrator, parts: Own) -> Client:
    """Bring a removed client back, with the keys that it had."""
    return described(parts, parts.clients.restore(visitor.actor, name))


@router.post("/clients/{name}/enable", responses=documented(404, 409))
def enable(name: Name, visitor: Administrator, parts: Own) -> Client:
    """Serve it again."""
    return described(parts, parts.clients.edit(visitor.actor, name, {"enabled": True}, "enable"))


@router.post("/clients/{name}/disable", responses=documented(404, 409))
def disable(name: Name, visitor: Operator, parts: Own) -> Client:
    """Refuse it from now on; what runs goes on, unless it is stopped, too."""
    return described(parts, parts.clients.edit(visitor.actor, name, {"enabled": False}, "disable"))


@router.post("/clients/{name}/rotate", responses=documented(404, 409))
def rotate(name: Name, said: Rotation, visitor: Confirmed, parts: Own) -> Made:
    """Give it a new key, which is in the answer this once."""
    overlap = 0.0 if str(said.overlap) in ("0", "0.0", "0s") else span_of("overlap", said.overlap)
    made = parts.clients.rotate(visitor.actor, name, overlap)
    return _made(parts, made.client, made.key)


@router.post("/clients/{name}/stop", responses=documented(404, 409))
def stop(name: Name, said: Stop, visitor: Operator, parts: Own) -> Stopped:
    """End what runs for it within a second: streams get an error event. For a while nothing new begins."""
    lasts = min(span_of("for", said.lasts), LONGEST_STOP)
    parts.clients.stop(visitor.actor, name, said.session, lasts)
    return Stopped(until=iso(parts.clock() + lasts))


@router.get("/clients/{name}/stats", responses=documented(404))
def stats(name: Name, visitor: Reader, parts: Own, since: datetime | None = None) -> Stats:
    """What it used, how far its limits are used, and its sessions of the last day."""
    return stats_of(parts, parts.clients.client(name), since)


@router.post("/sign-ins/approve", responses=documented(404, 409))
def approve(said: Approval, visitor: Administrator, parts: Own) -> Decided:
    """Let somebody who signs in with Claude Code become a client. Approve only a code that the person has told you."""
    return Decided(code=approvals.approve(parts.database, visitor.actor, said.code, said.client))


@router.post("/sign-ins/deny", responses=documented(404, 409))
def deny(said: Denial, visitor: Administrator, parts: Own) -> Decided:
    """Let a sign-in come to nothing."""
    return Decided(code=approvals.deny(parts.database, visitor.actor, said.code))


# -- what pages show, too


def listed(
    parts: Parts,
    paging: Any,
    *,
    group: str | None = None,
    tag: str | None = None,
    state: str | None = None,
    q: str | None = None,
    removed: bool = False,
) -> Page[ClientLine]:
    """A part of the clients by name."""
    now, groups = parts.clock(), groups_of(parts)
    word = (q or "").strip().lower()
    fitting = [
        one
        for one in parts.clients.clients()
        if (removed or state == descriptions.REMOVED or one.removed_at is None)
        and group in (None, "", one.group)
        and (not tag or tag in one.tags)
        and (not state or descriptions.state(one, groups, now) == state)
        and (not word or any(word in text.lower() for text in (one.name, one.note, one.owner, *one.tags)))
        and (paging.after is None or one.name > str(paging.after))
    ]
    shown = fitting[: paging.limit]
    uses = consumption.sums(parts.database, consumption.today())
    limits = limits_of(parts, [("client", one.name, one.policy) for one in shown], now)

    def line(one: StoredClient) -> ClientLine:
        return ClientLine(
            **descriptions.plain(one, groups, now),
            today=Use.of(uses.get(one.name)),
            limit_states=limits[("client", one.name)],
        )

    found: Page[ClientLine] = paging.page(fitting[: paging.limit + 1], lambda one: one.name, line)
    return found


def everybody(parts: Parts) -> tuple[StoredClient, ...]:
    """All clients, removed ones too, read anew when any has changed: when they were used last may be later than it says."""
    generation, kept = parts.clients.changed(), parts.last.get("clients")
    if kept is None or kept[0] != generation:
        kept = parts.last["clients"] = generation, parts.clients.clients()
    found: tuple[StoredClient, ...] = kept[1]
    return found


def groups_of(parts: Parts) -> dict[str, StoredGroup]:
    """All of them by name, removed ones too."""
    return {one.name: one for one in parts.clients.groups()}


def described(parts: Parts, one: StoredClient) -> Client:
    """As it may be told."""
    return Client(**descriptions.plain(one, groups_of(parts), parts.clock()))


def fields_of(one: StoredClient) -> dict[str, Any]:
    """What can be changed of it, and so what two may change at the same time."""
    plain = descriptions.plain(one, {}, 0.0)
    return {name: plain[name] for name in ClientFields.model_fields} | {"removed_at": one.removed_at}


def stats_of(parts: Parts, one: StoredClient, since: datetime | None = None) -> Stats:
    """What a client used."""
    now = parts.clock()
    group = groups_of(parts).get(one.group or "")
    owners: list[tuple[Any, str, Policy]] = [("client", one.name, one.policy)]
    owners += [("group", group.name, group.policy)] if group is not None else []
    limits = limits_of(parts, owners, now)
    spans = {"today": consumption.today(), "month": consumption.month(), "span": aware(since)}
    uses = {
        name: Use.of(consumption.sums(parts.database, at, one.name).get(one.name))
        for name, at in spans.items()
        if at is not None
    }
    return Stats(
        today=uses["today"],
        month=uses["month"],
        span=uses.get("span"),
        limits=[state for every in limits.values() for state in every],
        sessions=sessions(parts, one.name),
    )


def sessions(parts: Parts, name: str) -> list[SessionUse]:
    """Those of the last day, the latest first."""
    since = datetime.fromtimestamp(parts.clock(), UTC) - timedelta(days=1)
    try:
        with parts.ledger() as connection:
            found = sessions_of_client(connection, name, since, SESSIONS)
    except MissingDatabase:
        return []
    return [SessionUse(**{field: getattr(one, field) for field in SessionUse.model_fields}) for one in found]


def setup_of(parts: Parts, name: str, models: Iterable[str], key: str | None) -> Setup | None:
    """What its person needs, by the relay that runs here, else by relay.yaml. None: there is no way in."""
    said = next((row for row in parts.relays() if row.host == socket.gethostname()), None)
    running: Mapping[str, str | None] | None = None if said is None else json.loads(said.listeners)
    try:
        where = setup.places(parts.config.listen, running, host=None, own=socket.gethostname())
    except ValueError:
        return None
    return Setup(
        base_url=where.base_url,
        proxy=where.proxy,
        lines={shell: "\n".join(setup.lines(name, tuple(models), key, where, shell)) for shell in SHELLS},
        hints=[sentence(hint) for hint in where.hints],
    )


def span_of(field: str, said: str | float) -> float:
    """A length of time in seconds. Raises Problem 422."""
    try:
        return length(str(said))
    except ValueError as error:
        raise Problem(422, "invalid", f"{error}.", errors=[FieldError(field=field, detail=f"{error}.")]) from None


def _made(parts: Parts, one: StoredClient, key: str) -> Made:
    return Made(**described(parts, one).model_dump(), key=key, setup=setup_of(parts, one.name, one.policy.models, key))


def _leaves_limits(parts: Parts, before: str | None, after: str | None) -> bool:
    """Whether a client that changes its group has fewer limits afterwards."""
    if before is None or before == after:
        return False
    groups = groups_of(parts)
    now = groups[after].policy.limits if after in groups else ()
    return before in groups and bool(loosened(groups[before].policy.limits, now))


def aware(since: datetime | None) -> datetime | None:
    """In this machine's time zone where it names none."""
    return since.astimezone() if since is not None and since.tzinfo is None else since
