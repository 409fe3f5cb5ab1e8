"""What every request passes before its route, and every answer after it.

    app.add_middleware(Doors)

In: the `Host` is one of the panel's own names (else another site's name could be pointed to this machine), a change comes from a page of
the panel's own origin or from a program, a body is not larger than LARGEST. Out: the headers that a browser holds pages to. Plain ASGI, so
that streams pass as they come. It must not know who is signed in.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claude_relay.core.visitors import is_meant, networks, speaks_for
from claude_relay.panel.common import texts
from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.problems import Problem, answer_to

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a body: images in the playground, thousands of keys."""
TOO_LARGE: Final = f"A request has at most {LARGEST // 2**20} MiB."
READING: Final = ("GET", "HEAD", "OPTIONS")


class Doors:
    """Around the whole application."""

    def __init__(self, app: ASGIApp, parts: Parts, *, tls: bool) -> None:
        """`tls`: whether the panel speaks it itself."""
        self._app, self._parts, self._tls = app, parts, tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["relay.secure"] = self._tls or self._said_secure(scope, headers)
        passed = self._dressed(scope, send)
        if (problem := self._refused(scope, headers)) is not None:
            await problem.answer(texts.of(texts.language(Request(scope))))(scope, receive, passed)
            return
        try:
            await self._app(scope, _bounded(receive), passed)
        except Exception as error:  # Starlette answers outside of all middleware, so without these headers
            if scope.get("relay.begun"):
                raise
            answer = await answer_to(Request(scope), error)
            await answer(scope, receive, passed)

    def _refused(self, scope: Scope, headers: Headers) -> Problem | None:
        listen, said = self._parts.in_force().listen, headers.getlist("host")
        bound = listen.panel.host if listen.panel is not None else "127.0.0.1"
        if len(said) != 1 or not is_meant(said[0], bound, listen.hosts):
            text = "The Host names another machine. Use localhost or the address, or add the name to listen.hosts in relay.yaml."
            return Problem(403, "host", text)
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            return Problem(400, "length", "The Content-Length is no number.")
        if int(length) > LARGEST:
            return Problem(413, "too_large", TOO_LARGE)
        if scope["method"] in READING:
            return None
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
        own = f"{'https' if scope['relay.secure'] else 'http'}://{said[0]}".lower()
        if (origin is not None and origin.lower() != own) or site not in ("same-origin", "none"):
            return Problem(403, "origin", f"A page of {origin or 'another site'} sent this; only the panel's own may.")
        return None

    def _said_secure(self, scope: Scope, headers: Headers) -> bool:
        peer, trusted = (scope.get("client") or ("",))[0], networks(self._parts.in_force().listen.trusted_proxies)
        return headers.get("x-forwarded-proto", "").lower() == "https" and speaks_for(peer, trusted)

    def _dressed(self, scope: Scope, send: Send) -> Send:
        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope["relay.begun"] = True
                headers = MutableHeaders(scope=message)
                for name, value in self._of(scope, headers).items():
                    headers[name] = value
            await send(message)

        return dressed

    @staticmethod
    def _of(scope: Scope, given: Mapping[str, str]) -> Mapping[str, str]:
        more: MutableMapping[str, Any] = dict(HEADERS)
        if "cache-control" not in given:
            more["cache-control"] = "no-store"
        if scope["relay.secure"]:
            more["strict-transport-security"] = "max-age=31536000"
        return more


def _bounded(receive: Receive) -> Receive:
    """A body whose length was not said, or was a lie, ends at LARGEST."""
    taken = 0

    async def received() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if (
                taken > LARGEST
            ):  # what else is raised while a body is read would be taken for a body that cannot be read
                raise HTTPException(413, TOO_LARGE)
        return message

    return received
