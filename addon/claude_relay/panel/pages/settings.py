"""/settings: relay.yaml as a text."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from claude_relay.panel.common.parts import Own
from claude_relay.panel.common.relay_yaml import current

from .shell import N_, PageReader, pages, render

router = pages()


@router.get("/settings")
def settings(request: Request, visitor: PageReader, parts: Own) -> Response:
    """The text, with marks in the place of secrets."""
    file = current(parts)
    return render(
        request,
        visitor,
        "settings.html",
        title=N_("Settings"),
        file=file,
        at_restart=("listen", "database"),
        relays=parts.relays(),
    )
