"""/: what goes on, at a glance."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from .shell import N_, PageReader, pages, render

router = pages()


@router.get("/")
def overview(request: Request, visitor: PageReader) -> Response:
    """The first page."""
    return render(request, visitor, "overview.html", title=N_("Overview"))
