"""Pages, drawn on the server: a module an area, each with `router`. `shell` has what all of them share.

A page reads; what it changes goes from its forms and buttons to /api (static/forms.js). Modules take what they show from the same functions
as the API.

    icons       pictures of 16 by 16
    charts      SVG; time_lines: of one request
    addresses   this page with other parameters
    sign_in     login, the one-time link, preferences
    profile     one's account, tokens
    admins      who may use the panel
    overview    the first page; the first three steps
    requests    requests, one of them
    sessions    sessions, one of them
    usage       sums and charts, cache misses
    reconciliation  beside providers' own reports
    keys        keys, their import
    providers   providers, routes, the tester
    proxies     the ways out
    clients     clients and groups, one of them
    own_usage   /me: the holder of a client key sees what is used; /device: signing in
    accounts    accounts of OAuth
    budgets     budgets
    notices     notices, the audit log
    settings    relay.yaml
    playground  a conversation
    docs        Swagger UI
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from fastapi import APIRouter, FastAPI

from . import shell


def routers() -> list[APIRouter]:
    """`router` of every module here, in the order of names."""
    found = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    return [module.router for module in found if hasattr(module, "router")]


def install(app: FastAPI) -> None:
    """All of them, their errors, and the files that they load."""
    for router in routers():
        app.include_router(router, include_in_schema=False)
    shell.install(app)
