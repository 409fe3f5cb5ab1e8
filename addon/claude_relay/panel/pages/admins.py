"""/admins: who may use the panel."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from claude_relay.panel.api import admins as api
from claude_relay.panel.common.parts import Own

from .profile import OF_ROLES, ROLES
from .shell import N_, PageAdministrator, pages, render

router = pages()


@router.get("/admins")
def admins(request: Request, visitor: PageAdministrator, parts: Own) -> Response:
    """All of them."""
    found = [(admin, api.version_of(admin)) for admin in api.admins(visitor, parts).data]
    title = N_("Admins")
    return render(request, visitor, "admins.html", title=title, admins=found, roles=ROLES, of_roles=OF_ROLES)
