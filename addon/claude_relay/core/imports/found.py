"""What is found in an export: clients, groups, credentials, and what of it cannot be taken over, in words.

    Found(clients=(NewClient("alice", policy=Policy(limits=(parse("$20/day"),))),))

It must not know files, nor what becomes of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from claude_relay.core.clients.directory import ANYTHING
from claude_relay.core.clients.limits import Limit
from claude_relay.core.clients.permissions import Policy

NAMELESS = "client"
LONGEST = 64
MASKED_FROM = 20


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client to add, with a new key.

    expires_at     UTC ISO 8601; expires_after: seconds after its first use
    was            what it was known by there: a mask or an id, never a key
    notes          what cannot be taken over, one sentence each
    """

    name: str
    group: str | None = None
    note: str = ""
    tags: tuple[str, ...] = ()
    owner: str = ""
    priority: int = 1
    policy: Policy = ANYTHING
    enabled: bool = True
    expires_at: str | None = None
    expires_after: float | None = None
    was: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewGroup:
    """A group to add, where there is none of its name."""

    name: str
    policy: Policy = ANYTHING
    note: str = ""
    enabled: bool = True
    settings: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credential:
    """A key of a provider.

    where     line or entry, for complaints
    base_url  where it is used, by which its provider here is found; may be empty
    fields    as the vault's keys have them: label, weight, enabled, proxy, limits
    """

    where: str
    secret: str = field(repr=False)
    base_url: str = ""
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """All of an export. `notes`: what concerns none of them alone."""

    clients: tuple[NewClient, ...] = ()
    groups: tuple[NewGroup, ...] = ()
    credentials: tuple[Credential, ...] = ()
    notes: tuple[str, ...] = ()


class Names:
    """Names as clients may have them, each given once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, wanted: object, otherwise: str = NAMELESS) -> str:
        """The nearest to `wanted`: letters, digits and . _ @ + -, at most 64."""
        plain = unicodedata.normalize("NFKD", str(wanted or "").strip())
        text = re.sub(r"[^A-Za-z0-9._@+-]+", "-", re.sub(r"[\u0300-\u036f]", "", plain)).strip("-._@+")
        base = text[:LONGEST].rstrip("-") or otherwise
        name, number = base, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{base[: LONGEST - 6]}-{number}"
        self._taken.add(name.lower())
        return name


def masked(secret: object) -> str:
    """What a client was known by, without what it could be used with."""
    text = str(secret or "")
    if "…" in text or "..." in text or "*" in text:  # a mask already
        return text
    return "…" + text[-4:] if len(text) >= MASKED_FROM else "…" if text else ""


def only_once(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """Where two say the same of the same, the tighter one."""
    found: dict[tuple[object, ...], Limit] = {}
    for limit in limits:
        place = (limit.measure, limit.per, limit.model, limit.scope)
        if place not in found or limit.amount < found[place].amount:
            found[place] = limit
    return tuple(found.values())
