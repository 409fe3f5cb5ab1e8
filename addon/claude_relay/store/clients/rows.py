"""Rows of the tables of clients as values.

    directory = read_directory(connection)         what relays go by
    stored = stored_clients(connection)            what may be told of each client, removed ones too

A row that cannot be read as what it should be costs no other: its client is not served. It must not know transactions.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from claude_relay.core.clients.credentials import Kind
from claude_relay.core.clients.directory import NOBODY, Client, Directory, Grant, Group, Stop
from claude_relay.core.clients.permissions import Policy, decode
from claude_relay.core.times import iso, seconds_of

GROUPS = "SELECT name, policy, enabled, settings, note, created_at, removed_at FROM client_groups ORDER BY name"
CLIENTS = """
    SELECT id, name, client_group, note, tags, owner, priority, policy, enabled, expires_at, expires_after, created_at,
        first_used_at, {last_used}, removed_at
    FROM clients {where} ORDER BY name"""
PANEL = "panel"
"""The id of the panel's own client (`internal`); those of others are hexadecimal."""
DIRECTORY = CLIENTS.format(last_used="last_used_at", where="")
# The column is written once a minute, so that a request costs less; the row of the latest request tells the rest.
LAST_USED = (
    "nullif(max(coalesce(last_used_at, ''), "
    "coalesce((SELECT max(started_at) FROM requests WHERE client = clients.name), '')), '')"
)
SHOWN = CLIENTS.format(last_used=LAST_USED, where="")
ONE = CLIENTS.format(last_used=LAST_USED, where="WHERE name = ?")
KEYS = "SELECT digest, client, valid_until FROM client_keys"
TOKENS = "SELECT digest, client, valid_until FROM client_tokens WHERE kind = 'access' AND valid_until > ?"
STOPS = "SELECT id, client, session, until FROM client_stops WHERE until > ? ORDER BY id"


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group as it may be told. Times are UTC ISO 8601."""

    name: str
    policy: Policy
    enabled: bool
    settings: str | None
    note: str
    created_at: str
    removed_at: str | None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of a client as it may be told. `valid_until` None: no end."""

    mask: str
    created_at: str
    valid_until: str | None


@dataclass(frozen=True, slots=True)
class StoredClient:
    """A client as it may be told. Times are UTC ISO 8601; `expires_after` is seconds after the first use."""

    id: str
    name: str
    group: str | None
    note: str
    tags: tuple[str, ...]
    owner: str
    priority: int
    policy: Policy
    enabled: bool
    expires_at: str | None
    expires_after: float | None
    created_at: str
    first_used_at: str | None
    last_used_at: str | None
    removed_at: str | None
    keys: tuple[StoredKey, ...] = ()

    @property
    def ends_at(self) -> float | None:
        """When it expires, seconds since the epoch; None: never, or not known before its first use."""
        ends = [seconds_of(self.expires_at)]
        if self.expires_after is not None and (first := seconds_of(self.first_used_at)) is not None:
            ends.append(first + self.expires_after)
        return min((end for end in ends if end is not None), default=None)


def stored_groups(connection: sqlite3.Connection) -> tuple[StoredGroup, ...]:
    """All groups, removed ones too, by name."""
    return tuple(
        StoredGroup(name, _policy(policy)[0], bool(enabled), *others)
        for name, policy, enabled, *others in connection.execute(GROUPS)
    )


def stored_clients(connection: sqlite3.Connection, name: str | None = None) -> tuple[StoredClient, ...]:
    """All clients but the panel's own, removed ones too, by name, each with its keys; or the one of that name."""
    keys: dict[str, list[StoredKey]] = {}
    for client, *key in connection.execute(
        "SELECT client, mask, created_at, valid_until FROM client_keys ORDER BY rowid"
    ):
        keys.setdefault(client, []).append(StoredKey(*key))
    rows = connection.execute(SHOWN) if name is None else connection.execute(ONE, [name])
    return tuple(_client(row, tuple(keys.get(row[0], ()))) for row in rows.fetchall() if row[0] != PANEL)


def read_directory(connection: sqlite3.Connection, now: float, before: Directory = NOBODY) -> Directory:
    """The clients and groups that are not removed, what they are known by, and the stops that hold at `now`.

    before  an earlier one: what has not changed since is the same object, so that all that is known of it by that stays known
    """
    groups = {
        name: _kept(before.groups.get(name), Group(name, policy, bool(enabled) and sound, settings, note))
        for name, text, enabled, settings, note, _, removed in connection.execute(GROUPS)
        if removed is None
        for policy, sound in (_policy(text),)
    }
    clients: dict[str, Client] = {}
    for row in connection.execute(DIRECTORY):
        stored, sound = _client(row), _policy(row[7])[1]
        if stored.removed_at is not None:
            continue
        group = groups.get(stored.group) if stored.group is not None else None
        client = Client(
            id=stored.id,
            name=stored.name,
            policy=stored.policy,
            group=group,
            priority=stored.priority,
            # A group that was removed held limits: without them nobody is served.
            enabled=stored.enabled and sound and (group is not None) == (stored.group is not None),
            expires_at=stored.ends_at,
            expires_after=stored.expires_after,
            note=stored.note,
            owner=stored.owner,
            tags=stored.tags,
        )
        clients[stored.id] = _kept(before.clients.get(stored.name), client)
    grants: dict[bytes, Grant] = {}
    for kind, sql, values in ((Kind.KEY, KEYS, []), (Kind.ACCESS, TOKENS, [iso(now)])):
        for digest, client, until in connection.execute(sql, values):
            if client in clients:
                key = bytes(digest)
                grants[key] = _kept(before.grants.get(key), Grant(clients[client], kind, seconds_of(until)))
    stops = tuple(Stop(*row) for row in connection.execute(STOPS, [now]))
    found = Directory({client.name: client for client in clients.values()}, groups, grants, stops)
    found.remember(before)
    return found


def _kept[T](before: T | None, now: T) -> T:
    return now if before is None or before != now else before


def _client(row: tuple[Any, ...], keys: tuple[StoredKey, ...] = ()) -> StoredClient:
    id, name, group, note, tags, owner, priority, policy, enabled, *others = row
    return StoredClient(
        id,
        name,
        group,
        note,
        _tags(tags),
        owner,
        priority,
        _policy(policy)[0],
        bool(enabled),
        *(*others, keys),
    )


def _policy(text: object) -> tuple[Policy, bool]:
    """A policy, and whether it could be read."""
    try:
        return decode(str(text)), True
    except ValueError:
        return Policy(), False


def _tags(text: object) -> tuple[str, ...]:
    if text == "[]":
        return ()
    try:
        found = json.loads(str(text))
    except ValueError:
        return ()
    return tuple(str(tag) for tag in found) if isinstance(found, list) else ()
