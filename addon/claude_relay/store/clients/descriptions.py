"""What is told of clients and groups: their state in a word, and documents as JSON has them. No key is in them.

    state(client, groups, now)            "enabled", "disabled", "expired", "group disabled" or "removed"
    plain(client, groups, now)            {"name": "alice", "state": "enabled", "limits": ["$20/day"], …}

It must not know who is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from claude_relay.core.clients import permissions
from claude_relay.store.ledger.lines import Line

from .rows import StoredClient, StoredGroup

ENABLED: Final = "enabled"
DISABLED: Final = "disabled"
EXPIRED: Final = "expired"
REMOVED: Final = "removed"
GROUP_OFF: Final = "group disabled"


def state(client: StoredClient, groups: Mapping[str, StoredGroup], now: float) -> str:
    """In one word, the weightiest."""
    group = groups.get(client.group or "")
    ends = client.ends_at
    if client.removed_at is not None:
        return REMOVED
    if not client.enabled:
        return DISABLED
    if ends is not None and ends <= now:
        return EXPIRED
    if group is not None and (not group.enabled or group.removed_at is not None):
        return GROUP_OFF
    return ENABLED


def group_state(group: StoredGroup) -> str:
    """The same of a group."""
    return REMOVED if group.removed_at is not None else ENABLED if group.enabled else DISABLED


def plain(client: StoredClient, groups: Mapping[str, StoredGroup], now: float) -> dict[str, Any]:
    """A client as JSON has it."""
    return {
        "name": client.name,
        "state": state(client, groups, now),
        "group": client.group,
        "note": client.note,
        "tags": list(client.tags),
        "owner": client.owner,
        "priority": client.priority,
        "enabled": client.enabled,
        "expires_at": client.expires_at,
        "expires_after": client.expires_after,
        **permissions.plain(client.policy),
        "keys": [
            {"mask": key.mask, "created_at": key.created_at, "valid_until": key.valid_until} for key in client.keys
        ],
        "created_at": client.created_at,
        "first_used_at": client.first_used_at,
        "last_used_at": client.last_used_at,
        "removed_at": client.removed_at,
    }


def plain_group(group: StoredGroup, members: Sequence[StoredClient]) -> dict[str, Any]:
    """A group as JSON has it."""
    return {
        "name": group.name,
        "note": group.note,
        "enabled": group.enabled,
        "settings": group.settings,
        **permissions.plain(group.policy),
        "clients": [client.name for client in members if client.removed_at is None],
        "created_at": group.created_at,
        "removed_at": group.removed_at,
    }


def use(line: Line | None) -> dict[str, Any]:
    """What was used, as JSON has it."""
    names = (
        "requests",
        "errors",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "cost_usd",
    )
    return {name: getattr(line, name) if line else 0 for name in names}
