"""Addresses of this page with other parameters: another span, another tab, another order.

    address(request, span="7d", since=None, until=None, after=None)     '/usage?by=model&span=7d'

It must not know which parameters a page has.
"""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Request


def address(request: Request, path: str | None = None, **changes: str | None) -> str:
    """None: without it. `path`: another page, with the same parameters."""
    items = [(name, value) for name, value in request.query_params.multi_items() if name not in changes and value]
    items += [(name, value) for name, value in changes.items() if value is not None]
    path = path if path is not None else request.url.path
    return f"{path}?{urlencode(items)}" if items else path
