"""Which limits hold for a request, and by which key what is used of each is known.

    for bound in Demands().of(client, "claude-opus-4-5", session="6f…", tree=None): ...
    bound.limit, bound.kind, bound.owner, bound.key

Client and group: all of both hold. A client that has one limit twice with different amounts has the smaller one. The key does not
hold the amount: after an edit what is used stays used. It must not know what is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from claude_relay.core.routing.routes import fits

from .directory import Client
from .limits import Limit
from .permissions import Policy

LONGEST = 64
"""Characters of a session's or agent's id that stand in a key as they are; clients choose them."""
MOST = 20_000
"""Clients whose limits are remembered; of requests that are different, too."""

type Owner = Literal["client", "group"]


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit for one subject: all of a client's or group's requests, those of a session, or of an agent with its sub-agents.

    owner    name of the client or group
    key      what its state is kept by, here and in the database
    session  None where the limit is not of a session or agent; empty: of requests that name none
    tree     the agent's root; None where the limit is not of an agent; empty: the main agent
    """

    limit: Limit
    kind: Owner
    owner: str
    key: str
    session: str | None = None
    tree: str | None = None


class Weight(msgspec.Struct, frozen=True, gc=False):
    """What a request weighs beside being one. `tokens` 0: it uses none; `runs`: it takes one of the concurrent places, and money."""

    tokens: int = 0
    runs: bool = True


class Demands:
    """Finds the limits of requests."""

    def __init__(self) -> None:
        self._templates: dict[str, tuple[Client, tuple[Bound, ...]]] = {}

    def of(self, client: Client, model: str, session: str | None, tree: str | None) -> tuple[Bound, ...]:
        """Some microseconds. `tree`: None for the main agent."""
        return tuple(
            self.narrowed(bound, session, tree)
            for bound in self.templates(client)
            if bound.limit.model is None or fits(bound.limit.model, model)
        )

    @staticmethod
    def narrowed(bound: Bound, session: str | None, tree: str | None) -> Bound:
        """A limit as it holds in a session and for an agent. None: the session has no name; the main agent."""
        return bound if bound.limit.scope == "all" else _narrowed(bound, session, tree)

    def templates(self, client: Client) -> tuple[Bound, ...]:
        """All limits of a client and its group, without sessions."""
        found = self._templates.get(client.id)
        if found is None or found[0] is not client:
            if len(self._templates) >= MOST:
                self._templates.clear()
            found = self._templates[client.id] = client, tuple(_templates(client))
        return found[1]


def _templates(client: Client) -> Iterator[Bound]:
    yield from bounds_of("client", client.name, client.policy)
    if client.group is not None:
        yield from bounds_of("group", client.group.name, client.group.policy)


def bounds_of(kind: Owner, owner: str, policy: Policy) -> Iterator[Bound]:
    """The limits of one client or group, without sessions."""
    smallest: dict[str, Limit] = {}
    for limit in policy.limits:
        key = f"{kind}:{owner} {limit.measure}/{limit.per} {limit.scope} {limit.model or '*'}"
        if key not in smallest or limit.amount < smallest[key].amount:
            smallest[key] = limit
    for key, limit in smallest.items():
        yield Bound(limit, kind, owner, key)


def _narrowed(bound: Bound, session: str | None, tree: str | None) -> Bound:
    named = storable(session or "")
    if bound.limit.scope == "session":
        return Bound(bound.limit, bound.kind, bound.owner, f"{bound.key} {_short(named)}", named)
    root = storable(tree or "")
    return Bound(bound.limit, bound.kind, bound.owner, f"{bound.key} {_short(named)} {_short(root)}", named, root)


def storable(text: str) -> str:
    """As the ledger has it: what clients call their sessions may hold halves of characters."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _short(text: str) -> str:
    if len(text) <= LONGEST and text.isascii():
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:32]
