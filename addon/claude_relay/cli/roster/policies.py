"""Permissions and limits: from options, and as people read them.

changed(Policy(), {"models": ("claude-haiku-*",), "rpm": (True, Limit(…))})
lines(policy)            -> [("models", "claude-haiku-*"), ("limits", "60 requests/minute")]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import click

from claude_relay.cli.spending.cells import dollars
from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.permissions import Policy
from claude_relay.core.clients.spelling import USUAL

from .options import LISTS, SHORTHANDS

NOTHING: Mapping[Limit, float] = MappingProxyType({})
POLICY_OPTIONS = (*LISTS, *SHORTHANDS, "tunnel", "limits", "lifted")
POLICY_FIELDS = (*LISTS, "limits")
"""What can be emptied."""


def parted(said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a policy, and the others."""
    own = {name: value for name, value in said.items() if name in POLICY_OPTIONS}
    return own, {name: value for name, value in said.items() if name not in POLICY_OPTIONS}


def changed(policy: Policy, said: Mapping[str, Any], clear: tuple[str, ...] = ()) -> Policy:
    """The policy with what the options say. Lists are replaced, limits are added. Raises UsageError for a limit that is not there."""
    fields: dict[str, Any] = {name: () for name in clear if name in POLICY_FIELDS}
    fields |= {name: tuple(dict.fromkeys(said[name])) for name in LISTS if said.get(name)}
    if said.get("tunnel") is not None:
        fields["tunnel"] = said["tunnel"]
    limits = _limits(fields.pop("limits", policy.limits), said)
    return replace(policy, **fields, limits=limits)


def _limits(limits: tuple[Limit, ...], said: Mapping[str, Any]) -> tuple[Limit, ...]:
    found = {limit.place: limit for limit in limits}
    for limit in said.get("lifted", ()):
        if found.get(limit.place) != limit:
            there = ", ".join(f"'{one}'" for one in found.values()) or "none"
            raise click.UsageError(f"There is no limit '{limit}'; there are: {there}.")
        del found[limit.place]
    for wanted, limit in (said[name] for name in SHORTHANDS if said.get(name) is not None):
        if wanted:
            found[limit.place] = limit
        else:
            found.pop(limit.place, None)
    for limit in said.get("limits", ()):
        found[limit.place] = limit
    return tuple(found.values())


def lines(policy: Policy, used: Mapping[Limit, float] = NOTHING) -> list[tuple[str, str]]:
    """What it permits and limits; nothing where it does neither. `used`: of limits of money, in USD."""
    found = []
    for name in LISTS:
        values = [value or USUAL for value in getattr(policy, name)]
        if values:
            found.append((name.replace("_", " "), ", ".join(values)))
    if policy.tunnel:
        found.append(("tunnel", "other hosts are tunnelled for it from other machines"))
    found += [("limits" if n == 0 else "", _limit(limit, used)) for n, limit in enumerate(policy.limits)]
    return found


def grouped(policy: Policy, used: Mapping[Limit, float] = NOTHING) -> list[tuple[str, str]]:
    """As `lines`, with all limits in one."""
    found = [(name, value) for name, value in lines(policy) if name not in ("limits", "")]
    limits = "; ".join(_limit(limit, used) for limit in policy.limits)
    return found + ([("limits", limits)] if limits else [])


def _limit(limit: Limit, used: Mapping[Limit, float]) -> str:
    return f"{limit} ({dollars(used[limit])} used)" if used.get(limit) else str(limit)
