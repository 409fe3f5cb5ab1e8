"""/clients, /clients/groups and one of them: who has a client key, what is used of the limits; sessions, forms, a stop."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from claude_relay.core.clients.permissions import ENDPOINTS
from claude_relay.core.keys.selection import TIERS
from claude_relay.core.times import iso, length
from claude_relay.panel.api import clients as api
from claude_relay.panel.api import groups as api_of_groups
from claude_relay.panel.api.audit import listed as acts
from claude_relay.panel.api.client_models import LimitState
from claude_relay.panel.common.paging import Paging, Wanted
from claude_relay.panel.common.parts import Own, Parts
from claude_relay.panel.common.versions import etag
from claude_relay.store.clients import internal
from claude_relay.store.clients.book import ClientError

from .shell import N_, PageReader, pages, render

router = pages()

STATES = (
    ("", N_("Any")),
    ("enabled", N_("Enabled")),
    ("disabled", N_("Disabled")),
    ("expired", N_("Expired")),
    ("group disabled", N_("Group disabled")),
    ("removed", N_("Removed")),
)
KINDS = {"enabled": "good", "disabled": "off", "expired": "bad", "group disabled": "wait", "removed": "off"}
"""How a state looks."""
NEWEST = 10

type Word = Annotated[str, Query(max_length=200)]


@router.get("/clients")
def clients(
    request: Request,
    visitor: PageReader,
    parts: Own,
    paging: Paging,
    q: Word = "",
    group: Word = "",
    state: Word = "",
) -> Response:
    """All of them."""
    found = api.listed(parts, paging, group=group, q=q, state=state)
    names = [one.name for one in parts.clients.groups() if one.removed_at is None]
    wanted = {"q": q, "group": group, "state": state}
    values: dict[str, Any] = {"rows": found.data, "next": found.next, "wanted": wanted, "groups": names, "blank": EMPTY}
    return render(request, visitor, "clients.html", title=N_("Clients"), **values, **form_values(parts))


@router.get("/clients/groups")
def groups(request: Request, visitor: PageReader, parts: Own, paging: Paging, removed: bool = False) -> Response:
    """All groups."""
    found = api_of_groups.listed(parts, paging, removed=removed)
    values: dict[str, Any] = {"rows": found.data, "next": found.next, "removed": removed, "blank": EMPTY}
    return render(request, visitor, "groups.html", title=N_("Groups of clients"), **values, **form_values(parts))


@router.get("/clients/groups/{name}")
def group(request: Request, visitor: PageReader, parts: Own, name: str) -> Response:
    """One group."""
    stored = parts.clients.group(name)
    values: dict[str, Any] = {
        "one": api_of_groups.described(parts, stored),
        "stats": api_of_groups.stats_of(parts, stored),
        "etag": etag(api_of_groups.fields_of(stored)),
        "acts": acts(parts, Wanted(NEWEST), kind="group", subject=name).data,
    }
    return render(request, visitor, "group.html", title=name, **values, **form_values(parts))


@router.get("/clients/{name}")
def client(request: Request, visitor: PageReader, parts: Own, name: str) -> Response:
    """One client. Of that of the panel itself, which nobody changes: what it asked."""
    try:
        stored = parts.clients.client(name)
    except ClientError:
        if name not in internal.NAMES:
            raise
        return RedirectResponse(f"/requests?client={name}", 303)
    values: dict[str, Any] = {
        "one": api.described(parts, stored),
        "stats": api.stats_of(parts, stored),
        "etag": etag(api.fields_of(stored)),
        "acts": acts(parts, Wanted(NEWEST), kind="client", subject=name).data,
        "groups": [one.name for one in parts.clients.groups() if one.removed_at is None],
        "valid": [key for key in stored.keys if key.valid_until is None or key.valid_until > iso(parts.clock())],
        "setup": api.setup_of(parts, name, stored.policy.models, None),
        "after": "" if stored.expires_after is None else length(stored.expires_after),
    }
    return render(request, visitor, "client.html", title=name, **values, **form_values(parts))


def form_values(parts: Parts) -> dict[str, Any]:
    """What forms and tables of clients and groups need."""
    return {
        "providers": list(parts.in_force().providers),
        "endpoints": ENDPOINTS,
        "tiers": (*TIERS, "usual"),
        "states": STATES,
        "state_kinds": KINDS,
        "tightest": tightest,
    }


def tightest(states: list[LimitState]) -> list[LimitState]:
    """The limits of which it is known how much is used, those that are used up first in front."""
    return sorted((one for one in states if one.share is not None), key=lambda one: -(one.share or 0.0))


EMPTY: dict[str, Any] = {
    "name": "", "group": None, "note": "", "tags": [], "owner": "", "priority": 1, "enabled": True, "expires_at": None,
    "expires_after": None, "settings": None, "providers": [], "models": [], "key_tiers": [], "key_groups": [],
    "endpoints": [], "addresses": [], "programs": [], "tunnel": False, "limits": [],
}  # fmt: skip
"""What a form shows of one that is not there yet."""
