"""`/api/sessions`: conversations of clients, those used last first; one with its agents as a tree, each with its spend."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query
from pydantic import BaseModel

from claude_relay.core.times import seconds_of
from claude_relay.panel.api.areas import area
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.problems import Problem, documented
from claude_relay.panel.security.visitors import Reader
from claude_relay.store.ledger import conversations
from claude_relay.store.ledger.conversations import Agent
from claude_relay.store.ledger.lookups import Session

router = area("sessions")
LIVE: Final = 300.0
"""Seconds since its last request for which somebody counts as at work: as long as a prompt cache lives."""


class SessionLine(BaseModel):
    """A session. `live`: it was used within the last five minutes."""

    session: Session
    live: bool


class AgentNode(BaseModel):
    """An agent, and those that came from it. `cost_usd` of the whole: its own and theirs."""

    agent: Agent
    live: bool
    cost_usd: float | None
    children: list[AgentNode]


class OneSession(BaseModel):
    """A session with its agents; the first of them is the main one, if that asked anything itself."""

    session: Session
    live: bool
    agents: list[AgentNode]


@router.get("/sessions", responses=documented())
def sessions(
    visitor: Reader,
    parts: Own,
    paging: Paging,
    client: Annotated[str | None, Query(max_length=200)] = None,
    project: Annotated[str | None, Query(max_length=255)] = None,
) -> Page[SessionLine]:
    """Sessions, those used last first, each with all it used."""
    return page(parts, paging, client or None, project or None)


@router.get("/sessions/{id}", responses=documented(404))
def session(id: str, visitor: Reader, parts: Own) -> OneSession:
    """One session, with its agents as a tree."""
    return one(parts, id)


def page(parts: Parts, paging: Wanted, client: str | None = None, project: str | None = None) -> Page[SessionLine]:
    """A page of them."""
    after = paging.after
    if after is not None and not (isinstance(after, list) and [type(part) for part in after] == [str, str]):
        raise Problem(400, "cursor", "`after` is none that a page has given as `next`.")
    place = (after[0], after[1]) if after is not None else None
    with parts.ledger() as connection:
        rows = conversations.latest(connection, after=place, limit=paging.limit + 1, client=client, project=project)
    now = parts.clock()
    return paging.page(
        rows, lambda row: [row.last, row.id], lambda row: SessionLine(session=row, live=is_live(row.last, now))
    )


def one(parts: Parts, id: str) -> OneSession:
    """Raises Problem."""
    with parts.ledger() as connection:
        found = conversations.conversation(connection, id)
    if found is None:
        raise Problem(404, "not_found", "There is no such session.")
    now = parts.clock()
    return OneSession(session=found.session, live=is_live(found.session.last, now), agents=tree(found.agents, now))


def tree(agents: tuple[Agent, ...], now: float) -> list[AgentNode]:
    """The main agent, then those that came from it, each with those below it. Which of its sub-agents sent another one is not known."""
    known = {agent.id for agent in agents}
    below: dict[str | None, list[Agent]] = {}
    for agent in agents:
        if agent.id is not None:
            root = agent.tree if agent.tree in known and agent.tree != agent.id else None
            below.setdefault(root, []).append(agent)

    def node(agent: Agent, children: list[AgentNode]) -> AgentNode:
        costs = [cost for cost in (agent.cost_usd, *(child.cost_usd for child in children)) if cost is not None]
        return AgentNode(
            agent=agent, live=is_live(agent.last, now), cost_usd=sum(costs) if costs else None, children=children
        )

    roots = [node(root, [node(agent, []) for agent in below.get(root.id, [])]) for root in below.get(None, [])]
    main = next((agent for agent in agents if agent.id is None), None)
    return [node(main, roots)] if main is not None else roots


def is_live(last: str, now: float) -> bool:
    """Whether somebody is at work."""
    at = seconds_of(last)
    return at is not None and now - at < LIVE
