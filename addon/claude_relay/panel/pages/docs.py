"""/docs: the API, to read and to try, by Swagger UI. Its files come with the package fastapi-offline; a module of ours starts it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import Request
from starlette.responses import FileResponse, Response

from claude_relay.panel.common.problems import Problem

from .shell import N_, PageReader, pages, render

router = pages()
FILES: Final = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}


@router.get("/docs")
def docs(request: Request, visitor: PageReader) -> Response:
    """The page."""
    return render(request, visitor, "docs.html", title=N_("API"))


@router.get("/docs/{name}")
def file(name: str, visitor: PageReader) -> Response:
    """One of Swagger UI's files."""
    if name not in FILES:
        raise Problem(404, "not_found", "There is nothing at this address.")
    path = Path(str(files("fastapi_offline").joinpath("static", name)))
    return FileResponse(path, media_type=FILES[name], headers={"cache-control": "private, max-age=86400"})
