"""Methods that no route has, for every route: HEAD is GET without its body, OPTIONS says which there are, and so does a refusal.

    app.add_middleware(Methods)

RFC 9110: what can be got can be looked at by HEAD (programs that watch over a service do); `Allow` names every method of an address, not
those of the first route that has it. It must not know what routes do, nor who asks.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
NOT_ALLOWED: Final = 405


class Methods:
    """Around the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and (found := allowed(scope)):
            headers = [(b"allow", ", ".join(found).encode())]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        elif scope["method"] == "HEAD":
            await self._app(dict(scope, method="GET"), receive, _headless(scope, send))
        else:
            await self._app(scope, receive, _allowing(scope, send))


def allowed(scope: Scope) -> tuple[str, ...]:
    """The methods of an address; none: there is nothing."""
    found = [method for method in METHODS if _takes(scope, method)]
    return (*found, *(["HEAD"] if "GET" in found else []), "OPTIONS") if found else ()


def _takes(scope: Scope, method: str) -> bool:
    request = dict(scope, method=method)
    for route in scope["app"].routes:
        if route.matches(request)[0] is Match.FULL:
            return method == "GET" or not isinstance(route, Mount)  # of files
    return False


def _allowing(scope: Scope, send: Send) -> Send:
    async def passed(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == NOT_ALLOWED:
            MutableHeaders(scope=message)["allow"] = ", ".join(allowed(scope))
        await send(message)

    return passed


def _headless(scope: Scope, send: Send) -> Send:
    """The head, and the end of it at once: what goes on without end (events) ends, too."""
    allowing = _allowing(scope, send)

    async def passed(message: Message) -> None:
        if message["type"] == "http.response.start":
            await allowing(message)
            await send({"type": "http.response.body", "body": b""})

    return passed
