"""What the command palette finds: providers, ways out, keys, accounts, clients and groups by name; requests and sessions by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel

from claude_relay.core.exchange import OAUTH
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.vault.accounts import Accounts

from .areas import area
from .clients import everybody
from .proxies import known, row_of

router = area("search")
MOST = 20
"""Found of each kind at most."""
LONG_ENOUGH = 4
"""Characters of an id from which on it is looked for."""


class Found(BaseModel):
    """One thing. `path`: of its page."""

    kind: str
    name: str
    note: str
    path: str


class Results(BaseModel):
    """All that fits."""

    data: list[Found]


@router.get("/search", responses=documented())
def search(
    visitor: Reader,
    parts: Own,
    q: Annotated[str, Query(max_length=100, description="Part of a name, or how an id begins.")] = "",
) -> Results:
    """By part of a name, in any case of letters."""
    word = q.strip().lower()
    return Results(data=list(_found(parts, word)) if word else [])


def _found(parts: Parts, word: str) -> Iterator[Found]:
    names = [name for name in parts.in_force().providers if word in name.lower()]
    yield from (Found(kind="provider", name=name, note="", path=f"/providers#{name}") for name in names[:MOST])
    ways = [one for one in known(parts).every() if word in f"{one.name} {one.address}".lower()]
    yield from (
        Found(kind="proxy", name=one.name, note=one.address, path=f"/proxies#proxy-{row_of(one)}")
        for one in ways[:MOST]
    )
    accounts = [one for one in Accounts(parts.vault(None)).list() if one.removed_at is None]
    mine = [one for one in accounts if word in f"{one.name} {one.label} {one.account}".lower()]
    for account in mine[:MOST]:
        name, path = account.account or account.name, f"/accounts#account-{account.id}"
        yield Found(kind="account", name=name, note=account.label, path=path)
    keys = [key for key in parts.vault(None).list() if key.removed_at is None and key.kind != OAUTH]
    near = [key for key in keys if word in f"{key.provider}/{key.alias} {key.label}".lower()]
    for key in near[:MOST]:
        yield Found(kind="key", name=f"{key.provider}/{key.alias}", note=key.label, path=f"/keys/{key.id}")
    clients = [one for one in everybody(parts) if one.removed_at is None and word in one.name.lower()]
    for one in clients[:MOST]:
        yield Found(kind="client", name=one.name, note=one.group or "", path=f"/clients/{one.name}")
    groups = [one for one in parts.clients.groups() if one.removed_at is None and word in one.name.lower()]
    for group in groups[:MOST]:
        yield Found(kind="group", name=group.name, note="", path=f"/clients/groups/{group.name}")
    if len(word) >= LONG_ENOUGH:
        yield from _by_id(parts, word)


def _by_id(parts: Parts, word: str) -> Iterator[Found]:
    """By the indices of the ledger: a text from `word` up to the first that does not begin with it."""
    last = word + "\U0010ffff"
    try:
        with parts.ledger() as connection:
            sql = "SELECT id, served_model, status FROM requests WHERE id >= ? AND id < ? LIMIT 5"
            for id, model, status in connection.execute(sql, [word, last]):
                yield Found(
                    kind="request", name=id, note=f"{model or ''} {status or ''}".strip(), path=f"/requests/{id}"
                )
            sql = "SELECT DISTINCT session FROM requests WHERE session >= ? AND session < ? LIMIT 5"
            for (session,) in connection.execute(sql, [word, last]):
                yield Found(kind="session", name=session, note="", path=f"/sessions/{session}")
    except MissingDatabase:
        return
