"""How the routes of an area begin: its tag, and that a POST with an Idempotency-Key is done once.

    router = area("keys")
    @router.post("/providers/{name}/keys", responses=documented(404, 409))

It must not know single areas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from claude_relay.panel.common.parts import Parts
from claude_relay.panel.common.versions import Kept
from claude_relay.panel.security.visitors import visitor_of

CREATING = "idempotency-key"


class Creating(APIRoute):
    """A route whose POST is done once for one Idempotency-Key."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual one, or the answer that was given before."""
        usual = super().get_route_handler()

        async def handled(request: Request) -> Response:
            key = request.headers.get(CREATING)
            if key is None or request.method != "POST":
                return await usual(request)
            parts: Parts = request.app.state.parts
            visitor = await run_in_threadpool(visitor_of, request, parts)
            if visitor is None:
                return await usual(request)
            requested = hashlib.sha256(
                f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
            ).digest()
            once, who = request.app.state.once, visitor.identity
            known = once.begin(who, key, requested, parts.clock())
            if known is not None:
                return Response(
                    known.body, known.status, dict(known.headers) | {"Idempotent-Replayed": "true"}, known.media
                )
            kept = None
            try:
                answer = await usual(request)
                if answer.status_code < 300 and hasattr(answer, "body"):
                    headers = tuple((n, v) for n, v in answer.headers.items() if n in ("etag", "location"))
                    media = answer.headers.get("content-type", "application/json")
                    kept = Kept(parts.clock(), requested, answer.status_code, bytes(answer.body), media, headers)
                return answer
            finally:
                once.end(who, key, kept)

        return handled


def area(tag: str, prefix: str = "/api") -> APIRouter:
    """A router for one area of the API."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=Creating)
