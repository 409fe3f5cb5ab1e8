"""Clients and groups as `scripts/clients export` writes them: JSON, or CSV for clients alone.

    {"clients": [{"name": "alice", "group": "team", "limits": ["$20/day"], …}], "groups": [{"name": "team", …}]}

Lists are texts with semicolons between in CSV. Keys are in neither. It must not know the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_relay.core.clients.limits import parse
from claude_relay.core.clients.permissions import ENDPOINTS, Policy

from .found import Found, NewClient, NewGroup
from .loose import flag, mapping, mappings, moment, networks, number, text

LISTS = ("providers", "models", "key_tiers", "key_groups", "endpoints", "addresses", "programs")
FIELDS = (
    "name", "group", "note", "tags", "owner", "priority", "enabled", "expires_at", "expires_after", *LISTS, "tunnel", "limits",
)  # fmt: skip
GROUP_FIELDS = ("name", "note", "enabled", "settings", *LISTS, "tunnel", "limits")
"""What is written of each."""


def clients(document: object) -> Found:
    """Raises ValueError, naming the client, for what cannot be read: an own file has no reason to hold it."""
    outer = mapping(document)
    items = list(mappings(document)) or list(mappings(outer.get("clients")))
    groups = list(mappings(outer.get("groups")))
    if not items and not groups:
        raise ValueError(
            'there are no clients in it; for another gateway\'s export say --from, or write {"clients": [{"name": …}]}'
        )
    return Found(
        tuple(_client(item, f"client {n}") for n, item in enumerate(items, 1)),
        tuple(_group(item, f"group {n}") for n, item in enumerate(groups, 1)),
    )


def _client(item: Mapping[str, Any], where: str) -> NewClient:
    name = _name(item, where)
    priority = int(number(item.get("priority")) or 1)
    if not 1 <= priority <= 100:
        raise ValueError(f"{name}: priority is 1 to 100")
    expires = item.get("expires_at") or None
    if expires is not None and moment(expires) is None:
        raise ValueError(f"{name}: expires_at is a date such as 2026-12-31T00:00:00Z")
    return NewClient(
        name,
        group=text(item.get("group")) or None,
        note=text(item.get("note")),
        tags=_list(item.get("tags")),
        owner=text(item.get("owner")),
        priority=priority,
        policy=_policy(item, name),
        enabled=flag(item.get("enabled", True), True),
        expires_at=moment(expires) if expires is not None else None,
        expires_after=number(item.get("expires_after")),
    )


def _group(item: Mapping[str, Any], where: str) -> NewGroup:
    name = _name(item, where)
    return NewGroup(
        name,
        policy=_policy(item, name),
        note=text(item.get("note")),
        enabled=flag(item.get("enabled", True), True),
        settings=text(item.get("settings")) or None,
    )


def _name(item: Mapping[str, Any], where: str) -> str:
    name = text(item.get("name"))
    if not name:
        raise ValueError(f"{where} has no name")
    return name


def _policy(item: Mapping[str, Any], name: str) -> Policy:
    lists = {field: _list(item.get(field)) for field in LISTS}
    if unknown := [one for one in lists["endpoints"] if one not in ENDPOINTS]:
        raise ValueError(f"{name}: there is no endpoint {unknown[0]!r}; there are {', '.join(ENDPOINTS)}")
    lists["addresses"], bad = networks(list(lists["addresses"]))
    if bad:
        raise ValueError(f"{name}: {bad[0]!r} is no address or network")
    lists["key_tiers"] = tuple("" if one == "usual" else one for one in lists["key_tiers"])
    try:
        limits = tuple(parse(one) for one in _list(item.get("limits")))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return Policy(**lists, tunnel=flag(item.get("tunnel")), limits=limits)


def _list(value: object) -> tuple[str, ...]:
    found = value.split(";") if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(dict.fromkeys(one for item in found if (one := text(item))))
