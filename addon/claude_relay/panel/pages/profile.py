"""/profile: password, second factor, sessions, tokens."""

from __future__ import annotations

import re

from fastapi import Request
from starlette.responses import Response

from claude_relay.panel.api import profile as api
from claude_relay.panel.common.parts import Own
from claude_relay.panel.security.passwords import LEAST
from claude_relay.panel.security.visitors import OF_SCOPE
from claude_relay.store.panel.admins import Role
from claude_relay.store.panel.api_tokens import Scope

from .shell import N_, PageReader, pages, render

router = pages()
ROLES = {Role.VIEWER: N_("Viewer"), Role.OPERATOR: N_("Operator"), Role.ADMIN: N_("Admin")}
"""As people call them."""
OF_ROLES = {
    Role.VIEWER: N_("sees everything, changes nothing"),
    Role.OPERATOR: N_("switches keys, runs checks, stops agents"),
    Role.ADMIN: N_("may do everything"),
}
SCOPES = {
    Scope.READ: N_("Read: see everything"),
    Scope.OPERATE: N_("Operate: switch keys, run checks, stop agents"),
    Scope.ADMIN: N_("Admin: everything"),
}
PROGRAMS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    (r"iPhone|iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)
"""What a User-Agent has in it, the special before the general."""


@router.get("/profile")
def profile(request: Request, visitor: PageReader, parts: Own) -> Response:
    """One's own account."""
    sessions = api.sessions(visitor, parts).data
    return render(
        request,
        visitor,
        "profile.html",
        title=N_("Your account"),
        roles=ROLES,
        of_roles=OF_ROLES,
        sessions=[(session, browser(session.user_agent)) for session in sessions],
        others=sum(not session.current for session in sessions),
        tokens=api.tokens(visitor, parts).data,
        scopes=[(scope, SCOPES[scope]) for scope in Scope if visitor.may(OF_SCOPE[scope])],
        least=LEAST,
    )


def browser(user_agent: str) -> str:
    """`Firefox, Linux`; what is unknown as it is, shortened.

    >>> browser("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
    'Firefox, Linux'
    """
    found = [next((name for mark, name in known if re.search(mark, user_agent)), "") for known in (PROGRAMS, SYSTEMS)]
    return ", ".join(filter(None, found)) or user_agent[:60]
