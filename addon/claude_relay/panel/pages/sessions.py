"""/sessions: conversations, those used last first; /sessions/{id}: one, with its agents as a tree, and what each spends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from claude_relay.panel.api import requests as requests_api
from claude_relay.panel.api import sessions as api
from claude_relay.panel.api.sessions import AgentNode
from claude_relay.panel.common.paging import Page, Paging, Wanted
from claude_relay.panel.common.parts import Own
from claude_relay.store.clients.book import ClientError
from claude_relay.store.db.database import MissingDatabase
from claude_relay.store.ledger import request_pages
from claude_relay.store.ledger.filters import Only

from .addresses import address
from .shell import N_, PageReader, pages, render

router = pages()


@router.get("/sessions")
def sessions(
    request: Request,
    visitor: PageReader,
    parts: Own,
    paging: Paging,
    client: Annotated[str | None, Query(max_length=200)] = None,
    project: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """The list."""
    try:
        found = api.page(parts, paging, client or None, project or None)
    except MissingDatabase:
        found = Page(data=[])
    context: dict[str, Any] = {
        "page": found,
        "client": client or "",
        "project": project or "",
        "newest": paging.after is None,
        "first_page": address(request, after=None),
    }
    return render(request, visitor, "sessions.html", title=N_("Sessions"), **context)


@router.get("/sessions/{id}")
def session(id: str, request: Request, visitor: PageReader, parts: Own) -> Response:
    """One."""
    found = api.one(parts, id)
    newest = requests_api.page(parts, Wanted(20), request_pages.Wanted(Only(session=id)))
    stoppable = None
    if found.session.client is not None:
        try:
            stoppable = parts.clients.client(found.session.client).name
        except ClientError:
            stoppable = None
    context: dict[str, Any] = {
        "found": found,
        "session": found.session,
        "rows": list(flat(found.agents)),
        "newest": newest.data,
        "stoppable": stoppable,
    }
    return render(request, visitor, "session.html", title=N_("Session"), **context)


def flat(nodes: Sequence[AgentNode], depth: int = 0) -> Iterator[tuple[int, AgentNode]]:
    """Each with how deep it stands."""
    for node in nodes:
        yield depth, node
        yield from flat(node.children, depth + 1)
