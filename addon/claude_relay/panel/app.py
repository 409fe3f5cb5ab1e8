"""The application: routers of the API and of pages, one shape of errors, doors before everything.

app = create(parts, tls=False)
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from claude_relay.core.installation import own_version

from . import api, pages
from .common import problems
from .common.parts import Parts
from .common.versions import Once
from .security.doors import Doors
from .security.methods import Methods
from .security.second_factor import Begun

SUMMARY = "Everything that the panel does, and the commands beside it. Errors are problem+json (RFC 9457); lists page by cursor."


def create(parts: Parts, *, tls: bool = False) -> FastAPI:
    """`tls`: whether the server speaks it."""
    app = FastAPI(
        title="Claude Relay",
        version=own_version(),
        description=SUMMARY,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.parts, app.state.once, app.state.begun = parts, Once(), Begun()
    problems.install(app)
    for router in api.routers():
        app.include_router(router)
    pages.install(app)
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    app.add_middleware(Methods)
    app.add_middleware(Doors, parts=parts, tls=tls)
    return app
